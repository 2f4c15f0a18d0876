"""Stackers that start at an average: the logarithm of an anchor plus a residual learned from features.

A residual of zero returns the anchor, so a learner that finds nothing can stop before its first step. Several such
models, called bags, are averaged. N samples, M members, C classes, F features.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import Float, clip_rows, softmax
from foldstill.oof.table import OOFTable, ScoreTable
from foldstill.stacking.averages import Average
from foldstill.stacking.combiner import Combination, Proba, combined, require_members
from foldstill.stacking.features import FeatureSet, features, features_of
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.stacking.row_weighted import RowWeighted
from foldstill.stacking.state import State, array, strip_prefix, with_prefix

Anchor = Literal["average", "recalibrated", "none"]
"""What a stacker starts at: the plain average, the recalibrated average, or the uniform distribution."""

_ANCHORS: dict[str, Average | Recalibrated] = {"average": Average(), "recalibrated": Recalibrated()}


class Residual(Protocol):
    """What a learner adds to the logarithm of the anchor."""

    def __call__(self, features_NF: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return (N, C) from features (N, F)."""
        ...

    def state(self) -> State: ...


@dataclass(frozen=True)
class Bag:
    """One fitted anchor and the residual that was learned on top of it; without an anchor it starts uniform."""

    anchor: Combination | None
    residual: Residual


@dataclass(frozen=True)
class AnchoredCombination:
    """softmax of the mean over bags of log anchor + residual. `family_M` is the family number of each member."""

    bags: tuple[Bag, ...]
    feature_set: FeatureSet
    family_M: NDArray[np.int64]

    def __call__(self, proba_NMC: Float) -> Proba:
        require_members(proba_NMC, len(self.family_M))
        features_NF = features(proba_NMC, self.feature_set, self.family_M)
        logits = [log_anchor(bag.anchor, proba_NMC) + bag.residual(features_NF) for bag in self.bags]
        return softmax(np.mean(logits, axis=0))

    def of_table(self, scores: ScoreTable) -> Proba:
        """The same for the rows of a table."""
        features_NF = features_of(scores, self.feature_set, self.family_M)
        logits = [log_anchor_of(bag.anchor, scores) + bag.residual(features_NF) for bag in self.bags]
        return softmax(np.mean(logits, axis=0))

    def state(self) -> State:
        state: dict[str, NDArray[np.generic] | str] = {"bags": np.asarray(len(self.bags)), "column": self.family_M}
        for b, bag in enumerate(self.bags):
            state.update(with_prefix(f"bag{b}/residual", bag.residual.state()))
            if bag.anchor is not None:
                state.update(with_prefix(f"bag{b}/anchor", bag.anchor.state()))
        return state


def restore_anchored(
    state: State, anchor: Anchor, feature_set: FeatureSet, residual: Callable[[State], Residual]
) -> AnchoredCombination:
    """Return the combination that has this state; `residual` restores one residual."""
    bags = []
    for b in range(int(array(state, "bags"))):
        bag_state = strip_prefix(f"bag{b}", state)
        start = None if anchor == "none" else _ANCHORS[anchor].restore(strip_prefix("anchor", bag_state))
        bags.append(Bag(start, residual(strip_prefix("residual", bag_state))))
    return AnchoredCombination(tuple(bags), feature_set, array(state, "column"))


@dataclass(frozen=True)
class AnchoredSettings(RowWeighted, ABC):
    """Base of combiners that learn a residual from features, on top of an anchor."""

    features: FeatureSet = field(default="statistics", kw_only=True)
    """Input: "statistics" over all members, "family_statistics" per family of members, "statistics_and_members"
    (with the log-probabilities of every member), or "members" (these alone)."""
    anchor: Anchor = field(default="recalibrated", kw_only=True)
    """Start of the scores: the plain "average", the "recalibrated" average, or "none" (the uniform distribution)."""

    def restore(self, state: State) -> AnchoredCombination:
        return restore_anchored(state, self.anchor, self.features, self.residual)

    @abstractmethod
    def residual(self, state: State) -> Residual:
        """Return the residual that has this state."""


@dataclass(frozen=True)
class BaggedSettings(AnchoredSettings):
    """Base of combiners that learn one residual per inner group fold, which stops by the rows of that fold."""

    folds: int = field(default=5, kw_only=True)
    """Number of inner group folds, drawn within the rows of the fit."""
    seed: int = field(default=0, kw_only=True)
    """Random seed."""


def fit_anchor(anchor: Anchor, table: OOFTable) -> Combination | None:
    """Fit the anchor to all rows of `table`; return None for the uniform distribution."""
    return None if anchor == "none" else _ANCHORS[anchor].fit(table)


def log_anchor(anchor: Combination | None, proba_NMC: Float) -> NDArray[np.float64]:
    """Return the logits (N, C) at which a stacker starts."""
    if anchor is None:
        return np.zeros((proba_NMC.shape[0], proba_NMC.shape[2]))
    logs: NDArray[np.float64] = np.log(clip_rows(anchor(proba_NMC)))
    return logs


def log_anchor_of(anchor: Combination | None, scores: ScoreTable) -> NDArray[np.float64]:
    """Return the logits (N, C) at which a stacker starts for the rows of a table."""
    if anchor is None:
        return np.zeros((len(scores), len(scores.classes)))
    logs: NDArray[np.float64] = np.log(clip_rows(combined(anchor, scores)))
    return logs
