"""What combiners with a ridge share: the ridges to choose from, and the choice by cross-fitting."""

from dataclasses import dataclass, replace
from typing import Any, Self

from foldstill.data.labels import RowWeight
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.settings import KindSettings
from foldstill.stacking.crossfit import best_by_crossfit
from foldstill.stacking.setting_checks import require_at_least


@dataclass(frozen=True)
class Ridged(KindSettings):
    """Base of combiners that choose a ridge by KL over inner group folds."""

    ridges: tuple[float, ...] = (1.0, 0.1, 0.01)
    """Ridges to choose from, strongest first; a single ridge is used without a choice."""
    folds: int = 3
    """Number of inner group folds, drawn within the rows of the fit."""
    row_weight: RowWeight = "none"
    """Weight per row in the fit: "none" (all equal), "log1p" (log(1 + votes)), "clamp" (votes, at most 10) or "damped"
    (votes, rising slowly beyond 10)."""

    def __post_init__(self) -> None:
        if not self.ridges or min(self.ridges) <= 0:
            kind = getattr(self, "kind", type(self).__name__)
            raise StackError(
                f"ridges of {kind} must be one or more positive numbers, got {self.ridges}: try (1.0, 0.1, 0.01)"
            )
        require_at_least(self, folds=2)

    @classmethod
    def example(cls) -> Self:
        return cls(ridges=(0.1,))

    def with_best_ridge(self, table: OOFTable) -> Self:
        """Return these settings with the one ridge that has the lowest cross-fitted KL."""
        candidates: list[Any] = [replace(self, ridges=(ridge,)) for ridge in self.ridges]
        best: Self = best_by_crossfit(candidates, table, folds=self.folds)
        return best
