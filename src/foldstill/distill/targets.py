"""What a student is taught: the votes of a row and its teacher's held-out prediction, in one distribution.

N rows, M members, C classes. Targets are made here as values; training only ever sees the result.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.labels import Labels, Strings
from foldstill.data.simplex import Float, check_rows, clip_rows, softmax
from foldstill.errors import DistillError
from foldstill.oof.table import OOFTable

TargetWeight = Literal["effective", "none", "votes", "log1p"]
Ablation = Literal["none", "in_sample", "class_permuted"]

UNIDENTIFIED_VOTES = 4.0
"""Pseudo-votes of a teacher when the votes cannot tell: what the likelihood picked where it could (3.6 to 3.9 in the
study this follows), so a hard label keeps a fifth of the target."""

VOTES_RANGE = (0.1, 100.0)
TEMPERATURE_RANGE = (0.25, 8.0)


@dataclass(frozen=True)
class SoftTargets:
    """A teacher's prediction for every row it teaches: `proba_NC`, and whether its makers never saw the row's group.

    `classes` () means the teacher did not name them; otherwise they must be those of the labels.
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
                f"targets must be (rows, classes) with one row an id ({len(self.ids)}), got {proba.shape}"
            )
        if len(np.unique(self.ids)) < len(self.ids):
            raise DistillError(f"the targets of teacher {self.teacher!r} hold an id twice: give each row once")
        if self.classes and len(self.classes) != proba.shape[1]:
            raise DistillError(f"targets have {proba.shape[1]} columns but {len(self.classes)} class names: align them")


@dataclass(frozen=True)
class DirichletMix:
    """The teacher counts as so many votes: target = (votes + c q) / (n + c), so that rich votes outweigh it."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    votes: float | None = None
    """How many votes the teacher counts as; unset, the likelihood of the votes decides."""
    kind: Literal["dirichlet"] = "dirichlet"

    def __post_init__(self) -> None:
        if self.votes is not None and not self.votes > 0:
            raise DistillError(f"mix.votes must be positive, got {self.votes}: leave it out to have it fitted")


@dataclass(frozen=True)
class FixedMix:
    """The same share of the teacher in every row, however many votes it has."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    share: float = 0.5
    """The teacher's share of the target, between 0 and 1."""
    kind: Literal["fixed"] = "fixed"

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise DistillError(
                f"mix.share must lie between 0 and 1, got {self.share}: for the ends there are votes and teacher"
            )


@dataclass(frozen=True)
class TeacherOnly:
    """The teacher alone: neither the votes nor their number are used."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    kind: Literal["teacher"] = "teacher"


@dataclass(frozen=True)
class VotesOnly:
    """The votes alone: the student without a teacher."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

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
    "class_permuted" swaps teacher rows among those of one predicted class (`seed`), to see whether what it knows
    of single rows matters.
    """
    votes_NC: Float
    teacher_NC: Float
    if soft is None:
        if not isinstance(mix, VotesOnly):
            raise DistillError(
                f"a mix of kind {mix.kind!r} needs a teacher, got none: give SoftTargets, or mix with VotesOnly()"
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
                f'the ablation "in_sample" wants a teacher that saw the rows, {soft.teacher!r} was held out'
            )
        if ablation == "class_permuted":
            soft = class_permuted(soft, seed)
        votes_NC, teacher_NC = _votes_of(soft, labels), soft.proba_NC
    return mix_votes(votes_NC, teacher_NC, mix, weight=weight)


def explain_mix(soft: SoftTargets, labels: Labels, mix: Mix) -> str:
    """One sentence on what `mixed_targets` makes of this teacher and these votes, for logs and cards."""
    if isinstance(mix, DirichletMix):
        if mix.votes is not None:
            return f"{soft.teacher}: the teacher counts as {mix.votes:g} votes, as asked"
        return f"{soft.teacher}: {fit_pseudo_votes(_votes_of(soft, labels), soft.proba_NC).says}"
    if isinstance(mix, FixedMix):
        return f"{soft.teacher}: the teacher has {mix.share:.0%} of every target, as asked"
    return f"{soft.teacher}: the teacher alone" if isinstance(mix, TeacherOnly) else "the votes alone"


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


def class_permuted(soft: SoftTargets, seed: int) -> SoftTargets:
    """The same teacher with its rows shuffled among rows of one predicted class: an ablation.

    After *Born-Again Neural Networks* (Furlanello et al., 2018), section 3.3, where non-largest outputs are
    permuted: it keeps how sure the teacher is and of which class, and loses what it knows of the single row.
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
    place = np.minimum(np.searchsorted(soft.ids, labels.ids, sorter=order), len(order) - 1)
    row = order[place]
    lost = labels.ids[soft.ids[row] != labels.ids]
    if len(lost):
        raise DistillError(
            f"teacher {soft.teacher!r} lacks {len(lost)} of {len(labels)} labelled rows; first ids: "
            f"{lost[:3].tolist()}: "
            "take the labels of the rows it taught"
        )
    votes = np.zeros(soft.proba_NC.shape)
    votes[row] = labels.votes_NC
    return votes


def fit_temperature(proba_NC: Float, votes_NC: Float) -> float:
    """The T in [0.25, 8] at which softmax(log p / T) makes the votes likeliest; above 1: the scores were too sure.

    Minimises sum_i n_i CE(y_i, .) by bounded Brent in log T (temperature scaling: Guo et al., 2017, section 4.2).
    """
    from scipy.optimize import minimize_scalar

    logit_NC = np.log(clip_rows(proba_NC))

    def loss(log_t: float) -> float:
        return -float((votes_NC * np.log(clip_rows(softmax(logit_NC / np.exp(log_t))))).sum() / votes_NC.sum())

    low, high = np.log(TEMPERATURE_RANGE)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-3}).x))


def member_temperatures(table: OOFTable) -> NDArray[np.float64]:
    """One temperature a member (M,), fitted on its held-out scores."""
    votes_NC = table.labels.votes_NC
    return np.asarray([fit_temperature(table.proba_NMC[:, m], votes_NC) for m in range(len(table.members))])


def tempered(proba: Float, temperature: Any) -> NDArray[np.float64]:
    """Probabilities (..., C) to the power 1 / T, normalised; `temperature` broadcasts over the leading axes."""
    return softmax(np.log(clip_rows(proba)) / np.asarray(temperature, dtype=np.float64)[..., None])


def average_teacher(table: OOFTable, *, calibrated: bool = True) -> SoftTargets:
    """The plain average of a table's held-out scores as a teacher, each member brought to its own temperature first."""
    proba_NMC = tempered(table.proba_NMC, member_temperatures(table)) if calibrated else table.proba_NMC
    name = "calibrated average" if calibrated else "average"
    return SoftTargets(table.labels.ids, proba_NMC.mean(axis=1, dtype=np.float64), name, True, table.classes)
