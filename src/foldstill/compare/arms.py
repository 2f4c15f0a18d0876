"""An arm: one line of the comparison, with what it costs to run. N rows, C classes, M members."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from foldstill.cost import Cost
from foldstill.data.simplex import check_rows
from foldstill.errors import CompareError

Kind = Literal["member", "average", "combination", "student", "student_without_teacher", "ablation", "prior"]


@dataclass(frozen=True)
class Arm:
    """One candidate of a comparison: its name, its kind and its prediction of every row.

    Parameters
    ----------
    name : str
        Unique name in the comparison.
    kind : {"member", "average", "combination", "student", "student_without_teacher", "ablation", "prior"}
        What the arm is. A "prior" predicts the class shares for every row: whatever is worse has learned nothing.
    proba_NC : array of shape (N, C)
        Predicted probabilities; each row sums to one.
    cost : Cost, optional
        What one prediction costs.
    note : str, optional
        One sentence for the report.
    weight_M : array of shape (M,), optional
        Weight per member, where the arm is a weighting of members.
    chosen : str, optional
        What an arm that chooses among others (such as auto) chose.
    teacher : str, optional
        Name of the arm whose predictions a student was trained on.
    further_seeds : tuple of arrays of shape (N, C), optional
        Predictions of the same rows by the same model trained from other seeds; every score is the mean over seeds.

    Raises
    ------
    DataError
        For logits, and for rows that do not sum to one.
    CompareError
        For an empty name, an unknown kind, or arrays whose shapes differ between seeds.

    Examples
    --------
    >>> arm = Arm("average", "average", np.array([[0.7, 0.3], [0.2, 0.8]]))
    >>> print(arm.name, len(arm.by_seed))
    average 1
    """

    name: str
    kind: Kind
    proba_NC: NDArray[Any]
    cost: Cost | None = None
    note: str = ""
    weight_M: NDArray[np.float64] | None = None
    chosen: str | None = None
    teacher: str | None = None
    further_seeds: tuple[NDArray[Any], ...] = ()

    @property
    def by_seed(self) -> tuple[NDArray[Any], ...]:
        """The prediction of each seed, (N, C)."""
        return (self.proba_NC, *self.further_seeds)

    def __post_init__(self) -> None:
        if not self.name:
            raise CompareError("an arm needs a name, got an empty one: name the arm")
        if self.kind not in get_args(Kind):
            raise CompareError(f"arm {self.name!r}: kind must be one of {list(get_args(Kind))}, got {self.kind!r}")
        for proba_NC in self.by_seed:
            if check_rows(proba_NC, f"arm {self.name!r}").ndim != 2 or proba_NC.shape != self.proba_NC.shape:
                raise CompareError(
                    f"arm {self.name!r}: predictions must be of shape (rows, classes), the same for every seed, got "
                    f"{proba_NC.shape} beside {self.proba_NC.shape}"
                )
