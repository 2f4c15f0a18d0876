"""How often nominal 95 % confidence intervals contain the truth, by method and number of groups.

    python benchmarks/interval_coverage.py            # two minutes on one core; --quick for half a minute
    python benchmarks/interval_coverage.py --skewed [--hms FOLDER/hms_oof/hms_oof.npz]     # half a minute
    python benchmarks/interval_coverage.py --selected                                      # half a minute

A synthetic population has 20,000 groups and 15 members of 3 families: group sizes are log-normal, errors of members are
correlated within a group, votes are few. Three differences are known for the whole population: log-linear pool,
geometric average and best family, each compared with the plain average. Samples of G groups are compared with them. The
population is large, because the coverage within a small one also depends on which groups happen to be rare.

With `--skewed`, the truth of every population is a difference of zero, and few rows or groups lose much: how often is a
gain "proved" by chance (nominal 2.5 %), and how often a loss? `--hms` adds patients resampled from the geometric minus
the plain average of the HMS table.

Measured, 1,000 draws (standard error 0.7), log pool / geometric / one member:

    population   groups         jackknife_t     jackknife_sides         bootstrap_t          percentile
    uneven           20  95.3 / 95.3 / 94.7  97.1 / 96.8 / 96.8  92.7 / 92.3 / 92.9  90.1 / 89.5 / 89.3
    uneven          100  96.1 / 95.7 / 95.9  97.3 / 97.6 / 98.5  93.1 / 93.5 / 93.8  92.3 / 92.8 / 93.2
    alike            20  94.3 / 93.8 / 94.2  97.0 / 97.2 / 96.9  92.1 / 92.3 / 91.6  89.6 / 89.6 / 86.7
    alike           100  96.2 / 95.9 / 95.4  97.1 / 97.4 / 97.8  93.7 / 93.9 / 93.2  92.9 / 92.9 / 92.6
    very uneven      20  95.0 / 95.2 / 93.1  96.8 / 96.6 / 95.3  92.2 / 91.6 / 89.7  89.0 / 89.8 / 89.0
    very uneven     100  95.0 / 96.0 / 96.6  96.9 / 97.2 / 97.8  91.5 / 91.8 / 93.4  90.6 / 90.1 / 90.8
    equal            20  96.1 / 97.1 / 95.4  98.2 / 99.2 / 98.6  94.2 / 96.0 / 94.0  91.8 / 93.8 / 92.2
    equal           100  95.1 / 95.7 / 96.4  97.8 / 98.0 / 98.2  94.0 / 94.9 / 94.6  93.8 / 94.6 / 94.2

Measured on skewed populations, 2,000 draws (standard error 0.35), proved gain / proved loss / contains zero in %:

    population                                   jackknife_t       jackknife_sides   width  reversed  warned  unwarned
    2 % of rows lose much, 100 groups       4.0 / 0.5 / 95.5      1.1 / 0.4 / 98.5    1.26       2.1     2.1       1.0
    5 % bad groups of 100                   7.2 / 0.1 / 92.7      2.9 / 0.1 / 97.0    1.14       5.6    38.5       4.7
    500 groups of one log-normal row        7.6 / 0.1 / 92.3      2.1 / 0.1 / 97.9    1.16       3.5    30.9       3.0
    0.2 % of 500 rows lose hugely          37.8 / 0.0 / 62.2     37.8 / 0.0 / 62.2    0.76      37.8    62.0      99.3
    HMS, 100 patients                       4.7 / 1.0 / 94.3      2.4 / 1.0 / 96.7    1.02       4.9    42.6       3.5
    HMS, all patients                       5.1 / 0.4 / 94.6      3.1 / 0.2 / 96.7    1.18       4.5     5.3       3.3

"width" is that of jackknife_sides divided by that of jackknife_t. "reversed" is how often jackknife_sides proves a loss
where all signs are changed, so that few groups gain much: its low end allows for fewer unseen groups than its high end.
A sample without any of the rare huge losses shows nothing of them: no interval over its groups can know. "warned" is
the share of samples in % in which `carrying_groups` names the few groups that carry the interval, and "unwarned" the
chance of a proved gain in the others. Gains are proved by chance in the samples that lack such groups.

With `--selected`, eight arms are all worth nothing, and the interval of the one that looks best is kept.
"""

