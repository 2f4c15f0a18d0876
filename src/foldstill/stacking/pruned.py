"""A few members instead of all: the plain average of those chosen under a budget.

M members, D columns (each a member).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.labels import RowWeight
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.settings import Settings
from foldstill.stacking.combiner import State
from foldstill.stacking.convex import Weighted, restore_weighted
from foldstill.stacking.voted import Voted, columns_of, voted


@dataclass(frozen=True)
class Pruned(Settings):
    """The plain average of members chosen one by one for the lowest KL, within a budget.

    Cross-fitted like any combiner, it says what few members are worth; its cost is theirs alone. Fewer than the budget
    allows are kept when a further one would raise the KL.
    """

    kind: Literal["pruned"] = "pruned"
    """Selects this combiner in an experiment file."""
    name: str = "pruned"
    """Name in tables and folders."""
    budget: float = 5.0
    """Most that the members kept may cost together."""
    costs: tuple[tuple[str, float], ...] = ()
    """Cost of members by name in any one unit, such as milliseconds; members not named cost 1."""
    row_weight: RowWeight = "none"
    """What a row counts in the choice: all the same, log(1 + votes), or votes up to ten."""

    def __post_init__(self) -> None:
        if not all(cost > 0 for cost in (self.budget, *dict(self.costs).values())):
            raise StackError(f"budget and costs must be positive, got {self.budget} and {dict(self.costs)}")

    def fit(self, table: OOFTable) -> Weighted:
        known = dict(self.costs)
        if unknown := [name for name in known if name not in table.members]:
            raise StackError(f"costs name members {unknown}, the table has {list(table.members)}: correct the names")
        cost_M = np.asarray([known.get(member, 1.0) for member in table.members])
        if cost_M.min() > self.budget:
            raise StackError(
                f"no member fits a budget of {self.budget:g}, the cheapest costs {cost_M.min():g}: raise it"
            )
        entries = voted(table, columns_of(table.members, tied=False), self.row_weight)
        # By lowest KL, and by most KL saved for its cost: either alone can be far off, the better of them cannot be where
        # savings shrink as members are added (Leskovec et al., 2007, section 3).
        # A model that says nothing is where the first member's saving starts.
        nothing = float(entries.share_E.sum() * np.log(len(table.classes)))
        prices = (np.ones_like(cost_M), cost_M) if known else (cost_M,)
        found = [_forward(entries, cost_M, self.budget, price_M, nothing) for price_M in prices]
        weight_M, _ = min(found, key=lambda pair: pair[1])
        _, gradient_M = entries.cross_entropy(weight_M)
        return Weighted(weight_M, float(gradient_M @ weight_M - gradient_M.min()))

    def restore(self, state: State) -> Weighted:
        return restore_weighted(state)


def _forward(
    entries: Voted, cost_M: NDArray[np.float64], budget: float, price_M: NDArray[np.float64], loss: float
) -> tuple[NDArray[np.float64], float]:
    """Equal weights of the members added one by one while the loss falls, and the loss; one is kept in any case."""
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
