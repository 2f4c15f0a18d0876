"""A9 and A10: do the rows that a combiner is fitted on look like those it will be applied to?

N samples (rows), M members, C classes, F columns.
"""

from typing import ClassVar

import numpy as np

from foldstill.data.simplex import EPS
from foldstill.oof.audit_check import AuditInput, Check, finding
from foldstill.oof.audit_statistics import clustered_means, errors_of_four
from foldstill.oof.findings import Finding, Severity
from foldstill.oof.table import OOFTable

SHIFT = 0.5
SHIFT_ERRORS = 6.0
"""Standard deviations and standard errors from which a fold differs from the others: honest HMS scores shift by 0.49
and 5.5 at most, a fold model of a CT member that was calibrated apart from the other fold models by 0.66 and 18."""
SEEN = 0.6
"""Ratio of a member's score on a fold to its score on other folds, both divided by the median member's: honest HMS and
CT members measured 0.76 and more."""
FEWEST_GROUPS = 20
"""Minimum number of groups in a fold for its shift to be more than a difference between a few groups."""


class SpreadRatio(Check):
    """Compares how much members differ on test rows and on out-of-fold rows.

    Members differ less on test rows when their fold models are averaged, so spread statistics shift.
    """

    id: ClassVar[str] = "A9"
    title: ClassVar[str] = "spread of members, test over out of fold"

    def check(self, inputs: AuditInput) -> Finding:
        table, test = inputs.table, inputs.test
        if test is None:
            return finding(self, "not applicable", "It needs scores of test rows (--test).")
        if len(table.members) < 2:
            return finding(self, "not applicable", "One member has no spread.")
        inside = float(table.proba_NMC.std(axis=1, dtype=np.float64).mean())
        mean = test.mean().select(table.members)
        outside = float(mean.proba_NMC.std(axis=1, dtype=np.float64).mean())
        ratio = outside / max(inside, EPS)
        evidence = (
            f"Standard deviation over members {outside:.4f} on test, {inside:.4f} out of fold: ratio {ratio:.2f}."
        )
        if 0.75 <= ratio <= 1.15:
            return finding(self, "pass", evidence)
        cure = (
            "apply combinations to each fold model's scores and average the results; prefer ones without spread "
            "statistics"
        )
        return finding(self, "warn", evidence, cure)


class FoldsAlike(Check):
    """Looks for folds that a member saw in training, and for folds whose scores are shifted.

    A member must not score one fold implausibly well, and its log-probabilities there must not be shifted. That a
    classifier can tell the fold from many scores together means little: on honest tables a linear rule reaches an AUC
    of 0.8 to 1.0. What harms a combiner is a fold that a member has seen, or the shift of a single score.
    """

    id: ClassVar[str] = "A10"
    title: ClassVar[str] = "folds alike"
    severity: ClassVar[Severity] = "hard"

    def check(self, inputs: AuditInput) -> Finding:
        table = inputs.table
        if table.folds_assigned or len(table.folds) < 2:
            return finding(self, "not applicable", "Folds were made after training.")
        fewest, fold = min((len(np.unique(table.labels.groups[table.fold_N == fold])), fold) for fold in table.folds)
        if fewest < FEWEST_GROUPS:
            why = f"Fold {fold} has {fewest} groups: a few groups may differ by themselves."
            return finding(self, "not applicable", why)
        if seen := _seen_folds(inputs):
            return finding(
                self,
                "fail",
                f"Too good on one fold, next to the other members: {', '.join(seen[:4])}.",
                "the model of this fold saw its rows: train it again, or drop the member",
            )
        size, z, fold, score = _largest_shift(table)
        if size == 0:
            evidence = f"No score of a fold lies more than {SHIFT_ERRORS:g} errors from the others'."
            return finding(self, "pass", evidence)
        member, class_name = table.members[score // len(table.classes)], table.classes[score % len(table.classes)]
        evidence = f"{member} for {class_name} lies {size:.2f} standard deviations off in fold {fold} ({z:.1f} errors)."
        if size < SHIFT:
            return finding(self, "pass", evidence)
        cure = "the model of this fold differs from the others: look at its training, or recentre its scores"
        return finding(self, "warn", evidence, cure)


def _seen_folds(inputs: AuditInput) -> list[str]:
    """Members whose KL divergence on one fold, over the median member's, is far below what it is on the other folds."""
    table, kl_NM, median_N = inputs.table, inputs.kl_NM, inputs.median_kl_N
    groups, members = table.labels.groups, range(len(table.members))
    seen = []
    for fold in table.folds:
        inside, outside = table.fold_N == fold, table.fold_N != fold
        mean_M, rest_M = (
            np.array([kl_NM[rows, m].mean() for m in members]) / max(median_N[rows].mean(), EPS)
            for rows in (inside, outside)
        )
        ratio_M = mean_M / np.maximum(rest_M, EPS)
        gap_M, error_M, other_M, other_error_M = (
            each
            for rows in (inside, outside)
            for each in clustered_means((kl_NM[rows, m] - median_N[rows] for m in members), groups[rows])
        )
        z_M = (gap_M - other_M) / np.maximum(np.hypot(error_M, other_error_M), EPS)
        suspects = np.flatnonzero((ratio_M < SEEN) & (z_M < -errors_of_four(len(np.unique(groups[inside])))))
        seen += [f"{table.members[m]} in fold {fold} ({ratio_M[m]:.2f} of elsewhere)" for m in suspects]
    return seen


def _largest_shift(table: OOFTable) -> tuple[float, float, int, int]:
    """The largest shift of one score in one fold: standard deviations, standard errors, fold, column of the score."""
    # Numbers of groups sort faster than their names.
    group_N = np.unique(table.labels.groups, return_inverse=True)[1]
    inside_of = {fold: table.fold_N == fold for fold in table.folds}
    worst = (0.0, 0.0, 0, 0)
    # Member by member: the logarithms of a large table would take several times its memory.
    for m in range(len(table.members)):
        log_NC = np.log(np.maximum(table.proba_NMC[:, m], EPS, dtype=np.float64))
        scale_C = np.maximum(log_NC.std(axis=0), EPS)
        for fold, inside in inside_of.items():
            mean_C, error_C = clustered_means(log_NC[inside].T, group_N[inside])
            rest_C, rest_error_C = clustered_means(log_NC[~inside].T, group_N[~inside])
            z_C = np.abs(mean_C - rest_C) / np.maximum(np.hypot(error_C, rest_error_C), EPS)
            shift_C = np.where(z_C > SHIFT_ERRORS, (mean_C - rest_C) / scale_C, 0.0)
            c = int(np.abs(shift_C).argmax())
            worst = max(worst, (abs(float(shift_C[c])), float(z_C[c]), fold, m * len(table.classes) + c))
    return worst
