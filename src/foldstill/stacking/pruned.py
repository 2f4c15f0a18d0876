"""A few members instead of all: the plain average of the members chosen within a budget.

M members, D columns (each a member).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.stacking.convex import WeightedAverage, duality_gap, restore_weighted
from foldstill.stacking.row_weighted import RowWeighted
from foldstill.stacking.state import State
from foldstill.stacking.voted_entries import VotedEntries, columns_of, voted_entries


@dataclass(frozen=True)
class Pruned(RowWeighted, kind="pruned", title="Pruned average"):
    """The plain average of a few members, added while the KL falls.

    Members are added one by one for the lowest KL, within a budget. Its cross-fitted score shows what a few members are
    worth, at the cost of these members alone. Fewer members than the budget allows are kept when one more would raise
    the KL.

    References
    ----------
    J. Leskovec et al. (2007), Cost-effective outbreak detection in networks, section 3: choose by gain and by gain per
    cost, and keep the better result. Either alone can be far from the optimum.

    Examples
    --------
    >>> from foldstill.testing import synthetic_table
    >>> Pruned(budget=2).fit(synthetic_table()).weight_M.tolist()
    [0.5, 0.5, 0.0, 0.0]
    """

    budget: float = 5.0
    """Maximum total cost of the members that are kept."""
    costs: tuple[tuple[str, float], ...] = ()
    """Cost of members as pairs of name and cost, all in one unit, such as milliseconds; other members cost 1."""

    def __post_init__(self) -> None:
        if not all(cost > 0 for cost in (self.budget, *dict(self.costs).values())):
            raise StackError(f"budget and costs of pruned must be positive, got {self.budget} and {dict(self.costs)}")

    @classmethod
    def example(cls) -> Self:
        return cls(budget=2)

    def fit(self, table: OOFTable) -> WeightedAverage:
        cost_of = dict(self.costs)
        if unknown := [name for name in cost_of if name not in table.members]:
            raise StackError(
                f"costs of pruned name the members {unknown}, but the table has {list(table.members)}: correct the "
                "names"
            )
        cost_M = np.asarray([cost_of.get(member, 1.0) for member in table.members])
        if cost_M.min() > self.budget:
            raise StackError(
                f"no member fits a budget of {self.budget:g}, the cheapest costs {cost_M.min():g}: raise `budget` of "
                "pruned"
            )
        entries = voted_entries(table, columns_of(table.members, tied=False), self.row_weight)
        # The gain of the first member is counted from the uniform prediction.
        uniform_loss = float(entries.share_E.sum() * np.log(len(table.classes)))
        prices = (np.ones_like(cost_M), cost_M) if cost_of else (cost_M,)
        results = [_forward(entries, cost_M, self.budget, price_M, uniform_loss) for price_M in prices]
        weight_M, _ = min(results, key=lambda pair: pair[1])
        _, gradient_M = entries.cross_entropy(weight_M)
        return WeightedAverage(weight_M, duality_gap(weight_M, gradient_M))

    def restore(self, state: State) -> WeightedAverage:
        return restore_weighted(state)


def _forward(
    entries: VotedEntries, cost_M: NDArray[np.float64], budget: float, price_M: NDArray[np.float64], loss: float
) -> tuple[NDArray[np.float64], float]:
    """Add members one by one while the loss falls, at least one; return their equal weights and the loss."""
    kept_M, left = np.zeros(len(cost_M)), budget
    while len(open_M := np.flatnonzero((kept_M == 0) & (cost_M <= left * (1 + 1e-9)))):
        losses = np.asarray([entries.cross_entropy(_equal(kept_M, m))[0] for m in open_M])
        best = int(np.argmax((loss - losses) / price_M[open_M]))
        if losses[best] >= loss and kept_M.any():
            break
        kept_M[open_M[best]], loss, left = 1.0, float(losses[best]), left - cost_M[open_M[best]]
    return kept_M / kept_M.sum(), loss


def _equal(kept_M: NDArray[np.float64], added: np.signedinteger) -> NDArray[np.float64]:
    trial_M = kept_M.copy()
    trial_M[added] = 1.0
    trial_M /= trial_M.sum()
    return trial_M
