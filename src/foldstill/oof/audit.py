"""Twelve looks for leaks, misaligned rows and duplicates in a score table, before any combiner is believed.

The numbers behind each threshold are measured by `benchmarks/bench_audit.py` on tables with and without planted leaks.
"""

import numpy as np

from foldstill.data.labels import Labels, match_ids
from foldstill.oof.audit_combiner import Combine, fresh_labels, optimism, row_folds
from foldstill.oof.audit_leaks import holdout_gap, vote_noise_floor, vote_noise_slope
from foldstill.oof.audit_members import alignment, duplicates
from foldstill.oof.audit_shift import folds_alike, spread_ratio
from foldstill.oof.findings import AuditReport, Finding
from foldstill.oof.table import FoldScores, OOFTable


def audit(
    table: OOFTable,
    *,
    test: FoldScores | None = None,
    test_labels: Labels | None = None,
    deep: bool = False,
    combine: Combine | None = None,
) -> AuditReport:
    """The findings A1 to A12 of a table.

    `test` are scores of groups that no fold model saw (A9; with `test_labels` A7). `combine(table, folds)` gives a
    combiner's cross-fitted probabilities (N, C), fitted and applied to the same rows where `folds` is None: A8 and A11
    need it, and A12 when `deep`.
    """
    if test is not None and test_labels is not None:
        test_labels = test_labels.take(match_ids("the labels of the test rows", test.ids, test_labels.ids))
    gap = holdout_gap(table, test, test_labels)
    return AuditReport(
        (
            _groups(table),
            _provenance(table),
            alignment(table),
            duplicates(table),
            vote_noise_floor(table),
            vote_noise_slope(table, held_out_agrees=gap.verdict == "pass"),
            gap,
            row_folds(table, combine),
            spread_ratio(table, test),
            folds_alike(table),
            optimism(table, combine),
            fresh_labels(table, combine, deep=deep),
        )
    )


def _groups(table: OOFTable) -> Finding:
    pairs = np.unique(np.stack([np.unique(table.labels.groups, return_inverse=True)[1], table.fold_N]), axis=1)
    _, count = np.unique(pairs[0], return_counts=True)
    torn = np.unique(table.labels.groups)[count > 1]
    sizes = [int((table.fold_N == fold).sum()) for fold in table.folds]
    if len(torn):
        return Finding(
            "A1",
            "groups in one fold",
            "fail",
            f"{len(torn)} of {len(count)} groups are in several folds; first: {torn[:3].tolist()}.",
            "name the group that the members' folds were made by, or train them again on folds made by this group",
        )
    return Finding(
        "A1",
        "groups in one fold",
        "pass",
        f"{len(table)} rows of {len(count)} groups, "
        f"each in one of {len(sizes)} folds ({min(sizes)} to {max(sizes)} rows).",
    )


def _provenance(table: OOFTable) -> Finding:
    name = "held-out provenance"
    if table.plan_digest:
        return Finding("A2", name, "pass", f"Members were trained on fold plan {table.plan_digest}.")
    if table.folds_assigned:
        return Finding(
            "A2",
            name,
            "warn",
            "The table came without folds; those in it were made for cross-fitting combiners only.",
            "import the folds the members were trained with, or be sure that no member saw these rows",
        )
    return Finding(
        "A2",
        name,
        "warn",
        "Folds were imported: nothing proves that each row was scored by a model that had not seen its group.",
        "check how the members were trained; A5 to A7 look for traces of leaks",
    )
