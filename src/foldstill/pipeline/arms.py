"""From scores to the arms of a comparison."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from foldstill.compare import Arm
from foldstill.compare.arms import Kind
from foldstill.cost import Cost
from foldstill.cost.measure import total_cost
from foldstill.oof.table import ScoreTable
from foldstill.stacking import Fitted


def member_arms(scores: ScoreTable, costs: Mapping[str, Cost] | None = None) -> list[Arm]:
    """Each member on its own; `costs` are of all its fold models together."""
    known = costs or {}
    return [Arm(name, "member", scores.proba_NMC[:, m], cost=known.get(name)) for m, name in enumerate(scores.members)]


def combination_arm(
    fitted: Fitted, proba_NC: NDArray[np.floating], members: tuple[str, ...], costs: Mapping[str, Cost] | None = None
) -> Arm:
    """A combination with the weights of `members`, in their order, and the cost of those it needs."""
    weight_M = None
    if fitted.weight_M is not None:
        given = dict(zip(fitted.members, fitted.weight_M.tolist(), strict=True))
        weight_M = np.asarray([given.get(m, 0.0) for m in members])
    needed = [m for i, m in enumerate(members) if weight_M is None or weight_M[i] > 0]
    kinds: dict[str, Kind] = {"average": "average", "best_member": "member"}
    chosen = getattr(fitted.combination, "choice", None)
    if fitted.combiner.kind == "best_member" and len(needed) == 1:
        chosen = needed[0]
    return Arm(
        fitted.name,
        kinds.get(fitted.combiner.kind, "combination"),
        proba_NC,
        cost=total_cost(costs[m] for m in needed) if costs and all(m in costs for m in needed) else None,
        note=fitted.explanation,
        weight_M=weight_M,
        chosen=chosen,
    )
