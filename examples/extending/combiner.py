"""A combiner: a weighted average in which members with a lower KL divergence have a larger weight."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import Float, kl_divergence, softmax
from foldstill.oof.table import OOFTable
from foldstill.settings import NamedKind
from foldstill.stacking.combiner import Proba, require_members
from foldstill.stacking.state import State, array


@dataclass(frozen=True)
class WeightedAverage:
    """The result of the fit: one weight per member."""

    weight_M: NDArray[np.float64]

    def __call__(self, proba_NMC: Float) -> Proba:
        require_members(proba_NMC, len(self.weight_M))
        proba_NC: Proba = np.einsum("nmc,m->nc", proba_NMC, self.weight_M, dtype=np.float64)
        proba_NC /= proba_NC.sum(axis=1, keepdims=True)
        return proba_NC

    def state(self) -> State:
        return {"weight_M": self.weight_M}


@dataclass(frozen=True)
class ByKL(NamedKind, kind="by_kl", title="Weights by KL"):
    """A weighted average in which members with a lower KL divergence have a larger weight.

    The weight is proportional to exp(-sharpness x KL).
    """

    sharpness: float = 5.0
    """How much a lower KL divergence increases the weight; 0 gives the plain average."""

    def fit(self, table: OOFTable) -> WeightedAverage:
        target_NC, proba_NMC = table.labels.target_NC, table.proba_NMC
        kl_M = [kl_divergence(target=target_NC, proba=proba_NMC[:, m]) for m in range(len(table.members))]
        return WeightedAverage(softmax(-self.sharpness * np.asarray(kl_M)))

    def restore(self, state: State) -> WeightedAverage:
        return WeightedAverage(array(state, "weight_M"))
