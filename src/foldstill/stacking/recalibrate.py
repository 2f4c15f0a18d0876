"""Recalibration of a pool: one temperature and a bias per class, because averages of calibrated members are too soft.

N samples, M members, C classes.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import Float, softmax
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable, ScoreTable
from foldstill.stacking.averages import Average, log_proba
from foldstill.stacking.combiner import AnyCombiner, Combination, Proba, combined
from foldstill.stacking.loglinear import FewParameters, Prior
from foldstill.stacking.row_weighted import RowWeighted
from foldstill.stacking.state import State, array, strip_prefix, with_prefix

SLOPE_BOUNDS = (0.1, 10.0)
"""Lowest and highest inverse temperature."""
BIAS_BOUND = 5.0
"""Largest absolute bias of a class, in nats."""
_RIDGE = 1e-6
"""Only makes the biases unique: adding a constant to all of them changes nothing."""


@dataclass(frozen=True)
class RecalibratedCombination:
    """softmax(slope_C * log pool + bias_C), where the pool is the `inner` combination."""

    inner: Combination
    slope_C: NDArray[np.float64]
    bias_C: NDArray[np.float64]

    def __call__(self, proba_NMC: Float) -> Proba:
        return self._recalibrated(self.inner(proba_NMC))

    def of_table(self, scores: ScoreTable) -> Proba:
        """The same for the rows of a table."""
        return self._recalibrated(combined(self.inner, scores))

    def _recalibrated(self, pooled_NC: Proba) -> Proba:
        return softmax(log_proba(pooled_NC) * self.slope_C + self.bias_C)

    @property
    def temperature(self) -> float:
        """Below one when the pool was too soft; the geometric mean over classes when each has its own temperature."""
        return float(np.exp(-np.log(self.slope_C).mean()))

    def state(self) -> State:
        return {"slope": self.slope_C, "bias": self.bias_C, **with_prefix("pool", self.inner.state())}


@dataclass(frozen=True)
class Recalibrated(RowWeighted, kind="recalibrated", title="Recalibrated average"):
    """The plain average with a temperature and a bias per class, fitted to the votes.

    Temperature and bias are fitted by KL in log space. The temperature is fitted after pooling, because any non-trivial
    linear pool of calibrated members is under-confident.

    References
    ----------
    R. Ranjan, T. Gneiting (2010), Combining probability forecasts, theorem 1; R. Rahaman, A. H. Thiery (2021),
    Uncertainty quantification and deep ensembles.

    Examples
    --------
    >>> from foldstill.testing import synthetic_table
    >>> round(Recalibrated().fit(synthetic_table()).temperature, 2)
    0.87
    """

    of: AnyCombiner = field(default_factory=Average)
    """The combiner whose scores are recalibrated."""
    slope: Literal["shared", "per_class"] = "shared"
    """Fit one temperature for all classes, or one per class (vector scaling)."""
    bias: bool = True
    """Fit a bias per class as well."""

    def fit(self, table: OOFTable) -> RecalibratedCombination:
        pool = self.of.fit(table)
        log_NC = log_proba(combined(pool, table.scores))
        n_classes = len(table.classes)
        n_slopes = 1 if self.slope == "shared" else n_classes

        design_NCD = log_NC[..., None] if self.slope == "shared" else log_NC[..., None] * np.eye(n_classes)
        bound = BIAS_BOUND if self.bias else 0.0
        prior = Prior(
            centre_P=np.r_[np.ones(n_slopes), np.zeros(n_classes)],
            ridge_P=np.full(n_slopes + n_classes, _RIDGE),
            lower_P=np.r_[np.full(n_slopes, SLOPE_BOUNDS[0]), np.full(n_classes, -bound)],
            upper_P=np.r_[np.full(n_slopes, SLOPE_BOUNDS[1]), np.full(n_classes, bound)],
        )
        every = slice(0, len(table))
        weight_N = table.labels.weight_N(self.row_weight)
        fit = FewParameters(lambda: [(every, design_NCD)], prior, table.labels.target_NC, weight_N)
        best_P = fit.minimum(design_NCD.size)
        slope_C = np.broadcast_to(best_P[:n_slopes], n_classes).copy()
        return RecalibratedCombination(pool, slope_C, best_P[n_slopes:])

    def restore(self, state: State) -> RecalibratedCombination:
        pool = self.of.restore(strip_prefix("pool", state))
        slope_C, bias_C = array(state, "slope"), array(state, "bias")
        if len(slope_C) != len(bias_C):
            raise StackError(
                f"the saved recalibration has {len(slope_C)} slopes but {len(bias_C)} biases: fit the combiner and "
                "save it again"
            )
        return RecalibratedCombination(pool, slope_C, bias_C)
