"""Means over rows with standard errors over groups, which audit checks compare with zero.

N samples (rows), F columns, G groups.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def group_sums(values_NF: Array, groups: NDArray[Any]) -> Array:
    """Sum of each column over the rows of each group, (G, F)."""
    _, index = np.unique(groups, return_inverse=True)
    return np.stack([np.bincount(index, weights=column) for column in values_NF.T], axis=1)


def clustered_mean(values_NF: Array, groups: NDArray[Any]) -> tuple[Array, Array]:
    """Mean of each column and its standard error, with the rows of a group counted as one draw."""
    mean = values_NF.mean(axis=0)
    sums_GF = group_sums(values_NF - mean, groups)
    n_groups = len(sums_GF)
    error = np.sqrt((sums_GF**2).sum(axis=0) * n_groups / max(n_groups - 1, 1)) / len(values_NF)
    return mean, error


def errors_of_four(n_groups: int) -> float:
    """Number of standard errors over so many groups that is as rare as four standard deviations of a normal.

    A standard error that is estimated from few groups is itself uncertain, hence the t distribution.
    """
    from scipy.special import ndtr, stdtrit

    return -float(stdtrit(max(n_groups - 1, 1), ndtr(-4.0)))
