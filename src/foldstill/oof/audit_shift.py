"""A9 and A10: does what a combiner is fitted to look like what it will be applied to?

N rows, M members, C classes, F features.
"""

import numpy as np

from foldstill.data.simplex import EPS
from foldstill.oof.audit_leaks import clustered_mean, errors_of_four, member_kl
from foldstill.oof.findings import Finding
from foldstill.oof.table import FoldScores, OOFTable

SHIFT = 0.5
SHIFT_ERRORS = 6.0
"""Standard deviations and standard errors from which a fold is another: honest HMS scores shift 0.49 and 5.5 at most, a
fold model of a CT member that was calibrated apart from its siblings 0.66 and 18."""
SEEN = 0.6
"""Of its score on other folds, each over the median member's: honest HMS and CT members measured 0.76 and more."""
FEWEST_GROUPS = 20
"""Of a fold, for its shift to be more than that of the groups in it."""


def spread_ratio(table: OOFTable, test: FoldScores | None) -> Finding:
    """How much members differ on test rows, averaged over fold models, against out of fold, by one model each."""
    name = "spread of members, test over out of fold"
    if test is None:
        return Finding("A9", name, "not applicable", "It needs scores of test rows (--test).")
    if len(table.members) < 2:
        return Finding("A9", name, "not applicable", "One member has no spread.")
    inside = float(table.proba_NMC.std(axis=1, dtype=np.float64).mean())
    mean = test.mean().select(table.members)
    outside = float(mean.proba_NMC.std(axis=1, dtype=np.float64).mean())
    ratio = outside / max(inside, EPS)
    evidence = f"Standard deviation over members {outside:.4f} on test, {inside:.4f} out of fold: ratio {ratio:.2f}."
    if 0.75 <= ratio <= 1.15:
        return Finding("A9", name, "pass", evidence)
    cure = (
        "apply combinations to each fold model's scores and average the results; prefer ones without spread statistics"
    )
    return Finding("A9", name, "warn", evidence, cure)


def folds_alike(table: OOFTable) -> Finding:
    """Whether a member scores one fold implausibly well, or its log-probabilities there lie apart from the others'.

    That the fold can be told from many scores together says little: on honest tables a linear rule does it with an AUC
    of 0.8 to 1.0. What harms a combiner is a fold that a member has seen, or the shift of a single score.
    """
    name = "folds alike"
    if table.folds_assigned or len(table.folds) < 2:
        return Finding("A10", name, "not applicable", "Folds were made after training.")
    fewest, fold = min((len(np.unique(table.labels.groups[table.fold_N == fold])), fold) for fold in table.folds)
    if fewest < FEWEST_GROUPS:
        why = f"Fold {fold} has {fewest} groups: a few groups may differ by themselves."
        return Finding("A10", name, "not applicable", why)
    if seen := _seen_folds(table):
        return Finding(
            "A10",
            name,
            "fail",
            f"Too good on one fold, next to the other members: {', '.join(seen[:4])}.",
            "this fold's model saw its rows: train it again, or drop the member",
        )
    return _shift(table, name)


def _seen_folds(table: OOFTable) -> list[str]:
    """The members whose KL on one fold, over the median member's, is far below what it is on the other folds."""
    kl_NM = member_kl(table.labels, table.proba_NMC)
    median_N = np.median(kl_NM, axis=1)
    groups = table.labels.groups
    seen = []
    for fold in table.folds:
        inside = table.fold_N == fold
        rest_M = kl_NM[~inside].mean(axis=0) / max(median_N[~inside].mean(), EPS)
        ratio_M = kl_NM[inside].mean(axis=0) / max(median_N[inside].mean(), EPS) / np.maximum(rest_M, EPS)
        mean_M, error_M = clustered_mean(kl_NM[inside] - median_N[inside, None], groups[inside])
        other_M, other_error_M = clustered_mean(kl_NM[~inside] - median_N[~inside, None], groups[~inside])
        z_M = (mean_M - other_M) / np.maximum(np.hypot(error_M, other_error_M), EPS)
        suspects = np.flatnonzero((ratio_M < SEEN) & (z_M < -errors_of_four(len(np.unique(groups[inside])))))
        seen += [f"{table.members[m]} in fold {fold} ({ratio_M[m]:.2f} of elsewhere)" for m in suspects]
    return seen


def _shift(table: OOFTable, name: str) -> Finding:
    log_p = np.log(np.maximum(table.proba_NMC.reshape(len(table), -1), EPS, dtype=np.float64))
    scale_F = np.maximum(log_p.std(axis=0), EPS)
    groups = table.labels.groups
    worst = (0.0, 0.0, 0, 0)
    for fold in table.folds:
        inside = table.fold_N == fold
        mean_F, error_F = clustered_mean(log_p[inside], groups[inside])
        rest_F, rest_error_F = clustered_mean(log_p[~inside], groups[~inside])
        z_F = np.abs(mean_F - rest_F) / np.maximum(np.hypot(error_F, rest_error_F), EPS)
        shift_F = np.where(z_F > SHIFT_ERRORS, (mean_F - rest_F) / scale_F, 0.0)
        largest = int(np.abs(shift_F).argmax())
        worst = max(worst, (abs(float(shift_F[largest])), float(z_F[largest]), fold, largest))
    size, z, fold, score = worst
    if size == 0:
        return Finding(
            "A10", name, "pass", f"No score of a fold lies more than {SHIFT_ERRORS:g} errors from the others'."
        )
    member, label = table.members[score // len(table.classes)], table.classes[score % len(table.classes)]
    evidence = f"{member} for {label} lies {size:.2f} standard deviations off in fold {fold} ({z:.1f} errors)."
    if size < SHIFT:
        return Finding("A10", name, "pass", evidence)
    cure = "this fold's model differs from the others: look at its training, or recentre its scores"
    return Finding("A10", name, "warn", evidence, cure)
