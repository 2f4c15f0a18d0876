"""How the votes of a row and its teacher become one target: the kinds of mix, and the weight of a row.

N rows, C classes. Importing this module imports no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, Union

import numpy as np
from numpy.typing import NDArray

from foldstill.data.bounded import bounded_minimum
from foldstill.data.simplex import Float, clip_rows
from foldstill.data.strata import whole_totals
from foldstill.errors import DistillError
from foldstill.settings import Kind, KindWithExample

TargetWeight = Literal["effective", "none", "votes", "log1p"]

UNIDENTIFIED_VOTES = 4.0
"""Pseudo-votes of a teacher when the votes cannot tell: what the likelihood chose where it could (3.6 to 3.9 in the
study this follows), so a hard label keeps a fifth of the target."""

VOTES_RANGE = (0.1, 100.0)


class Mix(Kind, Protocol):
    """Settings that give the teacher's share of a target, from the number of votes of the row."""

    @classmethod
    def example(cls) -> Self:
        """The smallest working instance."""
        ...

    @property
    def pseudo_votes(self) -> float:
        """How many votes the teacher counts as in the weight of a row."""
        ...

    def fitted(self, votes_NC: Float, teacher_NC: Float) -> Mix:
        """The same mix with everything set that is fitted to votes and held-out predictions of the teacher."""
        ...

    def teacher_share(self, total_N: Any) -> Any:
        """The teacher's share per row, between 0 and 1, for numbers of votes in a NumPy array or a torch tensor."""
        ...

    def explain(self, votes_NC: Float, teacher_NC: Float, teacher: str) -> str:
        """One sentence about what the teacher of this name counts for."""
        ...


@dataclass(frozen=True)
class DirichletMix(KindWithExample, kind="dirichlet"):
    """The teacher counts as a number of votes: target = (votes + c q) / (n + c), so that many votes outweigh it.

    Examples
    --------
    >>> DirichletMix(votes=4.0).teacher_share(np.array([1.0, 12.0])).tolist()
    [0.8, 0.25]
    """

    votes: float | None = None
    """How many votes the teacher counts as; by default the number is fitted by maximum likelihood."""

    def __post_init__(self) -> None:
        if self.votes is not None and not self.votes > 0:
            raise DistillError(f"mix.votes must be positive, got {self.votes}: leave it out to have it fitted")

    @classmethod
    def example(cls) -> DirichletMix:
        return cls(votes=4.0)

    @property
    def pseudo_votes(self) -> float:
        if self.votes is None:
            raise DistillError("a Dirichlet mix without `votes` must be fitted before it is applied: call fitted()")
        return self.votes

    def fitted(self, votes_NC: Float, teacher_NC: Float) -> DirichletMix:
        return self if self.votes is not None else replace(self, votes=fit_pseudo_votes(votes_NC, teacher_NC).c)

    def teacher_share(self, total_N: Any) -> Any:
        return self.pseudo_votes / (total_N + self.pseudo_votes)

    def explain(self, votes_NC: Float, teacher_NC: Float, teacher: str) -> str:
        if self.votes is not None:
            return f"{teacher}: the teacher counts as {self.votes:g} votes, as asked"
        return f"{teacher}: {fit_pseudo_votes(votes_NC, teacher_NC).explanation}"


class StatedShare(KindWithExample, ABC):
    """What mixes have in common whose share of the teacher is stated: nothing is fitted."""

    @property
    @abstractmethod
    def share(self) -> float:
        """The teacher's share of every target, between 0 and 1."""

    def teacher_share(self, total_N: Any) -> Any:
        return 0.0 * total_N + self.share

    @property
    def pseudo_votes(self) -> float:
        return UNIDENTIFIED_VOTES

    def fitted(self, votes_NC: Float, teacher_NC: Float) -> Self:
        return self


@dataclass(frozen=True)
class FixedMix(StatedShare, kind="fixed"):
    """The teacher has the same share in the target of every row, however many votes the row has.

    Examples
    --------
    >>> FixedMix(0.25).teacher_share(np.array([1.0, 12.0])).tolist()
    [0.25, 0.25]
    """

    share: float = 0.5
    """The teacher's share of the target, between 0 and 1."""

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise DistillError(
                f"mix.share must lie between 0 and 1, got {self.share}: "
                'use mix.kind = "votes" or "teacher" for the ends'
            )

    def explain(self, votes_NC: Float, teacher_NC: Float, teacher: str) -> str:
        return f"{teacher}: the teacher has {self.share:.0%} of every target, as asked"


@dataclass(frozen=True)
class TeacherOnly(StatedShare, kind="teacher", title="teacher only"):
    """The target is the teacher's prediction: neither the votes nor their number are used.

    Examples
    --------
    >>> TeacherOnly().teacher_share(np.array([1.0, 12.0])).tolist()
    [1.0, 1.0]
    """

    share: ClassVar[float] = 1.0

    def explain(self, votes_NC: Float, teacher_NC: Float, teacher: str) -> str:
        return f"{teacher}: the teacher alone"


