"""The parts of a comparison: one arm, one stratum, one number of members. N rows, A arms, C classes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.arms import Kind
from foldstill.compare.calibration import Bin
from foldstill.compare.intervals import Interval
from foldstill.cost import Cost
from foldstill.data.labels import Strings
from foldstill.files import digest

Scores = Mapping[str, float | None]
"""Score per metric name."""


@dataclass(frozen=True)
class StratumScore:
    """One arm on the rows of one stratum; `difference` is None for the baseline and for a stratum of one group."""

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
    """KL minus the baseline's KL; negative is better."""
    bootstrap: tuple[Interval, ...] = ()
    """The same difference with bootstrap-t and percentile intervals."""
    simultaneous: Interval | None = None
    """The same difference with an interval that holds for all arms of its family at once: one family is the
    combinations, one the members, one the students. Its p-value is corrected for their number."""
    improved: float | None = None
    """Share of groups whose mean KL is lower than the baseline's; a tie counts one half."""
    design_effect: float | None = None
    """Variance of the difference with groups as units, divided by that with rows as units."""
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
    """KL of every row under every arm, from which any two arms can be compared."""

    ids: Strings
    groups: Strings
    stratum_N: Strings
    weight_N: NDArray[np.float64]
    kl_NA: NDArray[np.float64]

    @property
    def digest(self) -> str:
        """Digest of all rows."""
        return digest(self.ids, self.groups, self.stratum_N, self.weight_N, self.kl_NA)


# Arrays go through unchecked; everything else is checked when a file is read.
RowLosses.__pydantic_config__ = {"arbitrary_types_allowed": True}  # type: ignore[attr-defined]
