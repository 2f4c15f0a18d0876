"""What members share that read one feature table and are no networks."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from foldstill.data.row_weights import RowWeight
from foldstill.data.training import TrainingSet
from foldstill.settings import KindSettings


@dataclass(frozen=True)
class FeatureMember(KindSettings):
    """Base of members that are fitted at once to the rows of one feature table."""

    parts: ClassVar[tuple[()]] = ()
    epochs: ClassVar[int] = 1
    uses_device: ClassVar[bool] = False

    view: str = field(default="features", kw_only=True)
    """Name of the feature table that it reads."""
    row_weight: RowWeight = field(default="none", kw_only=True)
    """Weight of a row by its number of votes v. none: 1; log1p: log(1 + v); clamp: v up to a maximum; damped: v up to
    10, then (10 + 2 log10 v) log10 v."""
    row_weight_maximum: float = field(default=10.0, kw_only=True)
    """Number of votes above which `clamp` adds no weight."""

    @property
    def views(self) -> tuple[str, ...]:
        return (self.view,)

    def weight_N(self, training_set: TrainingSet) -> NDArray[np.float64]:
        """Weight of every row of the set, with mean 1 over the training rows."""
        return training_set.row_weights(training_set.rows, self.row_weight, self.row_weight_maximum)
