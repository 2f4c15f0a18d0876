"""Bootstrap over groups: whole groups are drawn with replacement. G groups, A arms, R resamples."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_BLOCK_CELLS = 2**16
"""Number of (resample, group) cells per block of draws: half a megabyte stays in a core's cache."""


def draw_counts(n_groups: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Number of times each group is drawn, in blocks of resamples (r, G); the same arguments give the same draws."""
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK_CELLS // n_groups)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        # One bincount over cells is ten times faster than a multinomial draw.
        cells = rng.integers(n_groups, size=(rows, n_groups)) + np.arange(rows)[:, None] * n_groups
        yield np.bincount(cells.ravel(), minlength=rows * n_groups).reshape(rows, n_groups).astype(np.float64)


def bootstrap(
    top_GA: Floats, bottom_G: Floats, *, studentised: bool, level: float, resamples: int, seed: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """Estimate, low, high and p per arm from resampled groups; the same draws of groups for every arm.

    `top_GA` are weighted sums per group, `bottom_G` the weight per group. Studentised gives bootstrap-t intervals, else
    percentile intervals. One resample costs one row of a matrix product, counts (R, G) @ sums (G, A + 1).
    """
    estimate_A = top_GA.sum(axis=0) / bottom_G.sum()
    statistic = _bootstrap_ts if studentised else _bootstrap_means
    drawn_RA = np.concatenate(
        [statistic(count, top_GA, bottom_G, estimate_A) for count in draw_counts(len(bottom_G), resamples, seed)]
    )
    low_A, high_A = np.quantile(drawn_RA, [(1 - level) / 2, (1 + level) / 2], axis=0)
    observed_A = np.zeros_like(estimate_A)
    if studentised:
        error_A = _standard_error(np.ones((1, len(bottom_G))), top_GA, bottom_G)[1][0]
        # The upper quantile of t belongs to the lower end (Efron & Tibshirani, 1993, section 12.5).
        low_A, high_A = estimate_A - high_A * error_A, estimate_A - low_A * error_A
        observed_A = np.divide(estimate_A, error_A, out=observed_A, where=error_A > 0)
    # Two-sided, by inverting the interval; the observed value counts as a draw, so p is never 0 (Davison & Hinkley,
    # 1997, section 4.2).
    above, below = (drawn_RA >= observed_A).sum(axis=0), (drawn_RA <= observed_A).sum(axis=0)
    p_A: Floats = np.minimum(2 * (1 + np.minimum(above, below)) / (1 + resamples), 1.0)
    return estimate_A, low_A, high_A, p_A


def _bootstrap_means(count_RG: Floats, top_GA: Floats, bottom_G: Floats, _estimate_A: Floats) -> Floats:
    """The mean of each resample, (R, A)."""
    sums = count_RG @ np.column_stack([top_GA, bottom_G])
    mean_RA: Floats = sums[:, :-1] / sums[:, -1:]
    return mean_RA


def _bootstrap_ts(count_RG: Floats, top_GA: Floats, bottom_G: Floats, estimate_A: Floats) -> Floats:
    """The t statistic of each resample, (R, A); 0 where a resample has no spread."""
    mean_RA, error_RA = _standard_error(count_RG, top_GA, bottom_G)
    return np.divide(mean_RA - estimate_A, error_RA, out=np.zeros_like(mean_RA), where=error_RA > 0)


def _standard_error(count_RG: Floats, top_GA: Floats, bottom_G: Floats) -> tuple[Floats, Floats]:
    """Mean and its jackknife standard error over groups in each resample, (R, A) each, by matrix products."""
    sums = count_RG @ np.column_stack([top_GA, bottom_G])
    total_R1 = sums[:, -1:]
    mean_RA = sums[:, :-1] / total_R1
    # Leaving out group g moves the mean by (s_g - mean n_g) / (total - n_g); the square of the top is expanded.
    left_RG = count_RG / np.maximum(total_R1 - bottom_G, 1e-12 * total_R1) ** 2
    square_RA = left_RG @ top_GA**2 - 2 * mean_RA * (left_RG @ (top_GA * bottom_G[:, None]))
    square_RA += mean_RA**2 * (left_RG @ bottom_G**2)[:, None]
    n_groups = len(bottom_G)
    return mean_RA, np.sqrt(np.maximum(square_RA, 0) * (n_groups - 1) / n_groups)
