"""Weights of rows. N rows."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.errors import CompareError


def row_weights(weight_N: ArrayLike | None, n: int) -> NDArray[np.float64]:
    """Weights as float64 (N,), ones by default; raises CompareError unless finite, not negative and not all zero."""
    weight = np.ones(n) if weight_N is None else np.asarray(weight_N, dtype=np.float64)
    if weight.shape != (n,):
        raise CompareError(f"weights must be one number per row, shape ({n},), got shape {weight.shape}")
    if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.any()):
        raise CompareError(
            f"weights must be finite, 0 or more and not all 0, got values from {weight.min():g} to {weight.max():g}: "
            "leave rows out instead of giving them a negative weight"
        )
    return weight
