"""The best single member, chosen like any other combination: on the rows it is fitted to, never on those it is scored on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from foldstill.data.labels import RowWeight
from foldstill.data.simplex import row_kl
from foldstill.oof.table import OOFTable
from foldstill.settings import Settings
from foldstill.stacking.combiner import State
from foldstill.stacking.convex import Weighted, restore_weighted


@dataclass(frozen=True)
class BestMember(Settings):
    """All weight on the member with the lowest KL; a tie goes to the first."""

    kind: Literal["best_member"] = "best_member"
    """Selects this combiner in an experiment file."""
    name: str = "best_member"
    """Name in tables and folders."""
    row_weight: RowWeight = "none"
    """What a row counts in the choice: all the same, log(1 + votes), or votes up to ten."""

    def fit(self, table: OOFTable) -> Weighted:
        loss_NM = row_kl(target=table.labels.target_NC[:, None], proba=table.proba_NMC)
        loss_M = table.labels.weight_N(self.row_weight) @ loss_NM
        return Weighted(np.eye(len(loss_M))[int(loss_M.argmin())], 0.0)

    def restore(self, state: State) -> Weighted:
        return restore_weighted(state)
