"""Means over rows with standard errors over groups, which audit checks compare with zero.

N samples (rows), G groups.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def clustered_means(columns: Iterable[Array], groups: NDArray[Any]) -> tuple[Array, Array]:
    """Mean of each column (N,) and its standard error, with the rows of a group counted as one draw.

    Columns come one by one, so that those of a large table are never in memory together.
    """
    names, group_N = np.unique(groups, return_inverse=True)
    n_groups = len(names)
    means, errors = [], []
    for values_N in columns:
        mean = values_N.mean()
        sums_G = np.bincount(group_N, weights=values_N - mean)
        means.append(mean)
        errors.append(np.sqrt((sums_G**2).sum() * n_groups / max(n_groups - 1, 1)) / len(values_N))
    return np.asarray(means), np.asarray(errors)


def errors_of_four(n_groups: int) -> float:
    """Number of standard errors over so many groups that is as rare as four standard deviations of a normal.

    A standard error that is estimated from few groups is itself uncertain, hence the t distribution.
    """
    from scipy.special import ndtr, stdtrit

    return -float(stdtrit(max(n_groups - 1, 1), ndtr(-4.0)))
