"""Scores of groups that no fold model saw, from a file, checked against the table that they belong to."""

from pathlib import Path

import numpy as np

from foldstill.data.labels import Labels
from foldstill.errors import OOFError
from foldstill.oof.store import read_labelled_scores
from foldstill.oof.table import FoldScores, OOFTable


def read_test_scores(path: Path, table: OOFTable) -> tuple[FoldScores, Labels]:
    """The scores and labels of locked rows for `table`, from a file of foldstill.

    Scores of every fold model are best. One score per row and member, such as an average over fold models, counts as
    that of one model; an average of several is better than each of them, so that leaks show less clearly (A7).

    Raises OOFError when the file has no labels, lacks a member or class, or shares groups or ids with the table.
    """
    scores, labels = read_labelled_scores(path)
    if labels is None:
        raise OOFError(f"--test {path} holds no labels, which the audit and the comparison need: import it with labels")
    if not isinstance(scores, FoldScores):
        scores = FoldScores(scores.ids, scores.members, scores.classes, scores.proba_NMC[None], scores.families)
    if scores.classes != table.classes:
        raise OOFError(
            f"--test {path} has the classes {list(scores.classes)}, the table {list(table.classes)}: import both with "
            "the same --classes"
        )
    if missing := [m for m in table.members if m not in scores.members]:
        raise OOFError(
            f"--test {path} lacks {len(missing)} of the table's {len(table.members)} members, first {missing[:3]}: "
            "score the test rows with every member, under the same names"
        )
    for what, own, others in (
        ("groups", labels.groups, table.labels.groups),
        ("ids", labels.ids, table.labels.ids),
    ):
        shared = np.intersect1d(own, others)
        if len(shared):
            raise OOFError(
                f"{len(shared)} {what} of --test {path} are in the table as well, first {shared[:3].tolist()}: test "
                "rows must be of groups that no fold model saw"
            )
    return scores, labels
