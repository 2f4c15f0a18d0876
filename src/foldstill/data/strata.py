"""Strata of rows by their number of votes. N samples (rows)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.data.text import Strings
from foldstill.errors import DataError

STRATUM_BOUNDS = (3, 10)
"""Numbers of votes at which a new stratum begins: 1-2, 3-9, >=10 (the HMS regimes). Thresholds are named only here."""

MANY_VOTES = STRATUM_BOUNDS[-1]
"""Rows with this many votes or more count as rows with many votes."""


def whole_totals(total_N: ArrayLike) -> NDArray[np.float64]:
    """Totals of votes; one within rounding of a whole number is that number, so that it can be compared with one.

    Shares times a total of 3 may add up to 2.9999999999999996.

    >>> whole_totals([2.9999999999999996, 2.5, 1e-12]).tolist()
    [3.0, 2.5, 1e-12]
    """
    total = np.asarray(total_N, dtype=np.float64)
    near = np.rint(total)
    return np.where(np.abs(total - near) <= 1e-9 * near, near, total)


def strata_by_votes(total_N: ArrayLike, bounds: Sequence[int] = STRATUM_BOUNDS) -> Strings:
    """Name of the stratum of each row, by its number of votes.

    >>> strata_by_votes([1, 3, 28]).tolist()
    ['1-2', '3-9', '>=10']
    """
    edges = list(bounds)
    if not edges or edges != sorted(set(edges)) or edges[0] < 2:
        raise DataError(f"stratum bounds must rise from 2 or more, got {tuple(bounds)}: use for example (3, 10)")
    lower = [1, *edges[:-1]]
    names = [f"{a}-{b - 1}" if b - 1 > a else f"{a}" for a, b in zip(lower, edges, strict=True)] + [f">={edges[-1]}"]
    return np.asarray(names)[np.searchsorted(edges, whole_totals(total_N), side="right")]
