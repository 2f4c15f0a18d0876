"""Scores of trained members for rows they never saw, read from their folders into tables. Imports no torch.

N rows, M members, C classes, K fold models.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.fold_models import model_folder
from foldstill.base_models.joined_member import AnyMember
from foldstill.base_models.member import is_made_elsewhere
from foldstill.base_models.planned_jobs import named_folds
from foldstill.data.folds import TEST, FoldPlan
from foldstill.data.heads import BINARY, two_classes
from foldstill.data.labels import Labels
from foldstill.errors import MemberError
from foldstill.manifest import DONE, check_files, read_done
from foldstill.oof.store import read_scores
from foldstill.oof.table import FoldScores, OOFTable, ScoreTable


def collect(
    folder: Path, members: Sequence[AnyMember], labels: Labels, plan: FoldPlan
) -> tuple[OOFTable, FoldScores | None]:
    """Held-out scores of every member, and scores of the test rows by all K fold models (None without a test split).

    Labels of heads go to `collect_heads`. Raises MemberError for a model that is missing or was made from other labels
    or folds.
    """
    proba_NMC, proba_KNMC = _all_scores(folder, members, labels, plan)
    test = plan.test_rows
    table = _table(proba_NMC, members, labels, plan, plan.oof_rows)
    if not len(test):
        return table, None
    return table, FoldScores(labels.ids[test], table.members, labels.classes, proba_KNMC, table.scores.families)


def collect_heads(
    folder: Path, members: Sequence[AnyMember], labels: Labels, plan: FoldPlan
) -> dict[str, tuple[OOFTable, tuple[FoldScores, Labels] | None]]:
    """Per head of a multi-label problem its table, and scores and labels of its test rows (None without a test split).

    The rows of a head are those whose label is known. Raises MemberError as `collect` does.
    """
    assert labels.heads is not None, "only the labels of a multi-label problem have heads"
    proba_NMH, proba_KNMH = _all_scores(folder, members, labels, plan)
    tables = {}
    for h, head in enumerate(labels.heads.names):
        rows, own = labels.of_head(head)
        locked_N, of_test = plan.fold_N[rows] == TEST, np.isin(plan.test_rows, rows)
        held = rows[~locked_N]
        own_NMC = two_classes(proba_NMH[..., h][held])
        table = _table_of(own_NMC, members, own.take(~locked_N), plan.fold_N[held], plan)
        test = None
        if locked_N.any():
            own_KNMC, of_locked = two_classes(proba_KNMH[..., h][:, of_test]), own.take(locked_N)
            test = FoldScores(of_locked.ids, table.members, BINARY, own_KNMC, table.scores.families), of_locked
        tables[head] = table, test
    return tables


def _all_scores(
    folder: Path, members: Sequence[AnyMember], labels: Labels, plan: FoldPlan
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scores (N, M, C) of all rows that are not locked, and scores (K, N, M, C) of those that are."""
    test, n_outputs = plan.test_rows, len(labels.classes if labels.heads is None else labels.heads.names)
    proba_NMC = np.empty((len(labels), len(members), n_outputs), np.float32)
    proba_KNMC = np.empty((plan.n_folds, len(test), len(members), n_outputs), np.float32)
    for m, member in enumerate(members):
        for fold in range(plan.n_folds):
            job = _finished(folder, member, labels, plan, fold)
            held = plan.held_out(fold)
            proba_NMC[held, m] = _read_proba(job / "oof.parquet", labels, held)
            if len(test):
                proba_KNMC[fold, :, m] = _read_proba(job / "test.parquet", labels, test)
    return proba_NMC, proba_KNMC


def collect_without(folder: Path, members: Sequence[AnyMember], labels: Labels, plan: FoldPlan, fold: int) -> OOFTable:
    """The OOF table as it would be if `fold` did not exist: a row of fold g is scored by models that saw neither.

    Combiners that are fitted to this table, and students that learn from it, can be scored on `fold` without a leak.
    Raises MemberError when a model of a pair is missing or was made from other labels or folds.
    """
    proba_NMC = np.empty((len(labels), len(members), len(labels.classes)), np.float32)
    for m, member in enumerate(members):
        for other in range(plan.n_folds):
            if other == fold:
                continue
            job, both = _finished(folder, member, labels, plan, *sorted((fold, other))), plan.held_out(fold, other)
            of_other = plan.fold_N[both] == other
            scores = _read_proba(job / "oof.parquet", labels, both)
            proba_NMC[both[of_other], m] = scores[of_other]
    return _table(proba_NMC, members, labels, plan, plan.training(fold))


def _table(
    proba_NMC: NDArray[np.float32], members: Sequence[AnyMember], labels: Labels, plan: FoldPlan, rows: NDArray[np.intp]
) -> OOFTable:
    return _table_of(proba_NMC[rows], members, labels.take(rows), plan.fold_N[rows], plan)


def _table_of(
    proba_NMC: NDArray[np.float32],
    members: Sequence[AnyMember],
    labels: Labels,
    fold_N: NDArray[np.int16],
    plan: FoldPlan,
) -> OOFTable:
    """The table of these labels and of the scores of the same rows."""
    names, families = tuple(m.name for m in members), tuple(m.family for m in members)
    scores = ScoreTable(labels.ids, names, labels.classes, proba_NMC, families)
    elsewhere = tuple(m.name for m in members if is_made_elsewhere(m))
    return OOFTable(scores, labels, fold_N, plan.digest, made_elsewhere=elsewhere)


def _finished(folder: Path, member: AnyMember, labels: Labels, plan: FoldPlan, *folds: int) -> Path:
    """The folder of a finished job; raises MemberError if it was made from other labels or folds."""
    job = model_folder(folder, member.name, *folds)
    if not (job / DONE).exists():
        raise MemberError(
            f"member {member.name}, {named_folds(folds)} is not trained, {job} has no {DONE}: train it first"
        )
    inputs = read_done(job)["inputs"]
    if (inputs["labels"], inputs["plan"]) != (labels.digest, plan.digest):
        raise MemberError(f"{job} was trained with other labels or folds: use those of the run, or train again")
    return job


def _read_proba(path: Path, labels: Labels, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """The scores (rows, C) of these rows in a file with one member, or (rows, H) in one with its heads."""
    check_files(path.parent, path.name)
    scores = read_scores(path)
    assert isinstance(scores, ScoreTable), "a job writes scores of one model"
    wanted = (scores.members, labels.classes) if labels.heads is None else (labels.heads.names, BINARY)
    if not np.array_equal(scores.ids, labels.ids[rows]) or (scores.members, scores.classes) != wanted:
        raise MemberError(
            f"{path} does not hold the rows and classes of its fold: the file was changed; train the member again"
        )
    return scores.proba_NMC[:, 0] if labels.heads is None else scores.proba_NMC[:, :, 1]
