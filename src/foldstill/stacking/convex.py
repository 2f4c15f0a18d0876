"""Convex weights: the best weighted average of the members, found exactly, with a certificate.

N rows, M members, C classes, D columns (members, or families of tied members).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.labels import RowWeight
from foldstill.data.simplex import Float
from foldstill.oof.table import OOFTable
from foldstill.settings import Settings
from foldstill.stacking.averages import normalised
from foldstill.stacking.combiner import Proba, State, array, require_members
from foldstill.stacking.voted import Voted, columns_of, spread, voted

_FEW = 16384
"""Entries that the first Newton steps and every Hessian are made from."""
_SHORTEST = 1e-6
"""Part of a Newton step below which no descent is left but rounding."""


@dataclass(frozen=True)
class Weighted:
    """A weighted average of members. `gap` bounds how far its fitted KL is above the optimum, in nats."""

    weight_M: NDArray[np.float64]
    gap: float

    def __call__(self, proba_NMC: Float) -> Proba:
        require_members(proba_NMC, len(self.weight_M))
        pooled_NC: Proba = np.einsum("nmc,m->nc", proba_NMC, self.weight_M)
        return normalised(pooled_NC)

    def state(self) -> State:
        return {"weight": self.weight_M, "gap": np.asarray(self.gap)}


def restore_weighted(state: State) -> Weighted:
    return Weighted(array(state, "weight"), float(array(state, "gap")))


@dataclass(frozen=True)
class Convex(Settings):
    """Weights >= 0 that sum to one and minimise KL to the vote shares, exactly."""

    kind: Literal["convex"] = "convex"
    """Selects this combiner in an experiment file."""
    name: str = "convex"
    """Name in tables and folders."""
    tied: bool = False
    """One weight a family instead of one a member: seeds of one architecture are exchangeable."""
    row_weight: RowWeight = "none"
    """What a row counts in the fit: all the same, log(1 + votes), or votes up to ten."""

    def fit(self, table: OOFTable) -> Weighted:
        columns = columns_of(table.scores.families, tied=self.tied)
        weight_D, gap = simplex_minimum(voted(table, columns, self.row_weight))
        return Weighted(spread(weight_D, columns, len(table.members)), gap)

    def restore(self, state: State) -> Weighted:
        return restore_weighted(state)


def simplex_minimum(entries: Voted, *, gap: float = 1e-6, steps: int = 50) -> tuple[NDArray[np.float64], float]:
    """Weights on the simplex that minimise the cross-entropy, and the duality gap g.w - min(g) reached.

    The loss is convex, so the optimum lies within the gap (Frank and Wolfe, 1956; Jaggi, 2013, section 2): the result
    carries its own certificate. Newton's method with a few entries first, then with the gradient of all of them and
    still the Hessian of the few (Newton sketch: Pilanci and Wainwright, 2017): the gradient alone decides where it stops.
    """
    few = entries.thinned(_FEW)
    weight_D = np.full(entries.proba_ED.shape[1], 1 / entries.proba_ED.shape[1])
    reached = 0.0
    for part in (few, entries):
        loss, gradient_D = part.cross_entropy(weight_D)
        for _ in range(steps):
            reached = float(gradient_D @ weight_D - gradient_D.min())
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
    """The simplex point that minimises the quadratic model of the loss at `weight_D`.

    Adding the sum of the weights to the loss makes its minimum over weights >= 0 sum to one (Kim, Carbonetto, Stephens
    and Anitescu, 2020, proposition 3.2), so that the model is a non-negative least squares problem.
    """
    from scipy.linalg import cholesky, solve_triangular
    from scipy.optimize import nnls

    # Members that say the same leave their shares open; the pull towards the present weights decides.
    pull = 1e-9 * np.trace(hessian_DD) / len(weight_D)
    root_DD = cholesky(hessian_DD + pull * np.eye(len(weight_D)))
    right_D = solve_triangular(root_DD, hessian_DD @ weight_D + pull * weight_D - gradient_D - 1, trans="T")
    found_D, _ = nnls(root_DD, right_D)
    minimum_D: NDArray[np.float64] = found_D / found_D.sum()
    return minimum_D
