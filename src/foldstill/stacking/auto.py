"""The default combiner: the plain average, unless held-out groups show that another combiner is better.

N samples, C classes, A candidates: combiners of the ladder, alone or mixed with the plain average.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from foldstill.compare import Interval, IntervalSettings, paired_intervals
from foldstill.compare.choices import metric_of, require_metric
from foldstill.compare.results import MetricFacts
from foldstill.data.simplex import Float
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable, ScoreTable
from foldstill.settings import NamedKind, TextInFile
from foldstill.stacking.averages import Average, mean
from foldstill.stacking.candidates import default_ladder
from foldstill.stacking.combiner import AnyCombiner, Combination, Combiner, Proba, combined, weight_of
from foldstill.stacking.convex import Convex
from foldstill.stacking.crossfit import crossfit, crossfit_by_fold, group_folds, losses_by
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.stacking.setting_checks import require_at_least, require_different_names
from foldstill.stacking.state import State, array, strip_prefix, text, with_prefix

Rule = Literal["proved", "expected"]
Vector = NDArray[np.float64]

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Shares of a rung in its mixture with the plain average, for the rule "expected". KL is convex, so that half of a rung
has more than half of its gain with half of the error."""
_NEVER_GIVEN_UP = 2
"""The plain average and the first rung, which the others are compared with, are cross-fitted to the end."""
_SURELY = 0.999
"""Level of the interval that shows, before all folds are fitted, that a rung is not the best."""
_ENOUGH_GROUPS = 20
"""With fewer groups in the folds that are fitted, no rung is given up."""
EXPECTED_LEVEL = 0.68
"""Level of the intervals of the rule "expected": about one standard error (benchmarks/auto_power.py)."""


@dataclass(frozen=True)
class AutoCombination:
    """The chosen rung (`inner`), mixed with the plain average in the share `share`, fitted to all rows.

    `name` is the rung's name, `index` its position.
    """

    name: str
    index: int
    share: float
    inner: Combination
    explanation: str

    @property
    def choice(self) -> str:
        """The name of the rung, after its share where that is not all: "0.5 log_pool"."""
        return named(self.name, self.share)

    @property
    def weight_M(self) -> NDArray[np.float64] | None:
        """Weight of each member, where the rung has weights."""
        weight_M = weight_of(self.inner)
        return None if weight_M is None else self.share * weight_M + (1 - self.share) / len(weight_M)

    def __call__(self, proba_NMC: Float) -> Proba:
        inner_NC = self.inner(proba_NMC)
        return inner_NC if self.share == 1 else self.share * inner_NC + (1 - self.share) * mean(proba_NMC)

    def of_table(self, scores: ScoreTable) -> Proba:
        """The same for the rows of a table."""
        inner_NC = combined(self.inner, scores)
        return inner_NC if self.share == 1 else self.share * inner_NC + (1 - self.share) * scores.by_row(mean)

    def state(self) -> State:
        return {
            "index": np.asarray(self.index),
            "share": np.asarray(self.share),
            "explanation": self.explanation,
            **with_prefix("chosen", self.inner.state()),
        }


def named(rung: str, share: float) -> str:
    """The name of a rung that is mixed with the plain average.

    >>> named("log_pool", 0.5), named("log_pool", 1.0)
    ('0.5 log_pool', 'log_pool')
    """
    return rung if share == 1 else f"{share:g} {rung}"


