"""Recalibration of a pool: one temperature and a bias a class, because averages of calibrated members are too soft.

Any non-trivial linear pool of calibrated forecasts is under-confident (Ranjan and Gneiting, 2010, theorem 1), so the
map is fitted after pooling (Rahaman and Thiery, 2021). N rows, M members, C classes.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.labels import RowWeight
from foldstill.data.simplex import Float, softmax
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.settings import Settings
from foldstill.stacking.averages import Average, Geometric, Median, Trimmed, log_proba
from foldstill.stacking.combiner import Combination, Proba, State, array, nested, weight_of, within
from foldstill.stacking.convex import Convex
from foldstill.stacking.greedy import Greedy
from foldstill.stacking.loglinear import minimise_kl
from foldstill.stacking.pruned import Pruned

Pool = Average | Geometric | Median | Trimmed | Convex | Greedy | Pruned

SLOPE_BOUNDS = (0.1, 10.0)
"""Inverse temperatures allowed."""
BIAS_BOUND = 5.0
"""Largest bias of a class, in nats."""
_RIDGE = 1e-6
"""Only makes the bias unique, since a constant over all classes changes nothing."""


@dataclass(frozen=True)
class Recalibration:
    """softmax(slope_C * log pool + bias_C)."""

    pool: Combination
    slope_C: NDArray[np.float64]
    bias_C: NDArray[np.float64]

    def __call__(self, proba_NMC: Float) -> Proba:
        return softmax(log_proba(self.pool(proba_NMC)) * self.slope_C + self.bias_C)

    @property
    def weight_M(self) -> NDArray[np.float64] | None:
        """The member weights of the pool."""
        return weight_of(self.pool)

    @property
    def temperature(self) -> float:
        """Below one the pool was too soft; the geometric mean over classes where each has its own."""
        return float(np.exp(-np.log(self.slope_C).mean()))

    def state(self) -> State:
        return {"slope": self.slope_C, "bias": self.bias_C, **nested("pool", self.pool.state())}


@dataclass(frozen=True)
class Recalibrated(Settings):
    """A pool with one temperature and a bias a class, fitted to vote shares by KL in log space."""

    kind: Literal["recalibrated"] = "recalibrated"
    """Selects this combiner in an experiment file."""
    name: str = "recalibrated"
    """Name in tables and folders."""
    of: Pool = field(default_factory=Average)
    """The pool that is recalibrated."""
    slope: Literal["shared", "per_class"] = "shared"
    """One temperature, or one a class (vector scaling)."""
    bias: bool = True
    """Whether each class has a bias as well."""
    row_weight: RowWeight = "none"
    """What a row counts in the fit: all the same, log(1 + votes), or votes up to ten."""

    def fit(self, table: OOFTable) -> Recalibration:
        pool = self.of.fit(table)
        log_NC = log_proba(pool(table.proba_NMC))
        n_classes = len(table.classes)
        n_slopes = 1 if self.slope == "shared" else n_classes

        def pull_back(gradient_NC: NDArray[np.float64]) -> NDArray[np.float64]:
            slope_C = (gradient_NC * log_NC).sum(axis=0)
            slopes = slope_C.sum(keepdims=True) if n_slopes == 1 else slope_C
            return np.concatenate([slopes, gradient_NC.sum(axis=0)])

        bound = BIAS_BOUND if self.bias else 0.0
        found = minimise_kl(
            lambda parameter: log_NC * parameter[:n_slopes] + parameter[n_slopes:],
            pull_back,
            target_NC=table.labels.target_NC,
            weight_N=table.labels.weight_N(self.row_weight),
            centre_P=np.r_[np.ones(n_slopes), np.zeros(n_classes)],
            ridge_P=np.full(n_slopes + n_classes, _RIDGE),
            lower_P=np.r_[np.full(n_slopes, SLOPE_BOUNDS[0]), np.full(n_classes, -bound)],
            upper_P=np.r_[np.full(n_slopes, SLOPE_BOUNDS[1]), np.full(n_classes, bound)],
        )
        return Recalibration(pool, np.broadcast_to(found[:n_slopes], n_classes).copy(), found[n_slopes:])

    def restore(self, state: State) -> Recalibration:
        pool = self.of.restore(within("pool", state))
        slope_C, bias_C = array(state, "slope"), array(state, "bias")
        if len(slope_C) != len(bias_C):
            raise StackError(f"the saved recalibration has {len(slope_C)} slopes, {len(bias_C)} biases: fit it again")
        return Recalibration(pool, slope_C, bias_C)
