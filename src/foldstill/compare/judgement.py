"""What the numbers of a comparison prove: a gain, no gain, or neither, and which arm to use. A arms, G groups."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.intervals import Interval, group_steps
from foldstill.compare.results import ArmScore

Answer = Literal["yes", "no gain", "cannot tell"]

Pair = Callable[[str, str], Interval]
"""The loss of one arm minus that of another, with its interval, by their names."""

_FEW = 5.0
"""Effective number of groups below which a few of them carry an interval; of 100 alike groups it is about 33."""
_ENOUGH = 20
"""With fewer groups than this every group carries much of an interval, and naming some says nothing."""


@dataclass(frozen=True)
class Judgement:
    """What a comparison proves about its combinations.

    Parameters
    ----------
    answer : {"yes", "no gain", "cannot tell"}
        "yes" when a combination beats the baseline, "no gain" when none can gain more than the margin, by intervals
        that hold for all combinations at once.
    leader : str or None
        The arm that the answer is about: of those that beat the baseline the best, else the nearest to it.
    recommended : str
        The arm to use: the first in the list, hence the simplest, of those that beat the baseline and are not worse
        than the leader beyond noise; the baseline when none beats it.
    groups_needed : int or None
        After "cannot tell", about how many groups would give an answer if the differences stay as they are.
    opposed : tuple of str
        Strata in which the leader is worse than the baseline although it is better elsewhere, by their intervals.
    worse_than_prior : bool
        Whether the baseline is worse than predicting the class shares for every row.
    """

    answer: Answer
    leader: str | None
    recommended: str
    groups_needed: int | None = None
    opposed: tuple[str, ...] = ()
    worse_than_prior: bool = False


def judge(arms: Sequence[ArmScore], *, baseline: str, margin: float, pair: Pair) -> Judgement:
    """Judge the combinations against the baseline; arms are in order from simple to complex.

    `margin` is in units of the loss.
    """
    found = candidates(arms)
    prior = prior_arm(arms)
    worse_than_prior = prior is not None and prior.difference is not None and prior.difference.estimate < 0
    if not found:
        return Judgement("cannot tell", None, baseline, worse_than_prior=worse_than_prior)
    by_loss = sorted(found, key=lambda arm: arm.loss)
    proved = [arm for arm in by_loss if joint(arm).high < 0]
    within = all(joint(arm).low >= -margin for arm in found)
    answer: Answer = "no gain" if within else "yes" if proved else "cannot tell"
    # An arm that predicts what the baseline predicts says nothing about the others.
    leader = (proved or [arm for arm in by_loss if joint(arm).estimate != 0] or by_loss)[0]
    return Judgement(
        answer,
        leader.name,
        _simplest([arm for arm in found if arm in proved], leader, pair) if answer == "yes" else baseline,
        _groups_needed(found, margin) if answer == "cannot tell" else None,
        _opposed(leader),
        worse_than_prior,
    )


def is_candidate(arm: ArmScore) -> bool:
    """Whether an arm may replace the baseline: averages, combinations, and a member that was chosen on other rows."""
    return arm.kind in ("average", "combination") or (arm.kind == "member" and arm.chosen is not None)


def candidates(arms: Sequence[ArmScore]) -> list[ArmScore]:
    """The arms that may replace the baseline, without the baseline."""
    return [arm for arm in arms if arm.simultaneous is not None and is_candidate(arm)]


def prior_arm(arms: Sequence[ArmScore]) -> ArmScore | None:
    """The arm that predicts the class shares for every row."""
    return next((arm for arm in arms if arm.kind == "prior"), None)


def joint(arm: ArmScore) -> Interval:
    """The simultaneous interval of an arm that is not the baseline."""
    assert arm.simultaneous is not None, "the baseline is no candidate"
    return arm.simultaneous


def carrying_groups(
    difference_N: NDArray[np.float64], groups: NDArray[Any], weight_N: NDArray[np.float64]
) -> tuple[str, ...]:
    """The few groups that carry the error of a mean difference, the heaviest first; empty where many share it.

    The effective number of groups is (sum v)^2 / sum v^2 of what each adds to the variance. When it is low, the groups
    that add half of the variance are named: how often such groups come up in other samples can hardly be known.
    """
    square_G = group_steps(difference_N[:, None], groups, weight_N)[:, 0] ** 2
    total = square_G.sum()
    if len(square_G) < _ENOUGH or total == 0 or total**2 / (square_G**2).sum() >= _FEW:
        return ()
    names = np.unique(groups[weight_N > 0])
    order = np.argsort(-square_G, kind="stable")
    half = int(np.searchsorted(np.cumsum(square_G[order]), total / 2)) + 1
    return tuple(str(name) for name in names[order[:half]])


def _simplest(proved: Sequence[ArmScore], leader: ArmScore, pair: Pair) -> str:
    """The first of the proved arms over which the leader has no proved gain."""
    return next(arm.name for arm in proved if arm is leader or pair(leader.name, arm.name).high >= 0)


def _groups_needed(found: Sequence[ArmScore], margin: float) -> int | None:
    """About how many groups would prove one of the gains, or that all are within the margin, rounded to two digits.

    Intervals shrink with the root of the number of groups. None when no number would do.
    """
    n_groups = joint(found[0]).n_groups
    proving = [(d.high - d.estimate) / -d.estimate for d in map(joint, found) if d.estimate < 0]
    excluding = [
        (d.estimate - d.low) / (margin + d.estimate) if margin + d.estimate > 0 else math.inf for d in map(joint, found)
    ]
    ratio = min([max(excluding), *proving])
    if not math.isfinite(ratio):
        return None
    needed = n_groups * ratio**2
    digits = int(10 ** max(0, math.floor(math.log10(needed)) - 1))
    return max(n_groups + 1, math.ceil(needed / digits) * digits)


def _opposed(leader: ArmScore) -> tuple[str, ...]:
    """Strata in which the leader loses although it gains in others or overall."""
    known = [(part.stratum, part.difference) for part in leader.strata if part.difference is not None]
    gains = joint(leader).high < 0 or any(d.high < 0 for _, d in known)
    return tuple(name for name, d in known if d.low > 0) if gains else ()
