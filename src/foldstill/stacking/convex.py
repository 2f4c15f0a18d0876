"""Convex weights: the weighted average of the members with the lowest KL, found exactly, with a proof.

N samples, M members, C classes, D columns (members, or families whose members share a weight).
"""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.choices import require_metric
from foldstill.data.simplex import Float
from foldstill.oof.table import OOFTable
from foldstill.settings import TextInFile
from foldstill.stacking.averages import normalised
from foldstill.stacking.box import box_minimum
from foldstill.stacking.combiner import Proba, require_members
from foldstill.stacking.metric_search import column_scores, improved_weights, is_kl, metric_loss
from foldstill.stacking.row_weighted import RowWeighted
from foldstill.stacking.state import State, array
from foldstill.stacking.voted_entries import VotedEntries, columns_of, member_weights, voted_entries

_FEW = 16384
"""Number of entries for the first Newton steps and for every Hessian."""
_SHORTEST = 1e-6
"""Smallest fraction of a Newton step that is tried: below it only rounding is left."""


@dataclass(frozen=True)
class WeightedAverage:
    """A weighted average of members. `gap` bounds how far its KL on the fitted rows is above the optimum, in nats."""

    weight_M: NDArray[np.float64]
    gap: float

    def __call__(self, proba_NMC: Float) -> Proba:
        require_members(proba_NMC, len(self.weight_M))
        pooled_NC: Proba = np.einsum("nmc,m->nc", proba_NMC, self.weight_M)
        return normalised(pooled_NC)

    def state(self) -> State:
        return {"weight": self.weight_M, "gap": np.asarray(self.gap)}


def restore_weighted(state: State) -> WeightedAverage:
    """Return the combination that has this state."""
    return WeightedAverage(array(state, "weight"), float(array(state, "gap")))


def duality_gap(weight_D: NDArray[np.float64], gradient_D: NDArray[np.float64]) -> float:
    """Return g.w - min(g): an upper bound of how far the loss at w is above its minimum on the simplex."""
    return float(gradient_D @ weight_D - gradient_D.min())


@dataclass(frozen=True)
class Convex(RowWeighted, kind="convex", title="Convex weights"):
    """A weighted average: weights of 0 or more that sum to one, with the lowest KL.

    The minimum is found exactly.

    References
    ----------
    M. Frank, P. Wolfe (1956), An algorithm for quadratic programming; M. Jaggi (2013), Revisiting
    Frank-Wolfe, section 2.

    Examples
    --------
    >>> from foldstill.testing import synthetic_table
    >>> Convex().fit(synthetic_table()).weight_M.round(2).tolist()
    [0.54, 0.45, 0.01, 0.0]
    """

    tied: bool = False
    """Fit one weight per family instead of one per member: networks that differ only in their seed are exchangeable."""
    metric: Annotated[Any, TextInFile()] = "kl"
    """The metric that the weights improve, named like `metric` of `[compare]`. For metrics other than `kl` and
    `log_loss`, a coordinate search starts from the weights with the lowest KL."""

    def __post_init__(self) -> None:
        require_metric(self.metric)

    def fit(self, table: OOFTable) -> WeightedAverage:
        columns = columns_of(table.scores.families, tied=self.tied)
        entries = voted_entries(table, columns, self.row_weight)
        weight_D, gap = simplex_minimum(entries)
        if not is_kl(self.metric):
            loss = metric_loss(self.metric, table, self.row_weight)
            weight_D = improved_weights(column_scores(table, columns), weight_D, loss)
            gap = duality_gap(weight_D, entries.cross_entropy(weight_D)[1])
        return WeightedAverage(member_weights(weight_D, columns, len(table.members)), gap)

    def restore(self, state: State) -> WeightedAverage:
        return restore_weighted(state)


def simplex_minimum(entries: VotedEntries, *, gap: float = 1e-6, steps: int = 50) -> tuple[NDArray[np.float64], float]:
    """Return the weights on the simplex that minimise the cross-entropy, and the duality gap that was reached.

    The loss is convex, so its minimum is at most the gap below (Frank and Wolfe, 1956; Jaggi, 2013, section 2): the gap
    proves the result. Newton's method runs first on a subset of the entries, then with the gradient of all entries and
    the Hessian of the subset (Newton sketch: Pilanci and Wainwright, 2017). Only the gradient decides where it stops.
    """
    few = entries.thinned(_FEW)
    weight_D = np.full(entries.proba_ED.shape[1], 1 / entries.proba_ED.shape[1])
    reached = 0.0
    for part in (few, entries):
        loss, gradient_D = part.cross_entropy(weight_D)
        for _ in range(steps):
            reached = duality_gap(weight_D, gradient_D)
            if reached <= gap:
                break
            toward_D = _newton(weight_D, gradient_D, few.hessian(weight_D)) - weight_D
            length = 1.0
            while length > _SHORTEST:
                trial_D = weight_D + length * toward_D
                trial_loss, trial_gradient_D = part.cross_entropy(trial_D)
                if trial_loss <= loss:
                    break
                length /= 2
            else:
                break
            weight_D, loss, gradient_D = trial_D, trial_loss, trial_gradient_D
    return weight_D, max(reached, 0.0)


def _newton(
    weight_D: NDArray[np.float64], gradient_D: NDArray[np.float64], hessian_DD: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the simplex point that minimises the quadratic model of the loss at `weight_D`.

    With the sum of the weights added to the loss, its minimum over weights >= 0 sums to one (Kim, Carbonetto, Stephens
    and Anitescu, 2020, proposition 3.2).
    """
    # Identical members leave their weights undetermined; a small pull towards the present weights decides.
    pull = 1e-9 * np.trace(hessian_DD) / len(weight_D)
    slope_D = gradient_D + 1 - hessian_DD @ weight_D - pull * weight_D
    unlimited_D = np.full(len(weight_D), np.inf)
    solution_D = box_minimum(hessian_DD + pull * np.eye(len(weight_D)), slope_D, np.zeros(len(weight_D)), unlimited_D)
    minimum_D: NDArray[np.float64] = solution_D / solution_D.sum()
    return minimum_D
