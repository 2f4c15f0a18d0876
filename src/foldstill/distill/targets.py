"""Targets of a student: the votes of a row and its teacher's held-out prediction, mixed into one distribution.

N rows, M members, C classes. Targets are values; training only sees the result.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.labels import Labels
from foldstill.data.simplex import Float, check_rows
from foldstill.data.text import Strings
from foldstill.distill.mixes import Mix, TargetWeight, VotesOnly, mix_votes
from foldstill.errors import DistillError
from foldstill.oof.table import OOFTable
from foldstill.oof.temperatures import member_temperatures, tempered

Ablation = Literal["none", "in_sample", "class_permuted"]


@dataclass(frozen=True)
class SoftTargets:
    """A teacher's prediction per row, and whether the models behind it never saw the group of the row (`held_out`).

    Empty `classes` mean that the teacher did not name them; otherwise they must be those of the labels.
    """

    ids: Strings
    proba_NC: Float
    teacher: str
    held_out: bool
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        proba = check_rows(self.proba_NC, f"the targets of teacher {self.teacher!r}")
        if proba.ndim != 2 or len(proba) != len(self.ids):
            raise DistillError(
                f"targets must have shape (rows, classes) with one row per id ({len(self.ids)}), got {proba.shape}"
            )
        if len(np.unique(self.ids)) < len(self.ids):
            raise DistillError(f"the targets of teacher {self.teacher!r} contain an id twice: give each row once")
        if self.classes and len(self.classes) != proba.shape[1]:
            raise DistillError(f"targets have {proba.shape[1]} columns but {len(self.classes)} class names: align them")


def average_teacher(table: OOFTable, *, calibrated: bool = True) -> SoftTargets:
    """The plain average of a table's held-out scores as a teacher, each member calibrated with its own temperature
    first."""
    proba_NMC = tempered(table.proba_NMC, member_temperatures(table)) if calibrated else table.proba_NMC
    name = "calibrated average" if calibrated else "average"
    return SoftTargets(table.labels.ids, proba_NMC.mean(axis=1, dtype=np.float64), name, True, table.classes)


def mixed_targets(
    soft: SoftTargets | None,
    labels: Labels,
    mix: Mix,
    *,
    weight: TargetWeight = "effective",
    ablation: Ablation = "none",
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Target (N, C) and weight (N,) of mean 1 for the rows of `soft`, in its order (of `labels` when it is None).

    Rows of `soft` that `labels` does not hold have no votes: their target is the teacher. A teacher that saw the
    rows (held_out False) merely repeats the votes, and is refused unless `ablation` asks for it by name.
    "class_permuted" swaps teacher rows among those of one predicted class (`seed`), to test whether what it knows
    about single rows matters.
    """
    votes_NC: Float
    teacher_NC: Float
    if soft is None:
        if not isinstance(mix, VotesOnly):
            raise DistillError(
                f"a mix of kind {mix.kind!r} needs a teacher, got none: give SoftTargets, or use VotesOnly()"
            )
        votes_NC, teacher_NC = labels.votes_NC, labels.target_NC
    else:
        if not soft.held_out and ablation != "in_sample" and not isinstance(mix, VotesOnly):
            raise DistillError(
                f"the targets of teacher {soft.teacher!r} come from models that saw the rows: teach from held-out "
                'predictions, or name the ablation "in_sample"'
            )
        if soft.held_out and ablation == "in_sample":
            raise DistillError(
                f'the ablation "in_sample" needs a teacher that saw the rows, {soft.teacher!r} is held out: '
                "leave the ablation out"
            )
        if ablation == "class_permuted":
            soft = class_permuted(soft, seed)
        votes_NC, teacher_NC = _votes_of(soft, labels), soft.proba_NC
    return mix_votes(votes_NC, teacher_NC, mix, weight=weight)


def explain_mix(soft: SoftTargets, labels: Labels, mix: Mix, *, ablation: Ablation = "none", seed: int = 0) -> str:
    """One sentence about how `mixed_targets` mixes this teacher and these votes, for logs and cards."""
    if ablation == "class_permuted":
        soft = class_permuted(soft, seed)
    return mix.explain(_votes_of(soft, labels), soft.proba_NC, soft.teacher)


def class_permuted(soft: SoftTargets, seed: int) -> SoftTargets:
    """The same teacher with its rows shuffled among rows of one predicted class: an ablation.

    After *Born-Again Neural Networks* (Furlanello et al., 2018), section 3.3, where non-largest outputs are
    permuted: it keeps the predicted class and its confidence, and loses what the teacher knows about the single row.
    """
    rng = np.random.default_rng(seed)
    source = np.arange(len(soft.ids))
    top = soft.proba_NC.argmax(axis=1)
    for name in np.unique(top):
        rows = np.flatnonzero(top == name)
        source[rows] = rng.permutation(rows)
    return replace(soft, proba_NC=soft.proba_NC[source], teacher=f"{soft.teacher}, class-permuted")


def _votes_of(soft: SoftTargets, labels: Labels) -> NDArray[np.float64]:
    """Votes of the rows of `soft`, zeros where `labels` lacks the row."""
    if soft.classes and soft.classes != labels.classes:
        raise DistillError(
            f"teacher {soft.teacher!r} has the classes {list(soft.classes)}, the labels {list(labels.classes)}: "
            "reorder the columns of one"
        )
    if soft.proba_NC.shape[1] != len(labels.classes):
        raise DistillError(
            f"targets have {soft.proba_NC.shape[1]} classes, the labels {len(labels.classes)}: align them"
        )
    order = np.argsort(soft.ids)
    index = np.minimum(np.searchsorted(soft.ids, labels.ids, sorter=order), len(order) - 1)
    row = order[index]
    missing = labels.ids[soft.ids[row] != labels.ids]
    if len(missing):
        raise DistillError(
            f"teacher {soft.teacher!r} lacks {len(missing)} of {len(labels)} labelled rows; first ids: "
            f"{missing[:3].tolist()}: take the labels of the rows it taught"
        )
    votes = np.zeros(soft.proba_NC.shape)
    votes[row] = labels.votes_NC
    return votes
