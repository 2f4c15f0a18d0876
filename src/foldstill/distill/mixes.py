"""How the votes of a row and its teacher become one distribution: the kinds of mix, and what a mix weighs a row.

N rows, C classes.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import Float, clip_rows
from foldstill.errors import DistillError
from foldstill.settings import Settings

TargetWeight = Literal["effective", "none", "votes", "log1p"]

UNIDENTIFIED_VOTES = 4.0
"""Pseudo-votes of a teacher when the votes cannot tell: what the likelihood picked where it could (3.6 to 3.9 in the
study this follows), so a hard label keeps a fifth of the target."""

VOTES_RANGE = (0.1, 100.0)


@dataclass(frozen=True)
class DirichletMix(Settings):
    """The teacher counts as so many votes: target = (votes + c q) / (n + c), so that rich votes outweigh it."""

    votes: float | None = None
    """How many votes the teacher counts as; unset, the likelihood of the votes decides."""
    kind: Literal["dirichlet"] = "dirichlet"

    def __post_init__(self) -> None:
        if self.votes is not None and not self.votes > 0:
            raise DistillError(f"mix.votes must be positive, got {self.votes}: leave it out to have it fitted")


@dataclass(frozen=True)
class FixedMix(Settings):
    """The same share of the teacher in every row, however many votes it has."""

    share: float = 0.5
    """The teacher's share of the target, between 0 and 1."""
    kind: Literal["fixed"] = "fixed"

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise DistillError(
                f"mix.share must lie between 0 and 1, got {self.share}: for the ends there are votes and teacher"
            )


@dataclass(frozen=True)
class TeacherOnly(Settings):
    """The teacher alone: neither the votes nor their number are used."""

    kind: Literal["teacher"] = "teacher"


@dataclass(frozen=True)
class VotesOnly(Settings):
    """The votes alone: the student without a teacher."""

    kind: Literal["votes"] = "votes"


Mix = DirichletMix | FixedMix | TeacherOnly | VotesOnly


@dataclass(frozen=True)
class PseudoVotes:
    """How many votes a teacher is worth, and one sentence on how sure that is."""

    c: float
    identified: bool
    says: str


def fit_pseudo_votes(votes_NC: Float, teacher_NC: Float) -> PseudoVotes:
    """The c that makes the votes likeliest when each row's are drawn from a Dirichlet of mean q and precision c.

    Maximises sum_i log DirMult(v_i | n_i, c q_i) over c in [0.1, 100]. The likelihood of a single vote is q whatever c
    is, so without rows of two or more votes c is not identified and a stated default comes back.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import gammaln

    total_N = votes_NC.sum(axis=1)
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
    # Absolute tolerance in log c: a thousandth of c is far below what the votes can tell.
    c = float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-3}).x))
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
    """Target (N, C) and weight (N,) from votes (counts; a row of zeros has none) and teacher rows of the same order.

    Weights have mean 1. "effective" is n (1 + c) / (n + c): what n votes are worth when rows differ by more than
    chance (a Dirichlet-multinomial's effective sample size); it saturates at 1 + c. A row without votes weighs as
    one with one vote.
    """
    votes = np.asarray(votes_NC, dtype=np.float64)
    teacher = clip_rows(teacher_NC)
    n = votes.sum(axis=1)
    bare = n == 0
    share = np.divide(votes, n[:, None], out=teacher.copy(), where=~bare[:, None])
    c = UNIDENTIFIED_VOTES
    target: NDArray[np.float64]
    if isinstance(mix, DirichletMix):
        c = mix.votes if mix.votes is not None else fit_pseudo_votes(votes, teacher).c
        target = (votes + c * teacher) / (n + c)[:, None]
    elif isinstance(mix, FixedMix):
        target = (1 - mix.share) * share + mix.share * teacher
    elif isinstance(mix, TeacherOnly):
        target = teacher
    else:
        if bare.any():
            raise DistillError(
                f"{int(bare.sum())} of {len(n)} rows have no votes, which VotesOnly needs: leave those rows out"
            )
        target = share
    counted = np.ones_like(n) if isinstance(mix, TeacherOnly) else np.maximum(n, 1.0)
    schemes = {
        "effective": counted * (1 + c) / (counted + c),
        "none": np.ones_like(n),
        "votes": counted,
        "log1p": np.log1p(counted),
    }
    if weight not in schemes:
        raise DistillError(f"row weight must be one of {sorted(schemes)}, got {weight!r}")
    return target, schemes[weight] / schemes[weight].mean()
