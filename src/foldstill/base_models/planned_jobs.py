"""The jobs of training: one per member and fold, or two folds, left out, each with everything that it is made from.

What a job is made from decides whether its finished work still holds. Importing this module imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from foldstill.base_models.fold_models import model_folder
from foldstill.base_models.jobs import Job, Prediction
from foldstill.base_models.joined_member import AnyMember
from foldstill.base_models.member import MadeFromSettings, Member, is_made_elsewhere
from foldstill.base_models.named_files import digests_of_files, settings_as_json
from foldstill.base_models.per_head import learners
from foldstill.data.dataset import Dataset
from foldstill.data.estimators import saved_estimator
from foldstill.data.features import view_digest
from foldstill.data.folds import FoldPlan
from foldstill.data.labels import Labels
from foldstill.data.training import TrainingSet
from foldstill.digests import digest
from foldstill.errors import MemberError
from foldstill.manifest import Stage, recorded_inputs


def planned_jobs(
    named: Sequence[AnyMember], dataset: Dataset, plan: FoldPlan, folder: Path, seed: int, *, left_out: int
) -> list[Job]:
    """One job per member and fold, or two folds, left out, each with everything it is made from."""
    labels = dataset.labels
    members = learners(named, multi_label=labels.heads is not None)
    _require_one_plan(members, labels, plan, left_out)
    of_fold = _made_elsewhere(members, labels, plan, left_out)
    views = {name: dataset.view(name) for name in sorted({view for m in members for view in m.views})}
    digests = {name: {"data": view_digest(array), "shape": list(array.shape[1:])} for name, array in views.items()}
    classes = labels.classes if labels.heads is None else labels.heads.names
    common = {"labels": labels.digest, "classes": list(classes), "plan": plan.digest, "seed": seed}
    if dataset.units_N is not None:
        common["units"] = digest(dataset.units_N)

    def in_folds(member: Member, folds: tuple[int, ...]) -> Member:
        return of_fold[member.name][folds[0]] if member.name in of_fold else member

    def stage(member: Member, folds: tuple[int, ...]) -> Stage:
        member = in_folds(member, folds)
        fold = {"fold": folds[0] if left_out == 1 else list(folds)}
        place = model_folder(folder, member.name, *folds)
        inputs = {**_settings(member, recorded_inputs(place)), **_per_view(member, digests), **common, **fold}
        return Stage(place, inputs)

    def job(member: Member, folds: tuple[int, ...]) -> Job:
        rows = {"oof.parquet": plan.held_out(*folds)}
        # Models of pairs are for cross-validation, which does not touch the test split.
        if left_out == 1 and len(plan.test_rows):
            rows["test.parquet"] = plan.test_rows
        own = stage(member, folds)
        return Job(
            f"member {member.name}, {named_folds(folds)}",
            in_folds(member, folds),
            TrainingSet.from_labels(
                labels,
                {name: views[name] for name in member.views},
                plan.training(*folds),
                dataset.units_N,
                dataset.recipes,
            ),
            own.folder,
            own.inputs,
            # Differs between members and folds, and does not depend on which other members there are.
            int(digest(seed, member.name, *folds), 16) % 2**31,
            folds,
            tuple(Prediction(file, of_file, labels.ids[of_file]) for file, of_file in rows.items()),
            needs={part.name: stage(part, folds) for part in member.parts},
        )

    return [job(member, folds) for member in members for folds in combinations(range(plan.n_folds), left_out)]


def _require_one_plan(members: Sequence[Member], labels: Labels, plan: FoldPlan, left_out: int) -> None:
    """Raises MemberError for names that repeat, and for a plan of other rows or of too few folds."""
    names = [m.name for m in members]
    if not names:
        raise MemberError("training needs at least one member, got none: add a [[member]]")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MemberError(f"member names must differ, {twice} occur more than once: rename one")
    if not np.array_equal(labels.ids, plan.ids):
        raise MemberError(
            "the fold plan and the labels must hold the same ids in the same order: make the plan from these labels"
        )
    if plan.n_folds <= left_out:
        raise MemberError(
            f"models that leave two folds out need three folds or more, got {plan.n_folds}: set folds.n_folds = 5"
        )


def _made_elsewhere(
    members: Sequence[Member], labels: Labels, plan: FoldPlan, left_out: int
) -> dict[str, Sequence[Member]]:
    """The members that are not trained here, each as it stands in every fold, by name."""
    named = {m.name: m for m in members if is_made_elsewhere(m)}
    if left_out == 2 and named:
        raise MemberError(
            f"members {list(named)} were made elsewhere, one model per fold, and nothing leaves two folds out: leave "
            'these members out, or set cross_validate = "none"'
        )
    return {name: m.for_folds(labels, plan) for name, m in named.items()}  # type: ignore[attr-defined]


def named_folds(folds: Sequence[int]) -> str:
    """`fold 2`, or `folds 0 and 3`.

    >>> named_folds((2,)), named_folds((0, 3))
    ('fold 2', 'folds 0 and 3')
    """
    return f"fold{'s'[: len(folds) > 1]} {' and '.join(map(str, folds))}"


def flat(name: str, value: Any) -> dict[str, Any]:
    """Nested settings as one level of dotted names and JSON values, so that a difference is named exactly.

    >>> flat("member", {"recipe": {"epochs": 5}, "size": (32, 32)})
    {'member.recipe.epochs': 5, 'member.size': [32, 32]}
    """
    if isinstance(value, Mapping) and value:
        return {key: leaf for part in value for key, leaf in flat(f"{name}.{part}", value[part]).items()}
    return {name: json.loads(json.dumps(value, default=saved_estimator))}


def _settings(member: Member, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a member and of its parts, and digests of the files that they name.

    `recorded` is what the finished work in its folder, if there is any, was made from.
    """
    own = member.settings if isinstance(member, MadeFromSettings) else member
    described = [flat("member", settings_as_json(own)), _digests("file", own, recorded)]
    for part in member.parts:
        described += [
            flat(f"part.{part.name}", settings_as_json(part)),
            _digests(f"file.{part.name}", part, recorded),
        ]
    return {name: value for each in described for name, value in each.items()}


def _digests(name: str, member: Any, recorded: Mapping[str, Any]) -> dict[str, str]:
    own = {key.removeprefix(f"{name}."): value for key, value in recorded.items() if key.startswith(f"{name}.")}
    return {f"{name}.{setting}": value for setting, value in digests_of_files(member, own).items()}


def _per_view(member: Member, values: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Named values of a member's view; of several views, each name with its view."""
    if len(member.views) == 1:
        return dict(values[member.views[0]])
    return {f"{key}.{view}": value for view in member.views for key, value in values[view].items()}
