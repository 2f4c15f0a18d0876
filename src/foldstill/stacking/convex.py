"""Convex weights: the best weighted average of the members, found exactly, with a certificate.

N rows, M members, C classes, D columns (members, or families of tied members).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.labels import RowWeight
from foldstill.data.simplex import Float
from foldstill.oof.table import OOFTable
from foldstill.stacking.averages import normalised
from foldstill.stacking.combiner import Proba, State, array, require_members
from foldstill.stacking.voted import Voted, columns_of, spread, voted


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
class Convex:
    """Weights >= 0 that sum to one and minimise KL to the vote shares (SLSQP with the exact gradient)."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
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


def simplex_minimum(entries: Voted, *, gap: float = 1e-6, rounds: int = 4) -> tuple[NDArray[np.float64], float]:
    """Weights on the simplex that minimise the cross-entropy, and the duality gap g.w - min(g) reached.

    The loss is convex, so the optimum lies within the gap (Frank and Wolfe, 1956; Jaggi, 2013, section 2): the result
    carries its own certificate. SLSQP is started again from where it stopped until the gap is small enough.
    """
    from scipy.optimize import minimize

    n_columns = entries.proba_ED.shape[1]
    weight_D = np.full(n_columns, 1 / n_columns)
    if n_columns == 1:
        return weight_D, 0.0
    ones = np.ones(n_columns)
    best, certified = weight_D, np.inf
    for _ in range(rounds):
        found = minimize(  # type: ignore[call-overload]
            entries.cross_entropy,
            weight_D,
            jac=True,
            method="SLSQP",
            bounds=[(0.0, 1.0)] * n_columns,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: ones},
            options={"ftol": 1e-12, "maxiter": 200},
        )
        weight_D = np.clip(found.x, 0, None)
        weight_D /= weight_D.sum()
        _, gradient_D = entries.cross_entropy(weight_D)
        reached = float(gradient_D @ weight_D - gradient_D.min())
        if reached < certified:
            best, certified = weight_D, reached
        if certified <= gap:
            break
    return best, max(certified, 0.0)
