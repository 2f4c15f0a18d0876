"""What a combiner is, what fitting it returns, and how the result is applied to other scores.

N samples, M members, C classes, K fold models.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.data.simplex import Float
from foldstill.digests import digest
from foldstill.errors import StackError, at
from foldstill.oof.member_arrays import new_scores
from foldstill.oof.table import FoldScores, OOFTable, ScoreTable
from foldstill.settings import ByKind, Kind
from foldstill.stacking.state import State

Proba = NDArray[np.float64]


class Combination(Protocol):
    """What fitting a combiner returns. It maps member scores to one distribution per sample and is deterministic.

    A combination can have further attributes, always with these names: `weight_M` (the weight of each member),
    `explanation` (why the combination was chosen), `inner` (the combination that it wraps), and `of_table` (the same
    for a `ScoreTable`, from which it can take what was made of its rows before: see `ScoreTable.by_row`).
    """

    def __call__(self, proba_NMC: Float) -> Proba:
        """Return one distribution per sample.

        Parameters
        ----------
        proba_NMC
            Probabilities of shape (N, M, C) of the members that the combiner was fitted on, in the same order.

        Returns
        -------
        Probabilities of shape (N, C); each row sums to one.
        """
        ...

    def state(self) -> State:
        """Return what was fitted: together with the settings, enough to restore the combination."""
        ...


class Combiner(Kind, Protocol):
    """Settings of one way to combine members: a frozen dataclass with these attributes.

    `foldstill.testing.check_combiner` checks an implementation.
    """

    @property
    def name(self) -> str:
        """Name in tables, folders and reports."""
        ...

    @classmethod
    def example(cls) -> Self:
        """Return the smallest instance that works; contract tests use it."""
        ...

    def fit(self, table: OOFTable) -> Combination:
        """Fit to all rows of `table`, and to nothing else."""
        ...

    def restore(self, state: State) -> Combination:
        """Return the combination that has this state: the inverse of `Combination.state`."""
        ...


AnyCombiner = Annotated[Combiner, ByKind("combiner")]
"""Field type of settings that contain a combiner of any kind."""


@dataclass(frozen=True)
class FittedCombiner:
    """A combiner after its fit, with the names of members and classes, so that it can be applied to other tables.

    `combiner` holds the settings, `combination` what was fitted, `table_digest` the digest of the fitted table.
    """

    combiner: Combiner
    combination: Combination
    members: tuple[str, ...]
    classes: tuple[str, ...]
    table_digest: str

    @property
    def name(self) -> str:
        """Name of the combiner."""
        return self.combiner.name

    @property
    def weight_M(self) -> NDArray[np.float64] | None:
        """Weight of each member, or None when the combination has no such weights. Convex weights sum to one."""
        return weight_of(self.combination)

    @property
    def explanation(self) -> str:
        """One sentence on what was chosen and why; empty when the combiner makes no choice."""
        return explanation_of(self.combination)

    def apply(self, scores: ScoreTable | FoldScores | ArrayLike | Mapping[str, Any], *, pooled: bool = False) -> Proba:
        """Combine the scores of other samples.

        Members are matched by name: their order does not matter, and further members are ignored. Scores of K fold
        models are combined model by model, and the K results are averaged, because the combiner was fitted to the
        scores of one fold model per sample.

        Parameters
        ----------
        scores
            Scores with the members and classes of the fit: a table, an array (N, M, C) in the order of `members`, or
            member name to array (N, C) or frame. Columns of frames are matched by class name.
        pooled
            Average the scores of the fold models before combining them. Default: False.

        Returns
        -------
        Probabilities of shape (N, C).

        Raises
        ------
        StackError
            When a member is missing or the classes differ.

        Examples
        --------
        >>> from foldstill.stacking.averages import Average
        >>> from foldstill.testing import synthetic_table
        >>> table = synthetic_table()
        >>> fit(Average(), table).apply(table.scores)[0].round(2).tolist()
        [0.17, 0.33, 0.5]
        """
        if not isinstance(scores, ScoreTable | FoldScores):
            scores = new_scores(scores, self.members, self.classes)
        if scores.classes != self.classes:
            raise StackError(
                f"{self.name} was fitted to the classes {list(self.classes)}, but the scores have "
                f"{list(scores.classes)}: "
                "bring the columns into the order of the fit"
            )
        missing = [m for m in self.members if m not in scores.members]
        if missing:
            raise StackError(
                f"{self.name} was fitted to {len(self.members)} members, but the scores lack {len(missing)} of them, "
                f"first {missing[:3]}: predict these samples with every fitted member, or fit again without the "
                "missing ones"
            )
        if isinstance(scores, FoldScores):
            if not pooled:
                per_model = [self.apply(scores.fold_model(k)) for k in range(scores.n_models)]
                averaged: Proba = np.mean(per_model, axis=0)
                return averaged
            scores = scores.mean()
        index = [scores.members.index(m) for m in self.members]
        if index == list(range(len(scores.members))):
            return combined(self.combination, scores)
        return scores.by_block(lambda proba_NMC: self.combination(proba_NMC[:, index]))


def combined(combination: Combination, scores: ScoreTable) -> Proba:
    """Return the combined rows of a table with the members of the fit.

    Rows are worked on block by block, so that what is made on the way takes little memory beside a large table.
    """
    of_table: Callable[[ScoreTable], Proba] | None = getattr(combination, "of_table", None)
    return scores.by_block(combination) if of_table is None else of_table(scores)


def fit(combiner: Combiner, table: OOFTable) -> FittedCombiner:
    """Fit `combiner` to all rows of `table`; the result can be applied to other samples and saved."""
    table_digest = digest(table.labels.digest, list(table.members), table.proba_NMC)
    with at(f"combiner {combiner.name!r}"):
        combination = combiner.fit(table)
    return FittedCombiner(combiner, combination, table.members, table.classes, table_digest)


def weight_of(combination: Combination) -> NDArray[np.float64] | None:
    """Return the member weights of a combination, or of the one that it wraps; None when neither has any."""
    weight: NDArray[np.float64] | None = getattr(combination, "weight_M", None)
    inner: Combination | None = getattr(combination, "inner", None)
    return weight_of(inner) if weight is None and inner is not None else weight


def explanation_of(combination: Combination) -> str:
    """Return why a combination, or the one that it wraps, was chosen; empty when there was no choice."""
    explanation = str(getattr(combination, "explanation", ""))
    inner: Combination | None = getattr(combination, "inner", None)
    return explanation_of(inner) if not explanation and inner is not None else explanation


def require_members(proba_NMC: Float, n_members: int) -> None:
    """Raise StackError unless the scores have shape (N, n_members, C)."""
    if proba_NMC.ndim != 3 or proba_NMC.shape[1] != n_members:
        raise StackError(
            f"the combination was fitted to {n_members} members, got scores of shape {proba_NMC.shape}: "
            "pass (samples, members, classes) with the members of the fit in their order"
        )
