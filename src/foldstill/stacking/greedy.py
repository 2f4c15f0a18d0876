"""Greedy selection with replacement: weights as counts of picks, grown one member at a time.

Caruana et al. (2004): sorted start, replacement, bags of members against overfitting.
M members, E entries with y > 0, D columns (members, or families of tied members).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.labels import RowWeight
from foldstill.data.simplex import EPS
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.settings import Settings
from foldstill.stacking.combiner import State
from foldstill.stacking.convex import Weighted, restore_weighted
from foldstill.stacking.voted import Voted, columns_of, spread, voted


def greedy_picks(entries: Voted, picks: int, *, start: int, allowed: NDArray[np.intp]) -> list[int]:
    """The columns picked, in order; ties go to the earlier column.

    The first `start` picks are the best single columns; each further one is the column whose addition to the running
    sum lowers -sum y log most. Only sums change from pick to pick, so a trial costs one addition and one logarithm an
    entry, into buffers that are reused.
    """
    proba_DE = np.ascontiguousarray(entries.proba_ED.T[allowed])
    share_E = entries.share_E.astype(np.float32)
    trial_E = np.empty_like(share_E)

    def loss(sum_E: NDArray[np.float32], column_E: NDArray[np.float32], count: int) -> float:
        np.add(sum_E, column_E, out=trial_E)
        np.maximum(trial_E, np.float32(EPS * count), out=trial_E)
        np.log(trial_E, out=trial_E)
        return -float(share_E @ trial_E)

    sum_E = np.zeros_like(share_E)
    alone = [loss(sum_E, column_E, 1) for column_E in proba_DE]
    chosen = np.argsort(alone, kind="stable")[: min(start, picks)].tolist()
    for d in chosen:
        sum_E += proba_DE[d]
    while len(chosen) < picks:
        losses = [loss(sum_E, column_E, len(chosen) + 1) for column_E in proba_DE]
        best = int(np.argmin(losses))
        chosen.append(best)
        sum_E += proba_DE[best]
    return [int(allowed[d]) for d in chosen]


@dataclass(frozen=True)
class Greedy(Settings):
    """Weights from greedy forward selection with replacement, averaged over bags of members."""

    kind: Literal["greedy"] = "greedy"
    """Selects this combiner in an experiment file."""
    name: str = "greedy"
    """Name in tables and folders."""
    picks: int = 50
    """Picks of each bag; its weights are multiples of one over this."""
    start: int = 3
    """How many of the best single members each bag begins with."""
    bags: int = 20
    """Bags whose weights are averaged; one bag sees all members."""
    bag_share: float = 0.5
    """Share of the members a bag may pick from, where there is more than one."""
    tied: bool = False
    """Pick families instead of members."""
    row_weight: RowWeight = "none"
    """What a row counts in the fit: all the same, log(1 + votes), or votes up to ten."""
    seed: int = 0
    """Of the bags."""

    def __post_init__(self) -> None:
        if self.picks < 1 or self.bags < 1 or not 1 <= self.start <= self.picks:
            raise StackError(
                f"picks and bags must be 1 or more and start between 1 and picks, got {self.picks}, {self.bags}, {self.start}"
            )
        if not 0 < self.bag_share <= 1:
            raise StackError(f"bag_share must be in (0, 1], got {self.bag_share}: 0.5 is usual")

    def fit(self, table: OOFTable) -> Weighted:
        columns = columns_of(table.scores.families, tied=self.tied)
        entries = voted(table, columns, self.row_weight)
        count_D = np.zeros(len(columns))
        rng = np.random.default_rng(self.seed)
        for _ in range(self.bags):
            allowed = np.arange(len(columns))
            if self.bags > 1:
                size = max(1, round(self.bag_share * len(columns)))
                allowed = np.sort(rng.choice(len(columns), size, replace=False))
            np.add.at(count_D, greedy_picks(entries, self.picks, start=self.start, allowed=allowed), 1)
        weight_D = count_D / count_D.sum()
        _, gradient_D = entries.cross_entropy(weight_D)
        gap = float(gradient_D @ weight_D - gradient_D.min())
        return Weighted(spread(weight_D, columns, len(table.members)), gap)

    def restore(self, state: State) -> Weighted:
        return restore_weighted(state)
