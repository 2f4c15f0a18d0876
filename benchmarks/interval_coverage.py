"""How often nominal 95 % confidence intervals contain the truth, by method and number of groups.

    python benchmarks/interval_coverage.py            # two minutes on one core; --quick for half a minute

A synthetic population has 20,000 groups and 15 members of 3 families: group sizes are log-normal, errors of members are
correlated within a group, votes are few. Three differences are known for the whole population: log-linear pool,
geometric average and best family, each compared with the plain average. Samples of G groups are compared with them. The
population is large, because the coverage within a small one also depends on which groups happen to be rare.

Measured, 1,000 draws (standard error 0.7), log pool / geometric / one member:

    population   groups       jackknife_t       bootstrap_t        percentile
    uneven           20  95.3 / 95.3 / 94.7  92.7 / 92.3 / 92.9  90.1 / 89.5 / 89.3
    uneven          100  96.1 / 95.7 / 95.9  93.1 / 93.5 / 93.8  92.3 / 92.8 / 93.2
    alike            20  94.3 / 93.8 / 94.2  92.1 / 92.3 / 91.6  89.6 / 89.6 / 86.7
    alike           100  96.2 / 95.9 / 95.4  93.7 / 93.9 / 93.2  92.9 / 92.9 / 92.6
    very uneven      20  95.0 / 95.2 / 93.1  92.2 / 91.6 / 89.7  89.0 / 89.8 / 89.0
    very uneven     100  95.0 / 96.0 / 96.6  91.5 / 91.8 / 93.4  90.6 / 90.1 / 90.8
    equal            20  96.1 / 97.1 / 95.4  94.2 / 96.0 / 94.0  91.8 / 93.8 / 92.2
    equal           100  95.1 / 95.7 / 96.4  94.0 / 94.9 / 94.6  93.8 / 94.6 / 94.2
"""

import harness  # noqa: F401  # isort: skip  (pins threads before numpy)

import sys

import numpy as np

from foldstill.compare import IntervalSettings, paired_intervals
from foldstill.compare.row_losses import row_log_loss

METHODS = ("jackknife_t", "bootstrap_t", "percentile")
CONTRASTS = ("log pool", "geometric", "one member")
# standard deviation of log size, mean rows per group, whether families differ in quality
POPULATIONS = {
    "uneven": (1.0, 40, True),
    "alike": (1.0, 40, False),
    "very uneven": (1.5, 40, True),
    "equal": (0.0, 10, True),
}


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def population(sigma: float, rows: int, differ: bool, n_groups: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean difference (G, 3) and the number of rows (G,) per group."""
    rng = np.random.default_rng(1)
    size_G = np.maximum(1, np.rint(rows * np.exp(sigma * rng.standard_normal(n_groups) - sigma**2 / 2))).astype(int)
    noise_M = np.repeat([0.6, 1.0, 1.6] if differ else [1.0, 1.0, 1.0], 5)
    temperature_M = np.repeat([0.8, 1.0, 1.3], 5)
    weight_M = noise_M**-2 / (noise_M**-2).sum()
    means = []
    for sizes in np.array_split(size_G, n_groups // 200):
        g, n = np.repeat(np.arange(len(sizes)), sizes), sizes.sum()
        truth_NC = 1.2 * rng.standard_normal((len(sizes), 6))[g] + 1.2 * rng.standard_normal((n, 6))
        total_N = rng.integers(3, 21, n)
        target = rng.multinomial(total_N, np.exp(log_softmax(truth_NC))) / total_N[:, None]
        shared = 0.5 * rng.standard_normal((len(sizes), 1, 6))[g]
        of_group = 0.6 * rng.standard_normal((len(sizes), 15, 6))[g]
        of_row = 0.7 * rng.standard_normal((n, 15, 6))
        logits = truth_NC[:, None] + shared + noise_M[:, None] * (of_group + of_row)
        log_NMC = log_softmax(logits / temperature_M[:, None])
        average, *others = (
            row_log_loss(target=target, proba=proba)
            for proba in (
                np.exp(log_NMC).mean(axis=1),
                np.exp(log_softmax(1.05 * (log_NMC * weight_M[:, None]).sum(axis=1))),
                np.exp(log_softmax(1.1 * log_NMC.mean(axis=1))),
                np.exp(log_NMC[:, 0]),
            )
        )
        means.append([np.bincount(g, other - average) / sizes for other in others])
    return np.concatenate(means, axis=1).T, size_G.astype(float)


def measure(mean_GA: np.ndarray, size_G: np.ndarray, n_groups: int, draws: int) -> dict[str, np.ndarray]:
    """Return, per method, the share of draws whose interval contains the truth, per contrast."""
    truth_A = np.average(mean_GA, axis=0, weights=size_G)
    rng = np.random.default_rng(7)
    hit = {method: np.zeros((draws, len(truth_A))) for method in METHODS}
    for d in range(draws):
        at = rng.choice(len(size_G), n_groups, replace=False)
        for method in METHODS:
            # The mean of a group, weighted by its number of rows, gives the same sums and interval as its rows.
            settings = IntervalSettings(method=method, resamples=1000, seed=d)
            intervals = paired_intervals(mean_GA[at], at, weight_N=size_G[at], settings=settings)
            hit[method][d] = [i.low <= t <= i.high for i, t in zip(intervals, truth_A, strict=True)]
    return {method: hits.mean(axis=0) for method, hits in hit.items()}


if __name__ == "__main__":
    quick = "--quick" in sys.argv
    draws, counts = (200, (100,)) if quick else (1000, (10, 20, 50, 100, 200))
    print(
        f"coverage in % of nominal 95 % intervals, {draws} draws "
        f"(standard error {100 * (0.95 * 0.05 / draws) ** 0.5:.1f})"
    )
    print(
        f"{'population':12} {'groups':>6}  " + "  ".join(f"{m:>16}" for m in METHODS) + f"   ({' / '.join(CONTRASTS)})"
    )
    for name, settings in POPULATIONS.items():
        mean_GA, size_G = population(*settings)
        for n_groups in counts:
            covered = measure(mean_GA, size_G, n_groups, draws)
            cells = (" / ".join(f"{100 * c:.1f}" for c in covered[m]) for m in METHODS)
            print(f"{name:12} {n_groups:6}  " + "  ".join(f"{c:>16}" for c in cells), flush=True)
