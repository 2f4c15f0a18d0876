"""Out-of-fold tables whose truth is known: equal architectures, unequal ones, one leaked member, all members leaked.

Six classes, 15 members (3 architectures x 5 seeds), five group folds, groups of log-normal size (mean 45 rows), 3 to 20
votes per row (half 3-7, half 10-20) drawn with over-dispersion. The logits of a member are gain x truth plus errors
shared by all members, by its architecture (per group and row), by its seed and by its fold model, at the architecture's
temperature. The generator is linear in logits, so stackers in log space are favoured: the order of combiners on these
tables is not a general result.

N rows, M members, C classes, K folds, G groups, A architectures.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.labels import Labels
from foldstill.data.simplex import softmax
from foldstill.oof.table import FoldScores, OOFTable, ScoreTable

Kind = Literal["homog", "hetero", "one_leak", "all_leak"]
Array = NDArray[np.float64]

CLASSES = ("seizure", "lpd", "gpd", "lrda", "grda", "other")
ARCHS = ("alpha", "beta", "gamma")
SEEDS = 5
FOLDS = 5
ROWS_PER_GROUP = 45.0
CONCENTRATION = 60.0
"""Concentration of the Dirichlet that votes are drawn from: annotators of one row agree more than the truth implies."""
LEAK = 0.4
"""Weight of the logarithm of the row's own votes in the logits of a leaked member."""


@dataclass(frozen=True)
class Synthetic:
    """A table, new groups scored by every fold model and by one fold model each, and the truth of both."""

    table: OOFTable
    holdout: FoldScores
    holdout_labels: Labels
    holdout_once: ScoreTable
    """The held-out groups, each scored by one fold model, as out-of-fold rows are."""
    truth_NC: Array
    holdout_truth_NC: Array


@dataclass(frozen=True)
class _Archs:
    """The parameters that differ between architectures: row noise, gain, temperature, noise per class."""

    noise_A: Array
    gain_A: Array
    temperature_A: Array
    skill_AC: Array


def synthetic(kind: Kind = "homog", *, rows: int = 2000, holdout_rows: int = 2000, seed: int = 0) -> Synthetic:
    """Make a table of a kind. The same seed gives the same truth, groups and votes for every kind."""
    rng = np.random.default_rng(seed)
    group_N = _groups(rng, rows, holdout_rows)
    n, c, m = rows + holdout_rows, len(CLASSES), len(ARCHS) * SEEDS
    prior = np.array([0.4, 0.0, 0.0, -0.3, 0.2, 0.8])
    truth = prior + rng.normal(0, 1.3, (group_N.max() + 1, c))[group_N] + rng.normal(0, 1.3, (n, c))
    total = np.where(rng.random(n) < 0.5, rng.integers(3, 8, n), rng.integers(10, 21, n))
    over = rng.standard_gamma(CONCENTRATION * softmax(truth) + 1e-3)
    votes = rng.multinomial(total, over / over.sum(axis=1, keepdims=True))
    archs = _archs(kind)
    logits_KNMC = _member_logits(rng, truth, group_N, archs)

    names = tuple(f"{arch}_s{s}" for arch in ARCHS for s in range(SEEDS))
    families = tuple(arch for arch in ARCHS for _ in range(SEEDS))
    labels = Labels.from_votes(
        votes,
        ids=np.char.add("r", np.arange(n).astype(np.str_)),
        groups=np.char.add("g", group_N.astype(np.str_)),
        classes=CLASSES,
    )
    inside, outside = np.arange(rows), np.arange(rows, n)
    fold_G = rng.permutation(group_N.max() + 1) % FOLDS
    fold_N = fold_G[group_N].astype(np.int16)
    held_out = logits_KNMC[fold_N, np.arange(n)]
    leaked = {"one_leak": [m // 2], "all_leak": list(range(m))}.get(kind, [])
    own_votes = np.log((votes + 0.05) / (total[:, None] + 0.05 * c))
    held_out[:rows, leaked] = (1 - LEAK) * held_out[:rows, leaked] + LEAK * own_votes[:rows, None]

    def scores(rows_: NDArray[Any], logits: Array) -> ScoreTable:
        return ScoreTable(labels.ids[rows_], names, CLASSES, softmax(logits[rows_]).astype(np.float32), families)

    test = softmax(logits_KNMC[:, outside]).astype(np.float32)
    truth_NC = softmax(truth)
    return Synthetic(
        table=OOFTable(scores(inside, held_out), labels.take(inside), fold_N[inside], plan_digest=f"synthetic-{seed}"),
        holdout=FoldScores(labels.ids[outside], names, CLASSES, test, families),
        holdout_labels=labels.take(outside),
        holdout_once=scores(outside, held_out),
        truth_NC=truth_NC[inside],
        holdout_truth_NC=truth_NC[outside],
    )


def _archs(kind: Kind) -> _Archs:
    if kind == "homog":
        return _Archs(np.full(3, 1.0), np.full(3, 0.9), np.full(3, 1.0), np.ones((3, len(CLASSES))))
    skill = np.ones((3, len(CLASSES)))
    skill[0, :2] = 0.5
    skill[1, 2:4] = 0.5
    skill[2, 4:] = 0.5
    return _Archs(np.array([0.8, 1.2, 1.6]), np.array([1.0, 0.8, 0.7]), np.array([0.6, 1.0, 1.6]), skill)


def _groups(rng: np.random.Generator, *sizes: int) -> NDArray[np.int64]:
    """Return consecutive group numbers; no group is in two of the `sizes` parts."""
    parts, start = [], 0
    for rows in sizes:
        n_groups = max(FOLDS, round(rows / ROWS_PER_GROUP))
        weight = rng.lognormal(0.0, 0.8, n_groups)
        drawn = rng.choice(n_groups, rows - n_groups, p=weight / weight.sum())
        parts.append(start + np.sort(np.concatenate([np.arange(n_groups), drawn])))
        start += n_groups
    return np.concatenate(parts)


def _member_logits(rng: np.random.Generator, truth_NC: Array, group_N: NDArray[np.int64], archs: _Archs) -> Array:
    """Return the logits (K, N, M, C) of every fold model of every member."""
    n, c = truth_NC.shape
    n_groups = group_N.max() + 1
    shared = rng.normal(0, 0.5, (n, c)) + rng.normal(0, 0.4, (n_groups, c))[group_N]
    out = np.empty((FOLDS, n, len(ARCHS) * SEEDS, c))
    for a in range(len(ARCHS)):
        noise_C = archs.noise_A[a] * archs.skill_AC[a]
        of_arch = noise_C * (rng.normal(0, 0.45, (n, c)) + rng.normal(0, 0.35, (n_groups, c))[group_N])
        for s in range(SEEDS):
            of_seed = noise_C * rng.normal(0, 0.35, (n, c))
            for k in range(FOLDS):
                of_model = noise_C * rng.normal(0, 0.3, (n, c)) + rng.normal(0, 0.1, c)
                logits = archs.gain_A[a] * truth_NC + shared + of_arch + of_seed + of_model
                out[k, :, a * SEEDS + s] = logits / archs.temperature_A[a]
    return out
