"""The best single member: chosen on the rows of the fit, never on the rows it is scored on."""

from dataclasses import dataclass

import numpy as np

from foldstill.data.simplex import row_kl
from foldstill.oof.table import OOFTable
from foldstill.stacking.convex import WeightedAverage, restore_weighted
from foldstill.stacking.row_weighted import RowWeighted
from foldstill.stacking.state import State


@dataclass(frozen=True)
class BestMember(RowWeighted, kind="best_member"):
    """The one member with the lowest KL on the rows that it is chosen on.

    Of equals, the first is chosen.

    Examples
    --------
    >>> from foldstill.testing import synthetic_table
    >>> BestMember().fit(synthetic_table()).weight_M.tolist()
    [1.0, 0.0, 0.0, 0.0]
    """

    def fit(self, table: OOFTable) -> WeightedAverage:
        target_NC, weight_N = table.labels.target_NC, table.labels.weight_N(self.row_weight)
        loss_M = np.zeros(len(table.members))
        for part, proba_NMC in table.scores.blocks():
            loss_M += weight_N[part] @ row_kl(target=target_NC[part, None], proba=proba_NMC)
        return WeightedAverage(np.eye(len(loss_M))[int(loss_M.argmin())], 0.0)

    def restore(self, state: State) -> WeightedAverage:
        return restore_weighted(state)