@dataclass(frozen=True)
class Auto(NamedKind, kind="auto"):
    """The plain average, unless cross-fitting by group shows a gain whose confidence interval excludes zero.

    Two decisions are made on held-out groups of the rows of the fit. 1. The first rung, by default the recalibrated
    average, replaces the plain average when the confidence interval of its paired difference is below zero. 2. Of the
    other rungs whose interval against the combiner kept so far is below zero, the one with the lowest KL is taken.

    With `rule = "expected"` every rung is compared with the plain average, also mixed with it in three shares; of those
    that are better by one standard error, the one with the lowest upper end is taken.

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
    rule: Rule = "proved"
    """Whether a gain must be proved by a confidence interval, or be expected: "expected" moves from the plain average
    towards a freer combiner as far as held-out groups support it. It takes small gains more often."""
    judged_on: str = ""
    """Name of the stratum whose rows decide, such as ">=10"; all rows when empty. Rungs are then fitted to all rows and
    also to the rows of this stratum alone."""
    folds: int = 5
    """Number of inner group folds, drawn within the rows of the fit."""
    level: float = 0.95
    """Level of the confidence interval of the rule "proved"."""
    metric: Annotated[Any, TextInFile()] = "kl"
    """The metric that decides, named like `metric` of `[compare]`. The combiners of the ladder are fitted as they are
    set, whatever decides."""
    seed: int = 0
    """Random seed."""

    def __post_init__(self) -> None:
        require_at_least(self, folds=2)
        if not self.ladder:
            raise StackError("ladder of auto must contain a combiner, got none: leave it out for the default")
        if not 0.5 <= self.level < 1:
            raise StackError(f"level of auto must be in [0.5, 1), got {self.level}: 0.95 is usual")
        require_different_names(self.rungs, "ladder of auto (average is its first rung)")
        require_metric(self.metric)

    @classmethod
    def example(cls) -> Self:
        return cls(folds=3, ladder=(Recalibrated(), Convex(tied=True)))

    @property
    def rungs(self) -> tuple[Combiner, ...]:
        """The plain average, the ladder, and with `judged_on` the ladder fitted to the rows of that stratum."""
        own = (_OnStratum(rung, self.judged_on) for rung in self.ladder) if self.judged_on else ()
        return (Average(), *self.ladder, *own)

    def fit(self, table: OOFTable) -> AutoCombination:
        rungs = self.rungs
        judged_N = self._judged(table)
        n_groups = len(np.unique(table.labels.groups[judged_N]))
        if n_groups < 2 * self.folds:
            why = f"average kept: {n_groups} groups are too few to tell whether anything beats it"
            return AutoCombination(rungs[0].name, 0, 1.0, rungs[0].fit(table), why)
        fold_N = group_folds(table.labels.groups, self.folds, seed=self.seed)
        judged = table.take(judged_N)
        if self.rule == "proved":
            index, share, why = self._proved(self._raced(table, fold_N, judged_N), judged)
        else:
            crossed = [crossfit(rung, table, folds=fold_N).proba_NC[judged_N] for rung in rungs]
            index, share, why = self._expected(crossed, judged)
        rows = f" with rows of {self.judged_on}" if self.judged_on else ""
        why = f"{why}, cross-fitted over {self.folds} folds of {n_groups} groups{rows}"
        return AutoCombination(rungs[index].name, index, share, rungs[index].fit(table), why)

    def restore(self, state: State) -> AutoCombination:
        index = int(array(state, "index"))
        if not 0 <= index < len(self.rungs):
            raise StackError(
                f"the saved choice is rung {index}, but the ladder of auto has {len(self.rungs)} rungs: its settings "
                "were changed; fit the combiner and save it again"
            )
        rung, share = self.rungs[index], float(array(state, "share"))
        inner = rung.restore(strip_prefix("chosen", state))
        return AutoCombination(rung.name, index, share, inner, text(state, "explanation"))

    def _judged(self, table: OOFTable) -> NDArray[np.bool_]:
        """Which rows decide, (N,)."""
        stratum_N = table.labels.stratum_N
        if self.judged_on and self.judged_on not in stratum_N:
            raise StackError(
                f"judged_on of auto must name a stratum of the rows, got {self.judged_on!r}, there are "
                f"{np.unique(stratum_N).tolist()}"
            )
        judged_N: NDArray[np.bool_] = stratum_N == self.judged_on if self.judged_on else np.ones(len(table), bool)
        return judged_N

    def _raced(self, table: OOFTable, fold_N: NDArray[np.int16], judged_N: NDArray[np.bool_]) -> dict[int, Vector]:
        """Loss per row that decides, by position of the rung; without rungs that some folds show to be surely worse.

        A rung is given up after a fold when the interval of its loss minus that of the best rung so far lies above zero
        at a level at which chance plays no part (a race: Maron and Moore, 1997). Most of the time is that of the last
        rung, trees, which often is such a rung.
        """
        judged, loss_of = table.take(judged_N), dict[int, Vector]()
        for a, rung in enumerate(self.rungs):
            best_N = min(loss_of.values(), key=lambda loss_N: _mean(loss_N, judged), default=None)
            proba_NC, done_N = np.empty((len(table), len(table.classes))), np.zeros(len(table), bool)
            for held_N, part_NC in crossfit_by_fold(rung, table, fold_N):
                proba_NC[held_N] = part_NC
                done_N |= held_N
                if a < _NEVER_GIVEN_UP or best_N is None or done_N.all():
                    continue
                if self._is_worse(proba_NC[judged_N], best_N, judged, done_N[judged_N]):
                    break
            else:
                loss_of[a] = losses_by(self.metric, judged, proba_NC[judged_N])
        return loss_of

    def _is_worse(self, proba_NC: Proba, best_N: Vector, judged: OOFTable, done_N: NDArray[np.bool_]) -> bool:
        """Whether the rows that are done show that scores are surely worse than those with the loss `best_N`."""
        part = judged.take(done_N)
        if not self._by_row or len(np.unique(part.labels.groups)) < _ENOUGH_GROUPS:
            return False
        difference_N = losses_by(self.metric, part, proba_NC[done_N]) - best_N[done_N]
        [behind] = self._gains(difference_N[:, None], part, level=_SURELY)
        return behind.low > 0

    @property
    def _by_row(self) -> bool:
        """Whether the metric is a mean over rows, so that some of them tell about the others."""
        return MetricFacts.of(metric_of(self.metric)).per_row

    def _proved(self, loss_of: dict[int, Vector], judged: OOFTable) -> tuple[int, float, str]:
        """Position and share of the rung that is proved to be the best, and the reason."""
        rungs, base, kept = self.rungs, 0, ""
        [first] = self._gains((loss_of[1] - loss_of[0])[:, None], judged)
        if first.high < 0:
            base, kept = (
                1,
                f"{rungs[1].name} chosen: {self._signed(first)} against average, and no freer combiner beats it",
            )
        others = [a for a in loss_of if a > 1]
        gains = self._gains(np.stack([loss_of[a] - loss_of[base] for a in others], axis=1), judged) if others else []
        ahead = {a: gain for a, gain in zip(others, gains, strict=True) if gain.high < 0}
        if ahead:
            best = min(ahead, key=lambda a: ahead[a].estimate)
            return best, 1.0, f"{rungs[best].name} chosen: {self._signed(ahead[best])} against {rungs[base].name}"
        return (
            base,
            1.0,
            kept or (f"average kept: no combiner of {len(rungs) - 1} beats it by an interval that excludes zero"),
        )

    def _expected(self, crossed: Sequence[Proba], judged: OOFTable) -> tuple[int, float, str]:
        """Position and share of the rung that is surely best by one standard error, and the reason."""
        average_NC = crossed[0]
        candidates = [(rung, share) for rung in range(1, len(crossed)) for share in SHARES]
        base_N = losses_by(self.metric, judged, average_NC)
        difference_NA = np.empty((len(base_N), len(candidates)))
        for a, (rung, share) in enumerate(candidates):
            mixed_NC = share * crossed[rung] + (1 - share) * average_NC
            difference_NA[:, a] = losses_by(self.metric, judged, mixed_NC) - base_N
        gains = self._gains(difference_NA, judged)
        # With caution: the end of an interval, not its middle.
        best = min(range(len(candidates)), key=lambda a: gains[a].high)
        if gains[best].high >= 0:
            return 0, 1.0, f"average kept: no combiner of {len(self.rungs) - 1} beats it by a standard error"
        rung, share = candidates[best]
        name, level = named(self.rungs[rung].name, share), 100 * gains[best].level
        return rung, share, f"{name} chosen: {self._signed(gains[best])} ({level:g} % interval) against average"

    def _signed(self, difference: Interval) -> str:
        """A difference of losses as one of the metric."""
        facts = MetricFacts.of(metric_of(self.metric))
        shown = facts.shown_interval(difference)
        return f"{shown.estimate:+z.4f} {facts.title} [{shown.low:+z.4f}, {shown.high:+z.4f}]"

    def _gains(
        self, difference_NA: NDArray[np.float64], judged: OOFTable, level: float | None = None
    ) -> list[Interval]:
        """Confidence intervals of paired differences, at the level of the rule unless another is given."""
        level = level or (self.level if self.rule == "proved" else EXPECTED_LEVEL)
        settings = IntervalSettings(level=level, method="jackknife_t", seed=self.seed)
        labels = judged.labels
        return paired_intervals(difference_NA, labels.groups, weight_N=labels.sample_weight_N, settings=settings)


def _mean(loss_N: Vector, judged: OOFTable) -> float:
    return float(np.average(loss_N, weights=judged.labels.sample_weight_N))


@dataclass(frozen=True)
class _OnStratum:
    """A combiner that is fitted to the rows of one stratum alone; `auto` has no other use for it than `judged_on`."""

    of: Combiner
    stratum: str
    kind: str = "on_stratum"

    @property
    def name(self) -> str:
        return f"{self.of.name} of {self.stratum}"

    def fit(self, table: OOFTable) -> Combination:
        own_N = table.labels.stratum_N == self.stratum
        return self.of.fit(table.take(own_N) if own_N.any() else table)

    def restore(self, state: State) -> Combination:
        return self.of.restore(state)
