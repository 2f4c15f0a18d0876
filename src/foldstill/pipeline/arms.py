"""The arms of a comparison, made from scores. N samples, C classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.compare import Arm
from foldstill.compare.arms import Kind
from foldstill.cost import Cost, total_cost
from foldstill.data.labels import Labels
from foldstill.oof.table import OOFTable, ScoreTable
from foldstill.pipeline.results import StudentResult
from foldstill.stacking import COMBINERS, Combiner, FittedCombiner
from foldstill.stacking.auto import Auto, AutoCombination, named


def member_arms(scores: ScoreTable, costs: Mapping[str, Cost] | None = None) -> list[Arm]:
    """Each member on its own; `costs` holds the cost of all fold models of a member together."""
    costs = costs or {}
    return [Arm(name, "member", scores.proba_NMC[:, m], cost=costs.get(name)) for m, name in enumerate(scores.members)]


def prior_arm(table: OOFTable, n_test: int | None = None) -> Arm:
    """The class shares of the table for each of `n_test` other rows; without it, per fold those of the other folds."""
    if n_test is not None:
        proba_NC = np.tile(_class_shares(table.labels), (n_test, 1))
    else:
        proba_NC = np.empty((len(table), len(table.classes)))
        for fold in table.folds:
            held_N = table.fold_N == fold
            proba_NC[held_N] = _class_shares(table.labels.take(~held_N))
    return Arm("class prior", "prior", proba_NC)


def _class_shares(labels: Labels) -> NDArray[np.float64]:
    """Weighted mean of vote shares, (C,). A row of equal shares is added, so that no class is impossible."""
    share_C: NDArray[np.float64] = labels.sample_weight_N @ labels.target_NC + 1 / labels.target_NC.shape[1]
    share_C /= share_C.sum()
    return share_C


def simplest_first(combiner: Combiner) -> int:
    """Key that sorts combiners from simple to complex; kinds of the user's own come last."""
    return next((i for i, kind in enumerate(COMBINERS) if type(combiner) is kind), len(COMBINERS))


def combination_arm(
    fitted: FittedCombiner,
    proba_NC: NDArray[np.floating],
    members: tuple[str, ...],
    costs: Mapping[str, Cost] | None = None,
    others: Sequence[Combiner] = (),
) -> Arm:
    """A combination with the weights of `members`, in their order, and the cost of the members that it needs.

    What `auto` chose has the name that the same settings have among `others`, the combiners of the table.
    """
    weight_M = None
    if fitted.weight_M is not None:
        weight_of = dict(zip(fitted.members, fitted.weight_M.tolist(), strict=True))
        weight_M = np.asarray([weight_of.get(m, 0.0) for m in members])
    needed = [m for i, m in enumerate(members) if weight_M is None or weight_M[i] > 0]
    kinds: dict[str, Kind] = {"average": "average", "best_member": "member"}
    choice = getattr(fitted.combination, "choice", None)
    if isinstance(fitted.combiner, Auto) and isinstance(fitted.combination, AutoCombination):
        rung = fitted.combiner.rungs[fitted.combination.index]
        choice = named(_name_among(others, rung), fitted.combination.share)
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


def _name_among(others: Sequence[Combiner], chosen: Combiner) -> str:
    """The name of the combiner with the same settings, apart from the name; that of `chosen` where there is none."""
    settings = _without_name(chosen)
    return next((o.name for o in others if _without_name(o) == settings), chosen.name)


def _without_name(combiner: Combiner) -> dict[str, Any]:
    return {"kind": combiner.kind} | {key: value for key, value in vars(combiner).items() if key != "name"}


def student_arm(student: StudentResult, scores: Sequence[ScoreTable]) -> Arm:
    """A student with its scores per seed: the first seed stands for it, the others show the spread."""
    from foldstill.pipeline.uncertainty import uncertainty_note

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
