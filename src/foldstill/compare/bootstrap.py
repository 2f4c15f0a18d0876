"""Paired intervals over groups: the rows of one patient are not independent, so whole groups are resampled.

N rows, G groups, A arms, R resamples.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.errors import CompareError

Method = Literal["percentile", "bootstrap_t"]


@dataclass(frozen=True)
class Interval:
    """A mean difference with its interval. `significant` when zero lies outside."""

    estimate: float
    low: float
    high: float
    level: float
    method: Method
    n_groups: int

    @property
    def significant(self) -> bool:
        return self.low > 0 or self.high < 0


def paired_intervals(
    difference_NA: ArrayLike,
    groups: NDArray[Any],
    *,
    weight_N: ArrayLike | None = None,
    method: Method = "bootstrap_t",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Interval]:
    """One interval an arm for the mean of per-row differences, whole groups drawn with replacement.

    The same draws serve every arm. A resample costs one row of a matrix product, counts (R, G) @ sums (G, A + 1), and
    not a concatenation of rows.
    """
    difference = np.asarray(difference_NA, dtype=np.float64)
    if difference.ndim != 2 or len(difference) != len(groups):
        raise CompareError(f"differences must be (rows, arms) with one group a row ({len(groups)}), got {difference.shape}")
    raise CompareError("not built yet")
