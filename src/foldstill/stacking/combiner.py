"""What a combiner is: settings that, fitted to an OOF table, give a combination; and how that is applied safely.

N rows, M members, C classes, K fold models.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import Float
from foldstill.errors import StackError
from foldstill.files import digest
from foldstill.oof.table import FoldScores, OOFTable, ScoreTable

Proba = NDArray[np.float64]

State = Mapping[str, NDArray[Any] | str]
"""Fitted state: arrays go to one .npz, texts (LightGBM models, explanations) to one file each. `a/b` nests."""


class Combination(Protocol):
    """A fitted combination: member scores in, one distribution a row out. Never half fitted, deterministic.

    Some carry more, always under these names: `weight_M` (a share of each member), `explanation` (why it was chosen).
    """

    def __call__(self, proba_NMC: Float) -> Proba:
        """Scores (N, M, C) of the members it was fitted on, in their order, to (N, C) whose rows sum to one."""
        ...

    def state(self) -> State:
        """What was fitted, enough to make it again together with the settings."""
        ...


class Combiner(Protocol):
    """Settings of one way to combine members."""

    @property
    def kind(self) -> str:
        """Which way it is; the key under which an experiment file names it."""
        ...

    @property
    def name(self) -> str:
        """The name in tables, folders and reports."""
        ...

    def fit(self, table: OOFTable) -> Combination:
        """The combination fitted to every row of the table, and to nothing else."""
        ...

    def restore(self, state: State) -> Combination:
        """The combination whose state this is; the inverse of `Combination.state`."""
        ...


@dataclass(frozen=True)
class Fitted:
    """A combination with what it needs to be applied safely elsewhere: settings, member order, classes."""

    combiner: Combiner
    combination: Combination
    members: tuple[str, ...]
    classes: tuple[str, ...]
    table_digest: str

    @property
    def name(self) -> str:
        return self.combiner.name

    @property
    def weight_M(self) -> NDArray[np.float64] | None:
        """The share of each member where the combination has one (it sums to one for convex weights), else None."""
        return weight_of(self.combination)

    @property
    def explanation(self) -> str:
        """One sentence on what was chosen and why; empty for combiners that choose nothing."""
        return explanation_of(self.combination)

    def apply(self, scores: ScoreTable | FoldScores, *, pooled: bool = False) -> Proba:
        """One distribution a row, (N, C). Members are found by name, so their order and further members do not matter.

        Scores of K fold models are combined model by model and the K results averaged, because a combination was fitted
        to one fold model's scores a row; `pooled` averages the scores first instead.

        Raises StackError when a member is missing or the classes differ.
        """
        if scores.classes != self.classes:
            raise StackError(
                f"{self.name} was fitted to classes {list(self.classes)}, the scores have {list(scores.classes)}: "
                "bring the columns into the fitted order"
            )
        missing = [m for m in self.members if m not in scores.members]
        if missing:
            raise StackError(
                f"{self.name} was fitted to {len(self.members)} members, the scores lack {missing[:3]} "
                f"({len(missing)} in all): score these rows with every fitted member, or fit again without them"
            )
        if isinstance(scores, FoldScores):
            if not pooled:
                each = [self.apply(scores.fold_model(k)) for k in range(scores.n_models)]
                averaged: Proba = np.mean(each, axis=0)
                return averaged
            scores = scores.mean()
        index = [scores.members.index(m) for m in self.members]
        proba_NMC = scores.proba_NMC if index == list(range(len(scores.members))) else scores.proba_NMC[:, index]
        return self.combination(proba_NMC)


def fit(combiner: Combiner, table: OOFTable) -> Fitted:
    """`combiner` fitted to the whole table, ready to be applied to other rows or saved."""
    marks = digest(table.labels.digest, list(table.members), table.proba_NMC)
    return Fitted(combiner, combiner.fit(table), table.members, table.classes, marks)


def weight_of(combination: Combination) -> NDArray[np.float64] | None:
    """The share of each member, where the combination has one."""
    weight: NDArray[np.float64] | None = getattr(combination, "weight_M", None)
    return weight


def explanation_of(combination: Combination) -> str:
    """Why the combination was chosen, where it chooses, else empty."""
    return str(getattr(combination, "explanation", ""))


def require_members(proba_NMC: Float, n_members: int) -> None:
    """Raise StackError unless the scores are (N, n_members, C): positions carry no names to check."""
    if proba_NMC.ndim != 3 or proba_NMC.shape[1] != n_members:
        raise StackError(
            f"the combination was fitted to {n_members} members, got scores of shape {proba_NMC.shape}: "
            "pass (rows, members, classes) with the fitted members in their order"
        )


def nested(prefix: str, state: State) -> State:
    """`state` under a prefix, for a combination that holds another."""
    return {f"{prefix}/{key}": value for key, value in state.items()}


def within(prefix: str, state: State) -> State:
    """The inverse of `nested`."""
    start = f"{prefix}/"
    return {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}


def array(state: State, key: str) -> NDArray[Any]:
    """The array under `key`; raises StackError when the file holds none, as one written by another version would."""
    value = state.get(key)
    if not isinstance(value, np.ndarray):
        raise StackError(f"the saved combination has no array {key!r}, it has {sorted(state)}: fit and save it again")
    return value


def text(state: State, key: str) -> str:
    """The text under `key`; raises StackError when the file holds none."""
    value = state.get(key)
    if not isinstance(value, str):
        raise StackError(f"the saved combination has no text {key!r}, it has {sorted(state)}: fit and save it again")
    return value
