"""The default: a ladder of increasing freedom that is climbed only where held-out groups prove a gain.

N rows, C classes, A rungs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.compare import Interval, IntervalSettings, paired_intervals
from foldstill.data.simplex import Float
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.settings import Settings
from foldstill.stacking.averages import Average
from foldstill.stacking.combiner import Combination, Combiner, Proba, State, array, nested, text, weight_of, within
from foldstill.stacking.convex import Convex
from foldstill.stacking.crossfit import crossfit, group_folds
from foldstill.stacking.gradient_boosting import LightGBM
from foldstill.stacking.log_pool import LogPool
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.stacking.super_learner import Book


def default_ladder() -> tuple[Book, ...]:
    """The default rungs, simplest first: all cheap, so that the whole choice can be nested in every fold."""
    return (
        Recalibrated(),
        Recalibrated(name="convex_families", of=Convex(tied=True)),
        LogPool(name="log_pool_families", tied=True),
        LogPool(),
        LightGBM(folds=3, rounds=100),
    )


@dataclass(frozen=True)
class Chosen:
    """The rung that was chosen, fitted to all rows, with the reason in one sentence."""

    choice: str
    index: int
    combination: Combination
    explanation: str

    def __call__(self, proba_NMC: Float) -> Proba:
        return self.combination(proba_NMC)

    @property
    def weight_M(self) -> NDArray[np.float64] | None:
        """The member weights of the chosen rung, where it has them."""
        return weight_of(self.combination)

    def state(self) -> State:
        return {
            "index": np.asarray(self.index),
            "explanation": self.explanation,
            **nested("chosen", self.combination.state()),
        }


@dataclass(frozen=True)
class Auto(Settings):
    """The plain average unless cross-fitting by group shows a gain whose interval excludes zero.

    Two steps, each decided on held-out groups of the rows it is fitted to. 1. The first rung, by default the
    recalibrated average, replaces the plain average when its paired interval is below zero. 2. Of the other rungs whose
    interval against the one kept is below zero, the one with the lowest KL is taken.
    """

    kind: Literal["auto"] = "auto"
    """Selects this combiner in an experiment file."""
    name: str = "auto"
    """Name in tables and folders."""
    ladder: tuple[Book, ...] = field(default_factory=default_ladder)
    """Rungs after the plain average, simplest first."""
    folds: int = 5
    """Group folds of the choice, drawn inside the rows given."""
    level: float = 0.95
    """Level of the paired interval that must exclude zero."""
    seed: int = 0
    """Of the folds and of the bootstrap."""

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise StackError(f"folds must be 2 or more, got {self.folds}: 5 is usual")
        if not self.ladder:
            raise StackError("the ladder must have a rung, or there is nothing to choose: leave it out for the default")
        if not 0.5 <= self.level < 1:
            raise StackError(f"level must be in [0.5, 1), got {self.level}: 0.95 is usual")
        names = [rung.name for rung in self.rungs]
        if len(set(names)) < len(names):
            raise StackError(f"rungs must have different names, got {names}: give them a `name`")

    @property
    def rungs(self) -> tuple[Book, ...]:
        """The plain average and the ladder above it."""
        return (Average(), *self.ladder)

    def fit(self, table: OOFTable) -> Chosen:
        rungs = self.rungs
        n_groups = len(np.unique(table.labels.groups))
        if n_groups < 2 * self.folds:
            why = f"average kept: {n_groups} groups are too few to tell whether anything beats it"
            return Chosen(rungs[0].name, 0, rungs[0].fit(table), why)
        fold_N = group_folds(table.labels.groups, self.folds, seed=self.seed)
        loss_NA = np.stack([crossfit(rung, table, folds=fold_N).row_kl_N for rung in rungs], axis=1)
        base, base_gain = 0, None
        first = self._against(loss_NA, 0, [1], table)[0]
        if first.high < 0:
            base, base_gain = 1, first
        others = [a for a in range(len(rungs)) if a > 1]
        ahead = {a: i for a, i in zip(others, self._against(loss_NA, base, others, table), strict=True) if i.high < 0}
        best = min(ahead, key=lambda a: ahead[a].estimate, default=base)
        return Chosen(
            rungs[best].name,
            best,
            rungs[best].fit(table),
            self._sentence(rungs, base, base_gain, best, ahead.get(best), n_groups),
        )

    def restore(self, state: State) -> Chosen:
        index = int(array(state, "index"))
        if not 0 <= index < len(self.rungs):
            raise StackError(
                f"the saved choice is rung {index} of {len(self.rungs)}: its settings were changed; fit again"
            )
        rung = self.rungs[index]
        return Chosen(rung.name, index, rung.restore(within("chosen", state)), text(state, "explanation"))

    def _against(self, loss_NA: Float, base: int, rungs: Sequence[int], table: OOFTable) -> list[Interval]:
        if not rungs:
            return []
        difference_NA = loss_NA[:, list(rungs)] - loss_NA[:, [base]]
        labels = table.labels
        settings = IntervalSettings(level=self.level, seed=self.seed)
        return paired_intervals(difference_NA, labels.groups, weight_N=labels.sample_weight_N, settings=settings)

    def _sentence(
        self,
        rungs: Sequence[Combiner],
        base: int,
        base_gain: Interval | None,
        best: int,
        gain: Interval | None,
        n_groups: int,
    ) -> str:
        def told(interval: Interval) -> str:
            return f"{interval.estimate:+.4f} KL [{interval.low:+.4f}, {interval.high:+.4f}]"

        where = f"cross-fitted over {self.folds} folds of {n_groups} groups"
        if gain is not None:
            return f"{rungs[best].name} chosen: {told(gain)} against {rungs[base].name}, {where}"
        if base_gain is not None:
            return (
                f"{rungs[base].name} chosen: {told(base_gain)} against average, and no freer combiner beats it, {where}"
            )
        return f"average kept: no combiner of {len(rungs) - 1} beats it by an interval that excludes zero, {where}"
