"""One formula for NumPy arrays and torch tensors: NumPy takes a record at a time on a CPU, torch many at once on a GPU.

A formula calls only what both spell alike: arithmetic, slices with positive steps, matmul, flip, square, log, clip,
maximum and amax with `out`, `axis` and `keepdims`, ones and asarray with `device`.
"""

from typing import Any

import numpy as np

Array = Any
"""A NumPy array or a torch tensor; a formula gives back what it was given."""


def namespace(x: Array) -> Any:
    """The module whose functions take this array; torch is imported only where somebody has made a tensor."""
    if isinstance(x, np.ndarray):
        return np
    import torch

    return torch