@dataclass(frozen=True)
class VotesOnly(StatedShare, kind="votes", title="votes only"):
    """The target is the vote shares of the row: a student without a teacher.

    Examples
    --------
    >>> VotesOnly().teacher_share(np.array([1.0, 12.0])).tolist()
    [0.0, 0.0]
    """

    share: ClassVar[float] = 0.0

    def explain(self, votes_NC: Float, teacher_NC: Float, teacher: str) -> str:
        return "the votes alone"


MIXES = (DirichletMix, FixedMix, TeacherOnly, VotesOnly)
"""Every kind of mix that an experiment file can name, told apart by `kind`."""

if TYPE_CHECKING:
    MixSettings = Mix
else:
    MixSettings = Union[MIXES]  # noqa: UP007 - built from the tuple


def mixed(mix: Mix, total_N1: Any, votes_share_NC: Any, teacher_NC: Any) -> Any:
    """The target (N, C) of a fitted mix, for NumPy arrays as for torch tensors; rows without votes take the teacher
    alone.

    >>> votes_share, teacher = np.array([[1.0, 0], [0, 0]]), np.array([[0.5, 0.5], [0.2, 0.8]])
    >>> mixed(FixedMix(0.5), np.array([[2.0], [0.0]]), votes_share, teacher).tolist()
    [[0.75, 0.25], [0.2, 0.8]]
    """
    share_N1 = mix.teacher_share(total_N1) * (total_N1 > 0) + 1.0 * (total_N1 == 0)
    return (1 - share_N1) * votes_share_NC + share_N1 * teacher_NC


@dataclass(frozen=True)
class PseudoVotes:
    """How many votes a teacher is worth, and a sentence about how certain that number is."""

    c: float
    identified: bool
    explanation: str


def fit_pseudo_votes(votes_NC: Float, teacher_NC: Float) -> PseudoVotes:
    """The c with the highest likelihood, if the votes of each row are drawn from a Dirichlet with mean q and precision
    c.

    Maximises sum_i log DirMult(v_i | n_i, c q_i) over c in [0.1, 100]. The likelihood of a single vote is q whatever c
    is, so without rows of two or more votes c is not identified and the default is returned.
    """
    from scipy.special import gammaln

    total_N = whole_totals(votes_NC.sum(axis=1))
    several = total_N > 1
    if not several.any():
        return PseudoVotes(
            UNIDENTIFIED_VOTES,
            False,
            f"no row has two votes, so the teacher's worth cannot be fitted: it counts as {UNIDENTIFIED_VOTES:g} votes",
        )
    votes, q, n = votes_NC[several], clip_rows(teacher_NC[several]), total_N[several]

    def loss(log_c: float) -> float:
        c = np.exp(log_c)
        rows = gammaln(c) - gammaln(n + c) + (gammaln(votes + c * q) - gammaln(c * q)).sum(axis=1)
        return -float(rows.mean())

    low, high = np.log(VOTES_RANGE)
    # Absolute tolerance in log c: a thousandth of c is far below what the votes can determine.
    c = float(np.exp(bounded_minimum(loss, low, high, tolerance=1e-3)))
    edge = next((e for e in VOTES_RANGE if abs(np.log(c / e)) < 0.01), None)
    note = (
        ""
        if edge is None
        else f", the edge of the search, {'below' if edge == VOTES_RANGE[0] else 'above'} which it may lie"
    )
    return PseudoVotes(c, True, f"the teacher counts as {c:.3g} votes (likelihood of {int(several.sum())} rows){note}")


def mix_votes(
    votes_NC: Float, teacher_NC: Float, mix: Mix, *, weight: TargetWeight = "effective"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Target (N, C) and weight (N,) from votes (counts; a row of zeros has none) and the teacher's rows in the same
    order.

    Weights have mean 1. "effective" is n (1 + c) / (n + c): what n votes are worth when rows differ by more than
    chance (a Dirichlet-multinomial's effective sample size); it saturates at 1 + c. A row without votes weighs as much
    as one with one vote.
    """
    votes = np.asarray(votes_NC, dtype=np.float64)
    teacher = clip_rows(teacher_NC)
    total_N = whole_totals(votes.sum(axis=1))
    without_votes = int((total_N == 0).sum())
    if without_votes and isinstance(mix, VotesOnly):
        raise DistillError(
            f"{without_votes} of {len(votes)} rows have no votes, which VotesOnly needs: leave those rows out"
        )
    mix = mix.fitted(votes, teacher)
    share = votes / np.maximum(total_N, np.finfo(np.float64).tiny)[:, None]
    target: NDArray[np.float64] = mixed(mix, total_N[:, None], share, teacher)
    counted_N = np.ones_like(total_N) if isinstance(mix, TeacherOnly) else np.maximum(total_N, 1.0)
    c = mix.pseudo_votes
    schemes = {
        "effective": counted_N * (1 + c) / (counted_N + c),
        "none": np.ones_like(total_N),
        "votes": counted_N,
        "log1p": np.log1p(counted_N),
    }
    if weight not in schemes:
        raise DistillError(f"row weight must be one of {sorted(schemes)}, got {weight!r}")
    return target, schemes[weight] / schemes[weight].mean()
