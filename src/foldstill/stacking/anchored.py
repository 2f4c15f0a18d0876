"""Stackers that start at an average: log anchor plus a residual learned from features, averaged over bags.

A residual of zero gives the anchor back, so a learner that finds nothing can stop before its first step.
N rows, M members, C classes, F features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import Float, clip_rows, softmax
from foldstill.oof.table import OOFTable
from foldstill.stacking.averages import Average
from foldstill.stacking.combiner import Combination, Proba, State, array, nested, require_members, within
from foldstill.stacking.features import FeatureSet, features
from foldstill.stacking.recalibrate import Recalibrated

Anchor = Literal["average", "recalibrated", "none"]
"""What a stacker starts at; `none` is the uniform distribution."""

_COMBINERS: dict[str, Average | Recalibrated] = {"average": Average(), "recalibrated": Recalibrated()}


class Residual(Protocol):
    """What a learner adds to the logarithm of the anchor."""

    def __call__(self, features_NF: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, C) from (N, F)."""
        ...

    def state(self) -> State: ...


@dataclass(frozen=True)
class Bag:
    """One anchor with the residual that was learned on top of it; no anchor is the uniform distribution."""

    anchor: Combination | None
    residual: Residual


@dataclass(frozen=True)
class Anchored:
    """softmax of the mean over bags of log anchor + residual. `column_M` is the family of each member."""

    bags: tuple[Bag, ...]
    which: FeatureSet
    column_M: NDArray[np.int64]

    def __call__(self, proba_NMC: Float) -> Proba:
        require_members(proba_NMC, len(self.column_M))
        features_NF = self.features(proba_NMC)
        logits = [log_anchor(bag.anchor, proba_NMC) + bag.residual(features_NF) for bag in self.bags]
        return softmax(np.mean(logits, axis=0))

    def features(self, proba_NMC: Float) -> NDArray[np.float32]:
        """What the residuals see, (N, F)."""
        columns = [np.flatnonzero(self.column_M == d).tolist() for d in range(self.column_M.max() + 1)]
        return features(proba_NMC, self.which, columns)

    def state(self) -> State:
        state: dict[str, NDArray[np.generic] | str] = {"bags": np.asarray(len(self.bags)), "column": self.column_M}
        for b, bag in enumerate(self.bags):
            state.update(nested(f"bag{b}/residual", bag.residual.state()))
            if bag.anchor is not None:
                state.update(nested(f"bag{b}/anchor", bag.anchor.state()))
        return state


def restore_anchored(
    state: State, anchor: Anchor, which: FeatureSet, residual: Callable[[State], Residual]
) -> Anchored:
    """The inverse of `Anchored.state`, given how a residual is restored."""
    bags = []
    for b in range(int(array(state, "bags"))):
        inner = within(f"bag{b}", state)
        start = None if anchor == "none" else _COMBINERS[anchor].restore(within("anchor", inner))
        bags.append(Bag(start, residual(within("residual", inner))))
    return Anchored(tuple(bags), which, array(state, "column"))


def fit_anchor(anchor: Anchor, table: OOFTable) -> Combination | None:
    """The anchor fitted to the rows given; None for the uniform distribution."""
    return None if anchor == "none" else _COMBINERS[anchor].fit(table)


def log_anchor(anchor: Combination | None, proba_NMC: Float) -> NDArray[np.float64]:
    """Where the scores of a stacker start, (N, C)."""
    if anchor is None:
        return np.zeros((proba_NMC.shape[0], proba_NMC.shape[2]))
    logs: NDArray[np.float64] = np.log(clip_rows(anchor(proba_NMC)))
    return logs


def column_of(families: Sequence[str]) -> NDArray[np.int64]:
    """The number of each member's family, in the order families appear."""
    number = {family: d for d, family in enumerate(dict.fromkeys(families))}
    return np.asarray([number[family] for family in families], np.int64)
