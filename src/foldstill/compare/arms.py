"""One line of the comparison: what is compared, and what it costs to run.

N rows, C classes, M members.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from foldstill.cost import Cost
from foldstill.data.simplex import check_rows
from foldstill.errors import CompareError

Kind = Literal["member", "average", "combination", "student", "student_without_teacher", "ablation"]


def with_unit(value: float | None) -> str:
    """A large count as a person reads it: 28.0 M; a dash where it was not measured."""
    if value is None:
        return "–"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def percent_of(own: float, whole: float) -> str:
    """A share as a person reads it: 6.4 %, 0.052 %, 118 %."""
    share = 100 * own / whole
    return f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"


@dataclass(frozen=True)
class Arm:
    """A prediction of every row with its name and kind; `proba_NC` sums to one in each row."""

    name: str
    kind: Kind
    proba_NC: NDArray[Any]
    cost: Cost | None = None
    note: str = ""
    weight_M: NDArray[np.float64] | None = None
    """Weight of each member, where the arm is a weighting of members."""
    chosen: str | None = None
    """What an arm that chooses (auto) chose."""
    teacher: str | None = None
    """The arm that taught it."""
    further_seeds: tuple[NDArray[Any], ...] = ()
    """The same rows by the same thing trained from other seeds; every score is then the mean over all of them."""

    @property
    def by_seed(self) -> tuple[NDArray[Any], ...]:
        return (self.proba_NC, *self.further_seeds)

    def __post_init__(self) -> None:
        if not self.name:
            raise CompareError("an arm needs a name")
        if self.kind not in get_args(Kind):
            raise CompareError(f"arm {self.name!r}: kind must be one of {list(get_args(Kind))}, got {self.kind!r}")
        for proba_NC in self.by_seed:
            if check_rows(proba_NC, f"arm {self.name!r}").ndim != 2 or proba_NC.shape != self.proba_NC.shape:
                raise CompareError(
                    f"arm {self.name!r} must be (rows, classes), the same for every seed, got {proba_NC.shape}"
                )
