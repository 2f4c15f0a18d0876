"""The default combiner: the plain average, unless held-out groups prove that another combiner is better.

N samples, C classes, A rungs of the ladder.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from foldstill.compare import Interval, IntervalSettings, paired_intervals
from foldstill.data.simplex import Float
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.settings import NamedKind
from foldstill.stacking.averages import Average
from foldstill.stacking.candidates import default_ladder
from foldstill.stacking.combiner import AnyCombiner, Combination, Combiner, Proba
from foldstill.stacking.convex import Convex
from foldstill.stacking.crossfit import crossfit, group_folds
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.stacking.setting_checks import require_at_least, require_different_names
from foldstill.stacking.state import State, array, strip_prefix, text, with_prefix


@dataclass(frozen=True)
class AutoCombination:
    """The combination of the chosen rung (`inner`), fitted to all rows; `choice` is its name, `index` its position."""

    choice: str
    index: int
    inner: Combination
    explanation: str

    def __call__(self, proba_NMC: Float) -> Proba:
        return self.inner(proba_NMC)

    def state(self) -> State:
        return {
            "index": np.asarray(self.index),
            "explanation": self.explanation,
            **with_prefix("chosen", self.inner.state()),
        }


@dataclass(frozen=True)
class Auto(NamedKind, kind="auto"):
    """The plain average, unless cross-fitting by group shows a gain whose confidence interval excludes zero.

    Two decisions are made on held-out groups of the rows of the fit. 1. The first rung, by default the recalibrated
    average, replaces the plain average when the confidence interval of its paired difference is below zero. 2. Of the
    other rungs whose interval against the combiner kept so far is below zero, the one with the lowest KL is taken.

    Examples
    --------
    >>> from foldstill.stacking.log_pool import LogPool
    >>> from foldstill.testing import synthetic_table
    >>> auto = Auto(folds=3, ladder=(Recalibrated(), LogPool()))
    >>> auto.fit(synthetic_table()).explanation
    'log_pool chosen: -0.0538 KL [-0.0693, -0.0382] against average, cross-fitted over 3 folds of 24 groups'
    """

    ladder: tuple[AnyCombiner, ...] = field(default_factory=default_ladder)
    """The rungs after the plain average: combiners to choose from, simplest first."""
    folds: int = 5
    """Number of inner group folds, drawn within the rows of the fit."""
    level: float = 0.95
    """Level of the confidence interval of the paired difference, which must exclude zero."""
    seed: int = 0
    """Random seed."""

    def __post_init__(self) -> None:
        require_at_least(self, folds=2)
        if not self.ladder:
            raise StackError("ladder of auto must contain a combiner, got none: leave it out for the default")
        if not 0.5 <= self.level < 1:
            raise StackError(f"level of auto must be in [0.5, 1), got {self.level}: 0.95 is usual")
        require_different_names(self.rungs, "ladder of auto (average is its first rung)")

    @classmethod
    def example(cls) -> Self:
        return cls(folds=3, ladder=(Recalibrated(), Convex(tied=True)))

    @property
    def rungs(self) -> tuple[Combiner, ...]:
        """The plain average, then the ladder."""
        return (Average(), *self.ladder)

    def fit(self, table: OOFTable) -> AutoCombination:
        rungs = self.rungs
        n_groups = len(np.unique(table.labels.groups))
        if n_groups < 2 * self.folds:
            why = f"average kept: {n_groups} groups are too few to tell whether anything beats it"
            return AutoCombination(rungs[0].name, 0, rungs[0].fit(table), why)
        fold_N = group_folds(table.labels.groups, self.folds, seed=self.seed)
        loss_NA = np.stack([crossfit(rung, table, folds=fold_N).row_kl_N for rung in rungs], axis=1)
        base, base_gain = 0, None
        first = self._against(loss_NA, 0, [1], table)[0]
        if first.high < 0:
            base, base_gain = 1, first
        others = [a for a in range(len(rungs)) if a > 1]
        ahead = {a: i for a, i in zip(others, self._against(loss_NA, base, others, table), strict=True) if i.high < 0}
        best = min(ahead, key=lambda a: ahead[a].estimate, default=base)
        return AutoCombination(
            rungs[best].name,
            best,
            rungs[best].fit(table),
            self._sentence(base, base_gain, best, ahead.get(best), n_groups),
        )

    def restore(self, state: State) -> AutoCombination:
        index = int(array(state, "index"))
        if not 0 <= index < len(self.rungs):
            raise StackError(
                f"the saved choice is rung {index}, but the ladder of auto has {len(self.rungs)} rungs: its settings "
                "were changed; fit the combiner and save it again"
            )
        rung = self.rungs[index]
        return AutoCombination(
            rung.name, index, rung.restore(strip_prefix("chosen", state)), text(state, "explanation")
        )

    def _against(self, loss_NA: Float, base: int, rungs: Sequence[int], table: OOFTable) -> list[Interval]:
        """Return the confidence interval of the paired difference of each rung from rung `base`."""
        if not rungs:
            return []
        difference_NA = loss_NA[:, list(rungs)] - loss_NA[:, [base]]
        labels = table.labels
        settings = IntervalSettings(level=self.level, method="jackknife_t", seed=self.seed)
        return paired_intervals(difference_NA, labels.groups, weight_N=labels.sample_weight_N, settings=settings)

    def _sentence(self, base: int, base_gain: Interval | None, best: int, gain: Interval | None, n_groups: int) -> str:
        rungs = self.rungs
        data = f"cross-fitted over {self.folds} folds of {n_groups} groups"
        if gain is not None:
            return f"{rungs[best].name} chosen: {_signed(gain)} against {rungs[base].name}, {data}"
        if base_gain is not None:
            kept = f"{rungs[base].name} chosen: {_signed(base_gain)} against average"
            return f"{kept}, and no freer combiner beats it, {data}"
        return f"average kept: no combiner of {len(rungs) - 1} beats it by an interval that excludes zero, {data}"


def _signed(interval: Interval) -> str:
    return f"{interval.estimate:+.4f} KL [{interval.low:+.4f}, {interval.high:+.4f}]"
