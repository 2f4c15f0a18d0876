"""Bootstrap over groups: whole groups are drawn with replacement. G groups, A arms, R resamples."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_BLOCK_CELLS = 2**18
"""Number of (resample, group) cells per block of draws: two megabytes, so that a product has many resamples."""


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
    sums = _Resampled(top_GA, bottom_G)
    estimate_A = top_GA.sum(axis=0) / bottom_G.sum()
    statistic = sums.t_values if studentised else sums.means
    drawn_RA = np.concatenate([statistic(count_RG) for count_RG in draw_counts(len(bottom_G), resamples, seed)])
    low_A, high_A = np.quantile(drawn_RA, [(1 - level) / 2, (1 + level) / 2], axis=0)
    observed_A = np.zeros_like(estimate_A)
    if studentised:
        error_A = sums.standard_errors(np.ones((1, len(bottom_G))))[1][0]
        # The upper quantile of t belongs to the lower end (Efron & Tibshirani, 1993, section 12.5).
        low_A, high_A = estimate_A - high_A * error_A, estimate_A - low_A * error_A
        observed_A = np.divide(estimate_A, error_A, out=observed_A, where=error_A > 0)
    # Two-sided, by inverting the interval; the observed value counts as a draw, so p is never 0 (Davison & Hinkley,
    # 1997, section 4.2).
    above, below = (drawn_RA >= observed_A).sum(axis=0), (drawn_RA <= observed_A).sum(axis=0)
    p_A: Floats = np.minimum(2 * (1 + np.minimum(above, below)) / (1 + resamples), 1.0)
    return estimate_A, low_A, high_A, p_A


@dataclass(frozen=True)
class _Resampled:
    """Weighted sums per group, and what follows from them for resamples of the groups, by matrix products."""

    top_GA: Floats
    bottom_G: Floats

    @cached_property
    def _sums_GX(self) -> Floats:
        return np.column_stack([self.top_GA, self.bottom_G])

    @cached_property
    def _products_GX(self) -> Floats:
        top_GA, bottom_G = self.top_GA, self.bottom_G
        return np.column_stack([top_GA**2, top_GA * bottom_G[:, None], bottom_G**2])

    def means(self, count_RG: Floats) -> Floats:
        """The mean of each resample, (R, A)."""
        sums_RX = count_RG @ self._sums_GX
        mean_RA: Floats = sums_RX[:, :-1] / sums_RX[:, -1:]
        return mean_RA

    def standard_errors(self, count_RG: Floats) -> tuple[Floats, Floats]:
        """Mean and its jackknife standard error over groups in each resample, (R, A) each."""
        sums_RX = count_RG @ self._sums_GX
        total_R1 = sums_RX[:, -1:]
        mean_RA = sums_RX[:, :-1] / total_R1
        # Leaving out group g moves the mean by (s_g - mean n_g) / (total - n_g); the square of the top is expanded.
        left_RG = count_RG / np.maximum(total_R1 - self.bottom_G, 1e-12 * total_R1) ** 2
        top_RA, both_RA, bottom_R1 = np.split(left_RG @ self._products_GX, [mean_RA.shape[1], -1], axis=1)
        square_RA = top_RA - 2 * mean_RA * both_RA + mean_RA**2 * bottom_R1
        n_groups = len(self.bottom_G)
        return mean_RA, np.sqrt(np.maximum(square_RA, 0) * (n_groups - 1) / n_groups)

    def t_values(self, count_RG: Floats) -> Floats:
        """The t statistic of each resample, (R, A); 0 where a resample has no spread."""
        mean_RA, error_RA = self.standard_errors(count_RG)
        off_RA = mean_RA - self.top_GA.sum(axis=0) / self.bottom_G.sum()
        t_RA: Floats = np.divide(off_RA, error_RA, out=np.zeros_like(mean_RA), where=error_RA > 0)
        return t_RA
