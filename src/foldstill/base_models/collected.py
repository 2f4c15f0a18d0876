"""What trained members said of rows they never saw, read from their folders as score tables. Imports no torch.

N rows, M members, C classes, K fold models.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.jobs import folds_told, job_folder
from foldstill.base_models.joined import AnyMember
from foldstill.data.folds import FoldPlan
from foldstill.data.labels import Labels, Strings
from foldstill.errors import MemberError
from foldstill.files import read_json
from foldstill.oof.table import FoldScores, OOFTable, ScoreTable


def collect(
    folder: Path, members: Sequence[AnyMember], labels: Labels, plan: FoldPlan
) -> tuple[OOFTable, FoldScores | None]:
    """The held-out scores of every member, and those of the test rows by all K fold models (None without a test split).

    Raises MemberError for a part that is missing or was made from other labels or folds.
    """
    test = plan.test_rows
    proba_NMC = np.empty((len(labels), len(members), len(labels.classes)), np.float32)
    proba_KNMC = np.empty((plan.n_folds, len(test), len(members), len(labels.classes)), np.float32)
    for m, member in enumerate(members):
        for fold in range(plan.n_folds):
            place = _finished(folder, member, labels, plan, fold)
            held = plan.held_out(fold)
            proba_NMC[held, m] = _read_scores(place / "oof.parquet", labels.ids[held], labels.classes)
            if len(test):
                proba_KNMC[fold, :, m] = _read_scores(place / "test.parquet", labels.ids[test], labels.classes)
    table = _table(proba_NMC, members, labels, plan, plan.oof_rows)
    if not len(test):
        return table, None
    return table, FoldScores(labels.ids[test], table.members, labels.classes, proba_KNMC, table.scores.families)


def collect_without(folder: Path, members: Sequence[AnyMember], labels: Labels, plan: FoldPlan, fold: int) -> OOFTable:
    """The OOF table as it would be if `fold` did not exist: a row of fold g is scored by models that saw neither.

    Whatever is fitted to this table, and whoever is taught by it, can be scored on `fold` without a leak. Raises
    MemberError when a model of a pair is missing or was made from other labels or folds.
    """
    proba_NMC = np.empty((len(labels), len(members), len(labels.classes)), np.float32)
    for m, member in enumerate(members):
        for other in range(plan.n_folds):
            if other == fold:
                continue
            place, both = _finished(folder, member, labels, plan, *sorted((fold, other))), plan.held_out(fold, other)
            of_other = plan.fold_N[both] == other
            scores = _read_scores(place / "oof.parquet", labels.ids[both], labels.classes)
            proba_NMC[both[of_other], m] = scores[of_other]
    return _table(proba_NMC, members, labels, plan, plan.training(fold))


def _table(
    proba_NMC: NDArray[np.float32], members: Sequence[AnyMember], labels: Labels, plan: FoldPlan, rows: NDArray[np.intp]
) -> OOFTable:
    names, families = tuple(m.name for m in members), tuple(m.family for m in members)
    scores = ScoreTable(labels.ids[rows], names, labels.classes, proba_NMC[rows], families)
    return OOFTable(scores, labels.take(rows), plan.fold_N[rows], plan.digest)


def _finished(folder: Path, member: AnyMember, labels: Labels, plan: FoldPlan, *folds: int) -> Path:
    """The folder of a finished job of these labels and folds."""
    place = job_folder(folder, member, *folds)
    if not (place / "done.json").exists():
        raise MemberError(
            f"member {member.name}, {folds_told(folds)} is not trained, {place} has no done.json: train it first"
        )
    inputs = read_json(place / "done.json")["inputs"]
    if (inputs["labels"], inputs["plan"]) != (labels.digest, plan.digest):
        raise MemberError(f"{place} was trained with other labels or folds: use the run's own, or train anew")
    return place


def _read_scores(path: Path, ids: Strings, classes: tuple[str, ...]) -> NDArray[np.float32]:
    import pyarrow.parquet as pq

    table = pq.read_table(path, use_threads=False)
    if table["id"].to_pylist() != ids.tolist():
        raise MemberError(f"{path} does not hold the rows of its fold: the file was changed; train the member anew")
    return np.stack([table[name].to_numpy() for name in classes], axis=1)
