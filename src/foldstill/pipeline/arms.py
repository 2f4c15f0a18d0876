"""The arms of a comparison, made from scores."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from foldstill.compare import Arm
from foldstill.compare.arms import Kind
from foldstill.cost import Cost, total_cost
from foldstill.oof.table import ScoreTable
from foldstill.pipeline.results import StudentResult
from foldstill.pipeline.uncertainty import uncertainty_note
from foldstill.stacking import FittedCombiner


def member_arms(scores: ScoreTable, costs: Mapping[str, Cost] | None = None) -> list[Arm]:
    """Each member on its own; `costs` holds the cost of all fold models of a member together."""
    costs = costs or {}
    return [Arm(name, "member", scores.proba_NMC[:, m], cost=costs.get(name)) for m, name in enumerate(scores.members)]


def combination_arm(
    fitted: FittedCombiner,
    proba_NC: NDArray[np.floating],
    members: tuple[str, ...],
    costs: Mapping[str, Cost] | None = None,
) -> Arm:
    """A combination with the weights of `members`, in their order, and the cost of the members that it needs."""
    weight_M = None
    if fitted.weight_M is not None:
        weight_of = dict(zip(fitted.members, fitted.weight_M.tolist(), strict=True))
        weight_M = np.asarray([weight_of.get(m, 0.0) for m in members])
    needed = [m for i, m in enumerate(members) if weight_M is None or weight_M[i] > 0]
    kinds: dict[str, Kind] = {"average": "average", "best_member": "member"}
    choice = getattr(fitted.combination, "choice", None)
    if fitted.combiner.kind == "best_member" and len(needed) == 1:
        choice = needed[0]
    return Arm(
        fitted.name,
        kinds.get(fitted.combiner.kind, "combination"),
        proba_NC,
        cost=total_cost(costs[m] for m in needed) if costs and all(m in costs for m in needed) else None,
        note=fitted.explanation,
        weight_M=weight_M,
        chosen=choice,
    )


def student_arm(student: StudentResult, scores: Sequence[ScoreTable]) -> Arm:
    """A student with its scores per seed: the first seed stands for it, the others show the spread."""
    first, *others = scores
    teaching = f"taught by {student.targets['made']}" if student.targets else ""
    return Arm(
        first.members[0],
        student.kind,
        first.proba_NMC[:, 0],
        cost=student.cost,
        note="; ".join(part for part in (teaching, uncertainty_note(student.folder)) if part),
        teacher=student.targets.get("teacher"),
        further_seeds=tuple(one.proba_NMC[:, 0] for one in others),
    )
