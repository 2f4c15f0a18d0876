"""G11: the paired bootstrap over groups as a matrix product, compared with concatenating the rows of each resample.

    python benchmarks/bench_bootstrap.py

2,000 resamples x 15 arms over 1,950 groups of log-normal size, with 100,000 rows and with 17,000 rows (the size of
HMS). Both use the same draws and give intervals equal to 1e-12. The cost of the loop grows with the number of rows,
that of the matrix product only with the number of groups.
"""

from harness import floor, side_by_side  # isort: skip  (pins threads before numpy)

import numpy as np

from foldstill.compare import Interval, IntervalSettings, paired_intervals

GROUPS, ARMS, RESAMPLES, SEED = 1950, 15, 2000, 3


def table(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    size_G = np.maximum(1, np.rint(n_rows / GROUPS * np.exp(rng.standard_normal(GROUPS) - 0.5))).astype(int)
    group_N = np.repeat(np.arange(GROUPS), size_G)
    effect_GA = 0.2 * rng.standard_normal((GROUPS, ARMS))
    return effect_GA[group_N] + 0.5 * rng.standard_normal((len(group_N), ARMS)), group_N


def by_rows(difference_NA: np.ndarray, group_N: np.ndarray) -> list[tuple[float, float]]:
    """The textbook loop: draw groups, concatenate their rows, take the mean."""
    rng = np.random.default_rng(SEED)
    rows_of = np.split(np.arange(len(group_N)), np.flatnonzero(np.diff(group_N)) + 1)
    mean_RA = np.empty((RESAMPLES, difference_NA.shape[1]))
    for r in range(RESAMPLES):
        rows = np.concatenate([rows_of[g] for g in rng.integers(GROUPS, size=GROUPS)])
        mean_RA[r] = difference_NA[rows].mean(axis=0)
    return list(zip(*np.quantile(mean_RA, [0.025, 0.975], axis=0), strict=True))


def same(ours: list[Interval], theirs: list[tuple[float, float]]) -> None:
    np.testing.assert_allclose([(i.low, i.high) for i in ours], theirs, rtol=0, atol=1e-12)


if __name__ == "__main__":
    for n_rows in (17_000, 100_000):
        difference_NA, group_N = table(n_rows)
        ratio = side_by_side(
            f"G11 {RESAMPLES} resamples x {ARMS} arms, {len(group_N):,} rows",
            ours=lambda d=difference_NA, g=group_N: paired_intervals(
                d, g, settings=IntervalSettings(method="percentile", resamples=RESAMPLES, seed=SEED)
            ),
            baseline=lambda d=difference_NA, g=group_N: by_rows(d, g),
            same=same,
            repeats=3,
        )
    floor(ratio, 150)
