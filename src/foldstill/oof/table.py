"""The value the whole project is about: what every member said of every row, by models that never saw the row's group.

N rows, M members, C classes, K fold models.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.folds import TEST
from foldstill.data.labels import Labels, Strings, match_ids
from foldstill.data.simplex import check_rows
from foldstill.errors import OOFError


def _check_scores(proba: NDArray[Any], n: int, members: Sequence[str], classes: Sequence[str]) -> None:
    if proba.shape[-3:] != (n, len(members), len(classes)):
        raise OOFError(
            f"scores must have shape (rows, members, classes) = ({n}, {len(members)}, {len(classes)}), "
            f"got {proba.shape[-3:]}"
        )
    if n == 0 or not members:
        raise OOFError(f"a score table needs rows and members, got {n} rows and {len(members)} members")
    for what, names in (("member", members), ("class", classes)):
        if len(set(names)) < len(names):
            raise OOFError(
                f"{what} names must differ, got {sorted(n for n in set(names) if list(names).count(n) > 1)} twice"
            )
        if not all(names):
            raise OOFError(f"{what} names must not be empty, got {list(names)}: name every {what}")
    check_rows(proba, "scores")


@dataclass(frozen=True)
class ScoreTable:
    """Probabilities of every member for every row: `proba_NMC`, float32, rows sum to one.

    `families` names what members have in common (architecture, recipe): weights can be tied within a family. It
    defaults to one family a member.
    """

    ids: Strings
    members: tuple[str, ...]
    classes: tuple[str, ...]
    proba_NMC: NDArray[np.float32]
    families: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_scores(self.proba_NMC, len(self.ids), self.members, self.classes)
        if not self.families:
            object.__setattr__(self, "families", self.members)
        if len(self.families) != len(self.members):
            raise OOFError(f"families must name one family a member ({len(self.members)}), got {len(self.families)}")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[Any]) -> "ScoreTable":
        """The rows picked by an index or a mask."""
        return replace(self, ids=self.ids[rows], proba_NMC=self.proba_NMC[rows])

    def select(self, members: Sequence[str]) -> "ScoreTable":
        """The named members, in that order; raises OOFError that lists what is missing."""
        missing = [m for m in members if m not in self.members]
        if missing:
            raise OOFError(f"the table has no member {missing}, it has {list(self.members)}: name members of the table")
        index = [self.members.index(m) for m in members]
        return replace(
            self,
            members=tuple(members),
            proba_NMC=np.ascontiguousarray(self.proba_NMC[:, index]),
            families=tuple(self.families[i] for i in index),
        )

    def drop(self, patterns: Sequence[str]) -> "ScoreTable":
        """Without the members whose name fits a shell pattern such as `*_tta`; a pattern that fits none is an error."""
        for pattern in patterns:
            if not any(fnmatchcase(m, pattern) for m in self.members):
                raise OOFError(f"no member fits {pattern!r}, members are {list(self.members)}: correct the pattern")
        return self.select([m for m in self.members if not any(fnmatchcase(m, p) for p in patterns)])


@dataclass(frozen=True)
class OOFTable:
    """Held-out scores with the labels of the same rows and the fold each row was held out in.

    `fold_N` is 0..K-1, one fold a group; `plan_digest` ties the table to the plan that made it ("" when imported
    without). `folds_assigned` marks folds that were made for cross-fitting combiners only: they say nothing of how the
    members were trained.
    """

    scores: ScoreTable
    labels: Labels
    fold_N: NDArray[np.int16]
    plan_digest: str = ""
    folds_assigned: bool = False

    def __post_init__(self) -> None:
        if self.labels.classes != self.scores.classes:
            raise OOFError(
                f"classes of scores {list(self.scores.classes)} and labels {list(self.labels.classes)} must be "
                "the same, "
                "in the same order: reorder the columns of one"
            )
        if not np.array_equal(self.labels.ids, self.scores.ids):
            raise OOFError("scores and labels must hold the same ids in the same order: align them with OOFTable.align")
        if self.fold_N.shape != (len(self.labels),):
            raise OOFError(f"folds must be one a row ({len(self.labels)}), got shape {self.fold_N.shape}")
        if (self.fold_N == TEST).any():
            raise OOFError("an OOF table holds no test rows: keep them in a table of fold scores")

    @classmethod
    def align(cls, scores: ScoreTable, labels: Labels, fold_N: NDArray[Any], plan_digest: str = "") -> "OOFTable":
        """A table with the scores brought into the labels' order by id."""
        return cls(
            scores.take(match_ids("the score table", labels.ids, scores.ids)),
            labels,
            fold_N.astype(np.int16),
            plan_digest,
        )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def proba_NMC(self) -> NDArray[np.float32]:
        return self.scores.proba_NMC

    @property
    def members(self) -> tuple[str, ...]:
        return self.scores.members

    @property
    def classes(self) -> tuple[str, ...]:
        return self.scores.classes

    @property
    def folds(self) -> list[int]:
        """The fold numbers present, rising."""
        return [int(f) for f in np.unique(self.fold_N)]

    def take(self, rows: NDArray[Any]) -> "OOFTable":
        """The rows picked by an index or a mask."""
        return replace(self, scores=self.scores.take(rows), labels=self.labels.take(rows), fold_N=self.fold_N[rows])

    def select(self, members: Sequence[str]) -> "OOFTable":
        return replace(self, scores=self.scores.select(members))

    def drop(self, patterns: Sequence[str]) -> "OOFTable":
        return replace(self, scores=self.scores.drop(patterns))


@dataclass(frozen=True)
class FoldScores:
    """Scores of rows that no fold model saw, by all K fold models of every member: `proba_KNMC`, float32.

    In training a row is seen by one fold model a member, here by K. A combination is therefore applied to each fold
    model's scores and the K results are averaged (DESIGN: the plain average is the same either way).
    """

    ids: Strings
    members: tuple[str, ...]
    classes: tuple[str, ...]
    proba_KNMC: NDArray[np.float32]
    families: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.proba_KNMC.ndim != 4:
            raise OOFError(
                f"fold scores must have shape (fold models, rows, members, classes), got {self.proba_KNMC.shape}"
            )
        _check_scores(self.proba_KNMC, len(self.ids), self.members, self.classes)
        if not self.families:
            object.__setattr__(self, "families", self.members)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_models(self) -> int:
        return int(self.proba_KNMC.shape[0])

    def fold_model(self, fold: int) -> ScoreTable:
        """What the models of one fold said."""
        return ScoreTable(self.ids, self.members, self.classes, self.proba_KNMC[fold], self.families)

    def mean(self) -> ScoreTable:
        """The average over fold models."""
        mean = self.proba_KNMC.mean(axis=0, dtype=np.float64).astype(np.float32)
        return ScoreTable(self.ids, self.members, self.classes, mean, self.families)