import harness  # noqa: F401  # isort: skip  (pins threads before numpy)

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from foldstill.compare import IntervalSettings, paired_intervals, simultaneous_intervals
from foldstill.compare.judgement import carrying_groups
from foldstill.compare.row_losses import row_log_loss

METHODS = ("jackknife_t", "jackknife_sides", "bootstrap_t", "percentile")
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


Draw = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""Draws the mean difference (G,) and the number of rows (G,) of a sample's groups; the truth is zero."""


def rare_large_losses(rng: np.random.Generator, *, groups: int, rows: int, share: float, loss: float) -> np.ndarray:
    """The mean difference per group where a share of the rows loses much and all others gain a little."""
    return (0.1 * rng.standard_normal((groups, rows)) + loss * ((rng.random((groups, rows)) < share) - share)).mean(1)


def bad_groups(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """100 groups of geometric sizes, of which about 5 % lose in all of their rows."""
    size_G = rng.geometric(0.1, 100).astype(float)
    return 0.5 * ((rng.random(100) < 0.05) - 0.05) + 0.3 * rng.standard_normal(100) / np.sqrt(size_G), size_G


def patients(path: Path, groups: int) -> Draw:
    """Patients of HMS, resampled: geometric minus plain average, less its mean over all patients."""
    with np.load(path, allow_pickle=False) as table:
        alike = [m.endswith(("_nb", "_nbtta")) for m in table["members"]]
        proba_NMC = np.clip(table["pred"][:, ~np.array(alike)].astype(float), 1e-7, 1)
        target_NC, patient_N = table["target"].astype(float), table["patient_id"]
    average_NC = (proba_NMC / proba_NMC.sum(axis=-1, keepdims=True)).mean(axis=1)
    geometric_NC = np.exp(log_softmax(np.log(proba_NMC).mean(axis=1)))
    difference_N = row_log_loss(target=target_NC, proba=geometric_NC) - row_log_loss(target=target_NC, proba=average_NC)
    _, group_N, size_G = np.unique(patient_N, return_inverse=True, return_counts=True)
    mean_G = np.bincount(group_N, difference_N - difference_N.mean()) / size_G

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        at = rng.integers(len(size_G), size=groups or len(size_G))
        return mean_G[at], size_G[at].astype(float)

    return draw


def skewed(hms: Path | None) -> dict[str, Draw]:
    """Populations whose differences are skewed, by name."""
    draws: dict[str, Draw] = {
        "2 % of rows lose much, 100 groups": lambda rng: (
            rare_large_losses(rng, groups=100, rows=5, share=0.02, loss=2.0),
            np.ones(100),
        ),
        "5 % bad groups of 100": bad_groups,
        "500 groups of one log-normal row": lambda rng: (rng.lognormal(0, 1.5, 500) - np.exp(1.125), np.ones(500)),
        "0.2 % of 500 rows lose hugely": lambda rng: (
            rare_large_losses(rng, groups=500, rows=1, share=0.002, loss=20.0),
            np.ones(500),
        ),
    }
    if hms is not None:
        draws |= {f"HMS, {groups or 'all'} patients": patients(hms, groups) for groups in (100, 0)}
    return draws


def print_skewed(populations: dict[str, Draw], draws: int) -> None:
    """One line per population: how often each method proves a gain, a loss, or neither."""
    methods = ("jackknife_t", "jackknife_sides")
    print(f"{'population':34}" + "".join(f"{m:>22}" for m in methods) + "   width  reversed  warned  unwarned")
    for name, draw in populations.items():
        rng, end_DM2 = np.random.default_rng(7), np.empty((draws, len(methods), 2))
        warned_D, reversed_D = np.zeros(draws, bool), np.zeros(draws, bool)
        for d in range(draws):
            mean_G, size_G = draw(rng)
            warned_D[d] = len(carrying_groups(mean_G, np.arange(len(mean_G)), size_G)) > 0
            both_GA = np.stack([mean_G, -mean_G], axis=1)
            for m, method in enumerate(methods):
                settings = IntervalSettings(method=method)
                interval, mirrored = paired_intervals(
                    both_GA, np.arange(len(mean_G)), weight_N=size_G, settings=settings
                )
                end_DM2[d, m] = interval.low, interval.high
                reversed_D[d] = mirrored.low > 0
        gain_M, loss_M = 100 * (end_DM2[..., 1] < 0).mean(axis=0), 100 * (end_DM2[..., 0] > 0).mean(axis=0)
        cells = (f"{g:.1f} / {x:.1f} / {100 - g - x:.1f}" for g, x in zip(gain_M, loss_M, strict=True))
        width_M = (end_DM2[..., 1] - end_DM2[..., 0]).mean(axis=0)
        unwarned = 100 * (end_DM2[~warned_D, 1, 1] < 0).mean() if not warned_D.all() else 0.0
        warning = f"{100 * reversed_D.mean():10.1f}{100 * warned_D.mean():8.1f}{unwarned:10.1f}"
        print(
            f"{name:34}" + "".join(f"{cell:>22}" for cell in cells) + f"{width_M[1] / width_M[0]:8.2f}{warning}",
            flush=True,
        )


def print_selected(draws: int, n_arms: int = 8) -> None:
    """One line per correlation of the arms and number of groups: is zero in the interval of the arm that looks best?"""
    kinds = {"plain": paired_intervals, "simultaneous": simultaneous_intervals}
    methods = ("jackknife_t", "jackknife_sides")
    print(f"coverage / chance of a proved gain in %, best of {n_arms} arms that are worth nothing, {draws} draws")
    print(f"{'correlation':>11} {'groups':>6}" + "".join(f"{f'{k} {m}':>30}" for m in methods for k in kinds))
    for correlation in (0.0, 0.5, 0.9):
        for n_groups in (20, 100):
            rng = np.random.default_rng(7)
            ends = {(m, k): np.empty((draws, 2)) for m in methods for k in kinds}
            for d in range(draws):
                shared = rng.standard_normal((n_groups, 1))
                own = rng.standard_normal((n_groups, n_arms))
                mean_GA = correlation**0.5 * shared + (1 - correlation) ** 0.5 * own
                for m, k in ends:
                    intervals = kinds[k](mean_GA, np.arange(n_groups), settings=IntervalSettings(method=m, seed=d))
                    best = min(intervals, key=lambda interval: interval.estimate)
                    ends[m, k][d] = best.low, best.high
            cells = []
            for end in ends.values():
                covered, gain = ((end[:, 0] <= 0) & (end[:, 1] >= 0)).mean(), (end[:, 1] < 0).mean()
                cells.append(f"{100 * covered:.1f} / {100 * gain:.1f}")
            print(f"{correlation:11} {n_groups:6}" + "".join(f"{cell:>30}" for cell in cells), flush=True)


def print_coverage(draws: int, counts: tuple[int, ...]) -> None:
    """One line per population and number of groups: the coverage of each method."""
    print(
        f"coverage in % of nominal 95 % intervals, {draws} draws "
        f"(standard error {100 * (0.95 * 0.05 / draws) ** 0.5:.1f})"
    )
    print(
        f"{'population':12} {'groups':>6}  " + "  ".join(f"{m:>18}" for m in METHODS) + f"   ({' / '.join(CONTRASTS)})"
    )
    for name, settings in POPULATIONS.items():
        mean_GA, size_G = population(*settings)
        for n_groups in counts:
            covered = measure(mean_GA, size_G, n_groups, draws)
            cells = (" / ".join(f"{100 * c:.1f}" for c in covered[m]) for m in METHODS)
            print(f"{name:12} {n_groups:6}  " + "  ".join(f"{c:>18}" for c in cells), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--skewed", action="store_true")
    parser.add_argument("--hms", type=Path)
    parser.add_argument("--selected", action="store_true")
    arguments = parser.parse_args()
    if arguments.skewed:
        print_skewed(skewed(arguments.hms), 200 if arguments.quick else 2000)
    elif arguments.selected:
        print_selected(200 if arguments.quick else 1000)
    elif arguments.quick:
        print_coverage(200, (100,))
    else:
        print_coverage(1000, (10, 20, 50, 100, 200))
