"""Weights of rows by their number of votes: the one formula, for labels and for training sets."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from foldstill.errors import DataError

RowWeight = Literal["none", "log1p", "clamp", "damped"]


def vote_weights(total_N: NDArray[np.float64], scheme: RowWeight, maximum: float = 10.0) -> NDArray[np.float64]:
    """Weight per row, (N,), from its number of votes v, not normalised.

    none: 1. log1p: log(1 + v). clamp: v, but at most `maximum`. damped: v up to 10 and (10 + 2 log10 v) log10 v beyond,
    which keeps growing slowly (12.6 at 11 votes, 18.7 at 28) and was published for HMS with these constants.

    >>> vote_weights(np.array([1.0, 28.0]), "clamp").tolist()
    [1.0, 10.0]
    """
    if scheme not in get_args(RowWeight):
        raise DataError(f"row weight must be one of {', '.join(get_args(RowWeight))}, got {scheme!r}")
    if scheme == "log1p":
        return np.log1p(total_N)
    if scheme == "clamp":
        return np.minimum(total_N, maximum)
    if scheme == "damped":
        log10_N = np.log10(np.maximum(total_N, 1.0))
        return np.where(total_N > 10, (10 + 2 * log10_N) * log10_N, total_N)
    return np.ones(len(total_N))
