"""A view that is memory-mapped: its pages do not stay in memory, and sums in its cache give its scaling.

N rows, C channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foldstill.data.array_cache import release_pages, stored_beside

KEPT_BYTES = 2**27
"""Pages of a map that a process has read stay in its memory until they are released: at most about this many bytes."""


AROUND_BYTES = 2**16
"""What Linux maps around a page that is read, so that small rows bring in far more than their own bytes."""


class MappedView:
    """Any view; nothing happens for one that is no memory map of a cache."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array
        self._sums_NC2 = stored_beside(array, "sums")
        self._n_bytes = 0

    def has_read(self, rows: Tensor) -> None:
        """Count what was read, and release the pages that were read when they are many."""
        self._n_bytes += rows.nbytes + len(rows) * AROUND_BYTES
        if self._n_bytes > KEPT_BYTES:
            self.release()

    def release(self) -> None:
        """Release the pages that were read."""
        release_pages(self._array)
        self._n_bytes = 0

    def scaling(self, rows_N: NDArray[np.intp]) -> tuple[Tensor, Tensor] | None:
        """Mean and standard deviation per channel over these rows, float32 (C,), without a look at the view.

        A constant channel has deviation 1. None for a view without sums in its cache.
        """
        if self._sums_NC2 is None:
            return None
        n = len(rows_N) * (self._array[:1].size // self._array.shape[-1])
        scaling_C2 = []
        for sums_N2 in self._sums_NC2[rows_N].transpose(1, 0, 2):
            # Integers of Python have any size, so that nothing is rounded before the division.
            total, squares = (sum(values.tolist()) for values in sums_N2.T)
            variance = (n * squares - total * total) / (n * n)
            scaling_C2.append((total / n, variance**0.5 or 1.0))
        mean_C, std_C = torch.tensor(scaling_C2, dtype=torch.float64).T.float()
        return mean_C, std_C
