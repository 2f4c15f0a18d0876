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
        loss_NM = row_kl(target=table.labels.target_NC[:, None], proba=table.proba_NMC)
        loss_M = table.labels.weight_N(self.row_weight) @ loss_NM
        return WeightedAverage(np.eye(len(loss_M))[int(loss_M.argmin())], 0.0)

    def restore(self, state: State) -> WeightedAverage:
        return restore_weighted(state)
