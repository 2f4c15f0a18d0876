"""The log-linear pool: a weighted geometric average with a bias per class.

N samples, M members, C classes, D columns (members, or families whose members share a power).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import BLOCK, Float, softmax
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.stacking.averages import log_proba
from foldstill.stacking.combiner import Proba, require_members
from foldstill.stacking.loglinear import FewParameters, Prior
from foldstill.stacking.row_weighted import RowWeighted
from foldstill.stacking.state import State, array
from foldstill.stacking.voted_entries import column_means, columns_of, member_weights


@dataclass(frozen=True)
class LogPoolCombination:
    """softmax(sum_m power_m log p_m + bias_C); powers need not sum to one; their sum is the sharpness."""

    power_M: NDArray[np.float64]
    bias_C: NDArray[np.float64]

    def __call__(self, proba_NMC: Float) -> Proba:
        require_members(proba_NMC, len(self.power_M))
        return softmax(np.einsum("nmc,m->nc", log_proba(proba_NMC), self.power_M) + self.bias_C)

    @property
    def weight_M(self) -> NDArray[np.float64]:
        """Powers divided by their sum."""
        total = self.power_M.sum()
        return self.power_M / total if total > 0 else np.full(len(self.power_M), 1 / len(self.power_M))

    def state(self) -> State:
        return {"power": self.power_M, "bias": self.bias_C}


@dataclass(frozen=True)
class LogPool(RowWeighted, kind="log_pool", title="Log-linear pool"):
    """A weighted geometric average: a power per member and a bias per class.

    Powers are 0 or more; all are fitted by KL with a ridge towards the geometric average.

    Examples
    --------
    >>> from foldstill.testing import synthetic_table
    >>> LogPool().fit(synthetic_table()).power_M.round(2).tolist()
    [0.62, 0.56, 0.04, 0.05]
    """

    tied: bool = False
    """Fit one power per family instead of one per member."""
    ridge: float = 1e-3
    """Strength of the pull of each power towards its value in the geometric average; 0 turns it off."""

    def __post_init__(self) -> None:
        if not self.ridge >= 0:
            raise StackError(f"ridge of log_pool must be 0 or more, got {self.ridge}: 0.001 is a good start")

    def fit(self, table: OOFTable) -> LogPoolCombination:
        columns = columns_of(table.scores.families, tied=self.tied)
        n_columns, n_classes = len(columns), len(table.classes)

        def blocks() -> Iterator[tuple[slice, NDArray[np.float64]]]:
            for part, proba_NMC in table.scores.blocks():
                column_BDC = column_means(log_proba(proba_NMC), columns)
                yield part, np.ascontiguousarray(column_BDC.swapaxes(1, 2), np.float64)

        size = len(table) * n_columns * n_classes
        # The logarithms of a large table are made anew in every step, so that there is never a copy of it.
        kept = list(blocks()) if size <= BLOCK else None
        size_D = np.asarray([len(column) for column in columns], np.float64)
        prior = Prior(
            centre_P=np.r_[size_D / size_D.sum(), np.zeros(n_classes)],
            ridge_P=np.r_[np.full(n_columns, self.ridge), np.full(n_classes, 1e-6)],
            lower_P=np.r_[np.zeros(n_columns), np.full(n_classes, -np.inf)],
        )
        weight_N = table.labels.weight_N(self.row_weight)
        fit = FewParameters(lambda: kept or blocks(), prior, table.labels.target_NC, weight_N)
        best_P = fit.minimum(size)
        power_M = member_weights(best_P[:n_columns], columns, len(table.members))
        return LogPoolCombination(power_M, best_P[n_columns:])

    def restore(self, state: State) -> LogPoolCombination:
        return LogPoolCombination(array(state, "power"), array(state, "bias"))
