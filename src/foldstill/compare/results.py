"""The parts of a comparison: one arm, one stratum, one number of members. N rows, A arms, C classes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.arms import Kind
from foldstill.compare.calibration import Bin
from foldstill.compare.intervals import Interval
from foldstill.cost import Cost
from foldstill.data.text import Strings
from foldstill.digests import digest
from foldstill.errors import CompareError

if TYPE_CHECKING:
    from foldstill.compare.metrics import Metric

Scores = Mapping[str, float | None]
"""Score per metric name."""


@dataclass(frozen=True)
class MetricFacts:
    """The metric that a comparison decides by, in words.

    Losses are values of the metric, negated where high values are better, so that lower is better in every loss.
    """

    name: str = "kl"
    title: str = "KL"
    better: Literal["low", "high"] = "low"
    summary: str = "KL(votes || prediction) in nats per row; 0 is perfect"
    per_row: bool = True
    """Whether the metric is the mean of one value per row."""
    ordered: bool = False
    """Whether the metric depends on the order of the classes."""

    @classmethod
    def of(cls, metric: "Metric") -> "MetricFacts":
        """The metric in words; raises CompareError for one that is best near a value, which cannot decide."""
        if metric.better not in ("low", "high"):
            raise CompareError(
                f"metric {metric.name!r} is best near {metric.better}, so it cannot decide: name another"
            )
        per_row, ordered = hasattr(metric, "rows"), bool(getattr(metric, "ordered", False))
        return cls(metric.name, metric.title, metric.better, metric.summary, per_row, ordered)

    def shown(self, loss: float) -> float:
        """A loss as a value of the metric."""
        return -loss if self.better == "high" else loss

    def shown_interval(self, difference: Interval) -> Interval:
        """A difference of losses as a difference of values of the metric."""
        if self.better == "low":
            return difference
        # Not -x, which would write a difference of nothing as -0.
        estimate, low, high = 0 - difference.estimate, 0 - difference.high, 0 - difference.low
        return replace(difference, estimate=estimate, low=low, high=high)


@dataclass(frozen=True)
class StratumScore:
    """One arm on the rows of one stratum.

    `difference` is None for the baseline, for a stratum of one group, and where the metric is not defined.
    """

    stratum: str
    scores: Scores
    difference: Interval | None


@dataclass(frozen=True)
class Fidelity:
    """How closely a student follows its teacher on rows that neither was fitted to; means over its seeds."""

    teacher: str
    kl: float
    """KL(teacher || student), in nats per row."""
    agreement: float
    """Share of rows for which both predict the same class."""


@dataclass(frozen=True)
class ArmScore:
    """The scores of one arm. What compares it with the baseline is None for the baseline itself."""

    name: str
    kind: Kind
    scores: Scores
    class_kl_C: tuple[float, ...]
    """What each class adds to the KL: never negative, and the sum is the KL."""
    strata: tuple[StratumScore, ...]
    reliability: tuple[Bin, ...]
    difference: Interval | None = None
    """Loss minus the baseline's loss, KL by default; negative is better."""
    bootstrap: tuple[Interval, ...] = ()
    """The same difference with bootstrap-t and percentile intervals."""
    simultaneous: Interval | None = None
    """The same difference with an interval that holds for all arms of its family at once: one family is the
    combinations, one the members, one the students. Its p-value is corrected for their number."""
    improved: float | None = None
    """Share of groups whose mean loss is lower than the baseline's; a tie counts one half."""
    design_effect: float | None = None
    """Variance of the difference with groups as units, divided by that with rows as units; None where the metric has no
    values per row."""
    reducible: float | None = None
    """Share of the baseline's KL above the vote-noise floor that this arm removes."""
    worth: float | None = None
    """Number of averaged members with the same calibrated KL; None when no number reaches it, or without members."""
    cost: Cost | None = None
    note: str = ""
    chosen: str | None = None
    weights: tuple[float, ...] | None = None
    fidelity: Fidelity | None = None
    kl_by_seed: tuple[float, ...] = ()
    """KL per seed, whose mean every score here is; empty for one seed."""
    metric_loss: float | None = None
    """The loss where the comparison decides by another metric than KL."""
    metric_loss_by_seed: tuple[float, ...] = ()
    """The same per seed; empty for one seed."""

    @property
    def label(self) -> str:
        """The name, and for an arm that chooses among others what it chose."""
        return self.name if self.chosen is None else f"{self.name} ({self.chosen})"

    @property
    def kl(self) -> float:
        """Mean KL over rows."""
        return float(self.scores["kl"] or 0.0)

    @property
    def kl_deviation(self) -> float | None:
        """Standard deviation of the KL over seeds."""
        return float(np.std(self.kl_by_seed, ddof=1)) if self.kl_by_seed else None

    @property
    def loss(self) -> float:
        """The loss that decides: the KL, or another metric."""
        return self.kl if self.metric_loss is None else self.metric_loss

    @property
    def loss_by_seed(self) -> tuple[float, ...]:
        """The loss that decides per seed, whose mean it is; empty for one seed."""
        return self.kl_by_seed if self.metric_loss is None else self.metric_loss_by_seed

    @property
    def loss_deviation(self) -> float | None:
        """Standard deviation of the loss that decides over seeds."""
        return float(np.std(self.loss_by_seed, ddof=1)) if self.loss_by_seed else None


@dataclass(frozen=True)
class Stratum:
    """Rows of one stratum; `floor` is the expected KL of a perfect model on them, None where it cannot be estimated."""

    name: str
    n_rows: int
    n_groups: int
    floor: float | None


@dataclass(frozen=True)
class SizePoint:
    """KL of plain averages of `n` members: mean and range over random subsets, and of the `n` best members.

    `calibrated` is the mean over subsets after temperature scaling; None for fewer than two rows.
    """

    n: int
    mean: float
    low: float
    high: float
    best_first: float
    calibrated: float | None = None


@dataclass(frozen=True)
class RowLosses:
    """Loss of every row under every arm, KL by default, from which any two arms can be compared.

    Of a metric without values per row, the rows of a group share what their group adds to it; see `row_values`.
    """

    ids: Strings
    groups: Strings
    stratum_N: Strings
    weight_N: NDArray[np.float64]
    loss_NA: NDArray[np.float64]

    @property
    def digest(self) -> str:
        """Digest of all rows."""
        return digest(self.ids, self.groups, self.stratum_N, self.weight_N, self.loss_NA)


# Arrays go through unchecked; everything else is checked when a file is read.
RowLosses.__pydantic_config__ = {"arbitrary_types_allowed": True}  # type: ignore[attr-defined]
