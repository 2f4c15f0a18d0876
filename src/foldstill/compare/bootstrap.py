"""Paired intervals over groups: the rows of one patient are not independent, so whole groups are resampled.

N rows, G groups, A arms, R resamples.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.errors import CompareError

Method = Literal["percentile", "bootstrap_t"]

_BLOCK_CELLS = 2**20
"""Resamples are counted in blocks of about this many (resample, group) cells: 8 MB, near a core's cache."""


@dataclass(frozen=True)
class Interval:
    """A mean difference with its interval and two-sided `p`, which agree; `significant` when zero lies outside."""

    estimate: float
    low: float
    high: float
    level: float
    method: Method
    n_groups: int
    p: float

    @property
    def significant(self) -> bool:
        return self.low > 0 or self.high < 0


def group_sums(values_NA: NDArray[np.float64], groups: NDArray[Any]) -> NDArray[np.float64]:
    """Sum of every column over the rows of each group, (G, A), groups in rising order."""
    _, inverse = np.unique(groups, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(inverse[order]) > 0])
    sums: NDArray[np.float64] = np.add.reduceat(values_NA[order], starts, axis=0)
    return sums


def draw_counts(n_groups: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each group is drawn, in blocks of resamples (rows, G); the same arguments give the same draws."""
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK_CELLS // n_groups)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        # One bincount over cells is ten times faster than a multinomial draw.
        cells = rng.integers(n_groups, size=(rows, n_groups)) + np.arange(rows)[:, None] * n_groups
        yield np.bincount(cells.ravel(), minlength=rows * n_groups).reshape(rows, n_groups).astype(np.float64)


def paired_intervals(
    difference_NA: ArrayLike,
    groups: NDArray[Any],
    *,
    weight_N: ArrayLike | None = None,
    method: Method = "bootstrap_t",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Interval]:
    """One interval an arm for the mean of per-row differences, whole groups drawn with replacement.

    The same draws serve every arm. A resample costs one row of a matrix product, counts (R, G) @ sums (G, A + 1), and
    not a concatenation of rows.
    """
    difference = np.asarray(difference_NA, dtype=np.float64)
    if difference.ndim != 2 or len(difference) != len(groups):
        raise CompareError(
            f"differences must be (rows, arms) with one group a row ({len(groups)}), got {difference.shape}"
        )
    if not np.isfinite(difference).all():
        raise CompareError("differences must be finite, got NaN or infinity: score every row of every arm")
    weight = np.ones(len(difference)) if weight_N is None else np.asarray(weight_N, dtype=np.float64)
    if weight.shape != (len(difference),) or not (np.isfinite(weight).all() and (weight >= 0).all() and weight.any()):
        raise CompareError(
            f"weights must be one non-negative number a row ({len(difference)}), got shape {weight.shape}"
        )
    if method not in ("percentile", "bootstrap_t"):
        raise CompareError(f"method must be percentile or bootstrap_t, got {method!r}")
    if not 0 < level < 1:
        raise CompareError(f"level must be between 0 and 1, got {level}: 0.95 is usual")
    sums = group_sums(np.column_stack([difference * weight[:, None], weight]), groups)
    top_GA, bottom_G = sums[:, :-1], sums[:, -1]
    n_groups = len(sums)
    if n_groups < 2:
        raise CompareError(f"an interval over groups needs two groups or more, got {n_groups}: use a finer group")
    estimate_A = top_GA.sum(axis=0) / bottom_G.sum()
    drawn = [
        _statistics(count, top_GA, bottom_G, estimate_A, method) for count in draw_counts(n_groups, resamples, seed)
    ]
    drawn_RA = np.concatenate(drawn)
    low_2A = np.quantile(drawn_RA, [(1 - level) / 2, (1 + level) / 2], axis=0)
    if method == "percentile":
        low_A, high_A, observed_A = low_2A[0], low_2A[1], np.zeros_like(estimate_A)
    else:
        error_A = _standard_error(np.ones((1, n_groups)), top_GA, bottom_G)[1][0]
        # The upper quantile of t belongs to the lower end (Efron & Tibshirani, 1993, section 12.5).
        low_A, high_A = estimate_A - low_2A[1] * error_A, estimate_A - low_2A[0] * error_A
        observed_A = np.divide(estimate_A, error_A, out=np.zeros_like(estimate_A), where=error_A > 0)
    # Two-sided, by inverting the interval; the draw itself counts as one, so p is never 0 (Davison & Hinkley, 4.2).
    above, below = (drawn_RA >= observed_A).sum(axis=0), (drawn_RA <= observed_A).sum(axis=0)
    p_A = np.minimum(2 * (1 + np.minimum(above, below)) / (1 + len(drawn_RA)), 1.0)
    return [
        Interval(float(e), float(lo), float(hi), level, method, n_groups, float(p))
        for e, lo, hi, p in zip(estimate_A, low_A, high_A, p_A, strict=True)
    ]


def _statistics(
    count_RG: NDArray[np.float64],
    top_GA: NDArray[np.float64],
    bottom_G: NDArray[np.float64],
    estimate_A: NDArray[np.float64],
    method: Method,
) -> NDArray[np.float64]:
    """Of each resample the mean (percentile) or its t against the estimate (bootstrap-t), (R, A)."""
    if method == "percentile":
        sums = count_RG @ np.column_stack([top_GA, bottom_G])
        return sums[:, :-1] / sums[:, -1:]
    mean_RA, error_RA = _standard_error(count_RG, top_GA, bottom_G)
    return np.divide(mean_RA - estimate_A, error_RA, out=np.zeros_like(mean_RA), where=error_RA > 0)


def _standard_error(
    count_RG: NDArray[np.float64], top_GA: NDArray[np.float64], bottom_G: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and its jackknife standard error over groups in each resample, (R, A) each, by matrix products alone."""
    sums = count_RG @ np.column_stack([top_GA, bottom_G])
    total_R1 = sums[:, -1:]
    mean_RA = sums[:, :-1] / total_R1
    # Leaving out group g moves the mean by (s_g - mean n_g) / (total - n_g); the square of the top is expanded.
    left_RG = count_RG / np.maximum(total_R1 - bottom_G, 1e-12 * total_R1) ** 2
    square_RA = left_RG @ top_GA**2 - 2 * mean_RA * (left_RG @ (top_GA * bottom_G[:, None]))
    square_RA += mean_RA**2 * (left_RG @ bottom_G**2)[:, None]
    n_groups = len(bottom_G)
    return mean_RA, np.sqrt(np.maximum(square_RA, 0) * (n_groups - 1) / n_groups)
