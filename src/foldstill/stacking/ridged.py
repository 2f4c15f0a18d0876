"""What combiners with a ridge share: the ridges to choose from, and the choice by cross-fitting."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Self

from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.stacking.crossfit import best_by_crossfit
from foldstill.stacking.row_weighted import RowWeighted
from foldstill.stacking.setting_checks import require_at_least


@dataclass(frozen=True)
class Ridged(RowWeighted, ABC):
    """Base of combiners that choose a ridge by KL over inner group folds."""

    ridges: tuple[float, ...] = (1.0, 0.1, 0.01)
    """Ridges to choose from, strongest first; a single ridge is used without a choice."""
    folds: int = 3
    """Number of inner group folds, drawn within the rows of the fit."""

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

    def fit(self, table: OOFTable) -> Any:
        return self.with_best_ridge(table).fit_one_ridge(table)

    @abstractmethod
    def fit_one_ridge(self, table: OOFTable) -> Any:
        """Fit with the first of the ridges, and return the combination."""

    def with_best_ridge(self, table: OOFTable) -> Self:
        """Return these settings with the one ridge that has the lowest cross-fitted KL."""
        candidates: list[Any] = [replace(self, ridges=(ridge,)) for ridge in self.ridges]
        best: Self = best_by_crossfit(candidates, table, folds=self.folds)
        return best
