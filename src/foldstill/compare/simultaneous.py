"""Simultaneous confidence intervals: with the stated probability, all of them contain their differences at once.

The best of several arms looks better than it is, because it was chosen by the same rows. An interval of the chosen arm
has its stated coverage when the intervals of all arms hold at once. G groups, A arms, D draws.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.compare.group_sums import GroupSums
from foldstill.compare.intervals import Interval, IntervalSettings, intervals_of, sums_of

Floats = NDArray[np.float64]

_DRAWS = 20_000
"""Draws of the largest deviation; the level of single intervals is then known to about 0.1 %."""


def simultaneous_intervals(
    difference_NA: ArrayLike,
    groups: NDArray[Any],
    *,
    weight_N: ArrayLike | None = None,
    settings: IntervalSettings = IntervalSettings(),
) -> list[Interval]:
    """Compute confidence intervals that hold for all arms at once, from which any may be chosen afterwards.

    Each is the interval of `paired_intervals` at a higher level. The level follows from the largest deviation over arms
    (max-t): deviations are drawn as normal variables with the correlations that the arms have over groups, so that arms
    that differ from the baseline in the same groups cost little.

    Parameters
    ----------
    difference_NA : array-like of shape (N, A)
        Loss of each arm minus the loss of the baseline, per row.
    groups : array of shape (N,)
        Group per row.
    weight_N : array-like of shape (N,), optional
        Weight per row; all ones by default.
    settings : IntervalSettings, optional
        Level that all intervals have together, and the method of each.

    Returns
    -------
    list of Interval
        One interval per column of `difference_NA`; `p` is corrected for the number of arms.

    References
    ----------
    T. Hothorn, F. Bretz, P. Westfall (2008), Simultaneous inference in general parametric models, Biometrical Journal
    50, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from foldstill.compare import paired_intervals
    >>> rng = np.random.default_rng(0)
    >>> difference_NA = 0.1 * rng.standard_normal((200, 8))
    >>> groups = np.arange(200) // 5
    >>> single = paired_intervals(difference_NA, groups)[0]
    >>> joint = simultaneous_intervals(difference_NA, groups)[0]
    >>> print(f"{single.low:.3f} to {single.high:.3f}, simultaneous {joint.low:.3f} to {joint.high:.3f}")
    -0.009 to 0.020, simultaneous -0.015 to 0.026
    """
    return simultaneous_of(sums_of(difference_NA, groups, weight_N), settings)


def simultaneous_of(
    sums: GroupSums, settings: IntervalSettings = IntervalSettings(), arms: Sequence[int] | None = None
) -> list[Interval]:
    """Compute intervals that hold for all arms at once, or for all of the named `arms`, from sums over groups."""
    from scipy.special import ndtr, ndtri

    chosen = range(sums.top_GA.shape[1]) if arms is None else arms
    single = intervals_of(sums, settings, chosen)
    largest_D = _largest_deviations(sums.step_products(chosen), settings.seed)
    if largest_D is None:
        return single
    level = float(2 * ndtr(np.quantile(largest_D, settings.level)) - 1)
    wide = intervals_of(sums, replace(settings, level=level), chosen)
    return [
        replace(w, level=settings.level, p=float(np.mean(np.r_[True, largest_D >= -ndtri(s.p / 2)])))
        for s, w in zip(single, wide, strict=True)
    ]


def _largest_deviations(product_AA: Floats, seed: int) -> Floats | None:
    """Draws of the largest absolute deviation over arms, in standard errors; None for one arm that differs.

    `product_AA` is the sum over groups of the product of the steps of two arms.
    """
    length_A = np.sqrt(np.diag(product_AA))
    differs_A = length_A > 0
    if differs_A.sum() < 2:
        return None
    length_A = length_A[differs_A]
    value_A, vector_AA = np.linalg.eigh(product_AA[np.ix_(differs_A, differs_A)] / np.outer(length_A, length_A))
    root_AA = (vector_AA * np.sqrt(np.maximum(value_A, 0))) @ vector_AA.T
    normal_DA = np.random.default_rng(seed).standard_normal((_DRAWS, len(value_A)))
    largest_D: Floats = np.abs(normal_DA @ root_AA).max(axis=1)
    return largest_D
