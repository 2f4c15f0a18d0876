"""The best single member: chosen on the rows of the fit, never on the rows it is scored on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from foldstill.data.labels import RowWeight
from foldstill.data.simplex import row_kl
from foldstill.oof.table import OOFTable
from foldstill.settings import KindSettings
from foldstill.stacking.convex import WeightedAverage, restore_weighted
from foldstill.stacking.state import State


@dataclass(frozen=True)
class BestMember(KindSettings):
    """The one member with the lowest KL on the rows that it is chosen on.

    Of equals, the first is chosen.

    Examples
    --------
    >>> from foldstill.testing import synthetic_table
    >>> BestMember().fit(synthetic_table()).weight_M.tolist()
    [1.0, 0.0, 0.0, 0.0]
    """

    kind: Literal["best_member"] = "best_member"
    name: str = "best_member"
    row_weight: RowWeight = "none"
    """Weight per row in the fit: "none" (all equal), "log1p" (log(1 + votes)), "clamp" (votes, at most 10) or "damped"
    (votes, rising slowly beyond 10)."""

    def fit(self, table: OOFTable) -> WeightedAverage:
        loss_NM = row_kl(target=table.labels.target_NC[:, None], proba=table.proba_NMC)
        loss_M = table.labels.weight_N(self.row_weight) @ loss_NM
        return WeightedAverage(np.eye(len(loss_M))[int(loss_M.argmin())], 0.0)

    def restore(self, state: State) -> WeightedAverage:
        return restore_weighted(state)
