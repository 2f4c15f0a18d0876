"""Greedy selection with replacement: the weight of a member is the number of times it was picked.

M members, E entries with y > 0, D columns (members, or families whose members share a weight).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.choices import require_metric
from foldstill.data.simplex import EPS
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.settings import TextInFile
from foldstill.stacking.convex import WeightedAverage, duality_gap, restore_weighted
from foldstill.stacking.metric_search import Loss, column_scores, is_kl, metric_loss, picks_by_metric
from foldstill.stacking.row_weighted import RowWeighted
from foldstill.stacking.setting_checks import require_at_least
from foldstill.stacking.state import State
from foldstill.stacking.voted_entries import VotedEntries, columns_of, member_weights, voted_entries


def greedy_picks(entries: VotedEntries, picks: int, *, start: int, allowed: NDArray[np.intp]) -> list[int]:
    """Return the picked columns in order; of equals, the first.

    The first `start` picks are the best single columns. Each further pick is the column whose addition to the running
    sum lowers -sum y log most. Only sums change from pick to pick, so a trial costs one addition and one logarithm per
    entry, in buffers that are reused.
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
class Greedy(RowWeighted, kind="greedy", title="Greedy selection"):
    """A weighted average: the member that helps most is added, again and again.

    The selection is forward and with replacement, and its weights are averaged over bags of members.

    References
    ----------
    R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes (2004), Ensemble selection from libraries of models: sorted
    start, replacement, and bags of members against overfitting.

    Examples
    --------
    >>> from foldstill.testing import synthetic_table
    >>> Greedy(picks=10, bags=1).fit(synthetic_table()).weight_M.tolist()
    [0.5, 0.4, 0.1, 0.0]
    """

    picks: int = 50
    """Number of picks per bag; weights within a bag are multiples of 1 / picks."""
    start: int = 3
    """Number of best single members with which each bag begins."""
    bags: int = 20
    """Number of bags, whose weights are averaged; a single bag contains all members."""
    bag_share: float = 0.5
    """Share of the members in each bag when there is more than one bag; above 0, at most 1."""
    tied: bool = False
    """Pick families instead of members."""
    metric: Annotated[Any, TextInFile()] = "kl"
    """The metric that picks improve, named like `metric` of `[compare]`. For metrics other than `kl` and `log_loss` a
    bag ends when picks do not help any more."""
    seed: int = 0
    """Random seed of the bags."""

    def __post_init__(self) -> None:
        require_at_least(self, picks=1, bags=1, start=1)
        if self.start > self.picks:
            raise StackError(f"start of greedy must be at most picks ({self.picks}), got {self.start}")
        if not 0 < self.bag_share <= 1:
            raise StackError(f"bag_share of greedy must be in (0, 1], got {self.bag_share}: 0.5 is usual")
        require_metric(self.metric)

    @classmethod
    def example(cls) -> Self:
        return cls(picks=10, bags=3)

    def fit(self, table: OOFTable) -> WeightedAverage:
        columns = columns_of(table.scores.families, tied=self.tied)
        entries = voted_entries(table, columns, self.row_weight)
        count_D = np.zeros(len(columns))
        pick: Callable[[NDArray[np.intp]], list[int]] = partial(self._by_kl, entries)
        if not is_kl(self.metric):
            pick = partial(
                self._by_metric, column_scores(table, columns), metric_loss(self.metric, table, self.row_weight)
            )
        rng = np.random.default_rng(self.seed)
        for _ in range(self.bags):
            allowed = np.arange(len(columns))
            if self.bags > 1:
                size = max(1, round(self.bag_share * len(columns)))
                allowed = np.sort(rng.choice(len(columns), size, replace=False))
            picked = pick(allowed)
            # Bags count equally, whether they end early or not.
            np.add.at(count_D, picked, self.picks / len(picked))
        weight_D = count_D / count_D.sum()
        _, gradient_D = entries.cross_entropy(weight_D)
        weight_M = member_weights(weight_D, columns, len(table.members))
        return WeightedAverage(weight_M, duality_gap(weight_D, gradient_D))

    def _by_kl(self, entries: VotedEntries, allowed: NDArray[np.intp]) -> list[int]:
        return greedy_picks(entries, self.picks, start=self.start, allowed=allowed)

    def _by_metric(self, proba_DNC: NDArray[np.float32], loss: Loss, allowed: NDArray[np.intp]) -> list[int]:
        return picks_by_metric(proba_DNC, self.picks, loss, start=self.start, allowed=allowed)

    def restore(self, state: State) -> WeightedAverage:
        return restore_weighted(state)
