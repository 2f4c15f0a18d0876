"""Members over folds: the one loop that trains them, and the predictions of their fold models for new rows.

N rows, M members, C classes, K fold models. Importing this module imports no torch.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from foldstill.base_models.device import device_for
from foldstill.base_models.fold_models import fold_scores, model_folder
from foldstill.base_models.gpu_slots import check_slots
from foldstill.base_models.imported_member import ImportedMember, no_model
from foldstill.base_models.jobs import Job, JobProgress, Prediction, check_locks, clean_folders, run_jobs
from foldstill.base_models.joined_member import AnyMember, resolve
from foldstill.base_models.member import MadeFromSettings, Member, is_made_elsewhere
from foldstill.base_models.named_files import digests_of_files, settings_as_json
from foldstill.base_models.per_head import learners
from foldstill.base_models.recipes import check_recipes
from foldstill.data.dataset import Dataset
from foldstill.data.estimators import saved_estimator
from foldstill.data.features import FeatureTable, View, view_digest
from foldstill.data.folds import FoldPlan
from foldstill.data.labels import Labels
from foldstill.data.row_form import Recipe
from foldstill.data.text import as_strings
from foldstill.data.training import Rows, TrainingSet
from foldstill.digests import digest
from foldstill.errors import ExperimentError, FoldstillWarning, MemberError
from foldstill.manifest import Stage, note_made_again
from foldstill.oof.table import FoldScores
from foldstill.workers import Progress, Work


def train_members(
    members: Sequence[AnyMember],
    dataset: Dataset,
    plan: FoldPlan,
    folder: Path,
    *,
    seed: int = 0,
    work: Work = Work(),
    folds: Sequence[int] | None = None,
    pairs: bool = False,
) -> tuple[JobProgress, ...]:
    """Train every member on every fold (or on these) into `folder/<member>/fold-<k>/`, and return the end of every job.

    With `pairs`, train a model without every two folds instead, into `folder/<member>/pair-<f>-<g>/`: K (K - 1) / 2
    models per member. A student that is scored on fold f can then learn about a row of fold g from a model that saw
    neither.

    Finished jobs are kept, and interrupted ones continue from their last epoch. Joined members come last, when the
    models they start from exist. Progress is one bar per member.

    Raises MemberError for a member that cannot be built or trained, and ExperimentError, with every difference, for a
    folder made from other inputs; `work.force` trains those again.
    """
    jobs = _jobs(members, dataset, plan, folder, seed, left_out=2 if pairs else 1)
    jobs = [job for job in jobs if folds is None or set(job.folds) <= set(folds)]
    return _train(jobs, dataset, plan, work, of_pairs=pairs)


def train_job(
    name: str,
    members: Sequence[AnyMember],
    dataset: Dataset,
    plan: FoldPlan,
    folder: Path,
    *,
    seed: int = 0,
    work: Work = Work(),
) -> JobProgress:
    """Do one of the jobs of `train_members`: `small/0` is a member and a fold, `small/0-3` a member without two folds.

    Other processes may do the others into the same folder at the same time. Raises MemberError for another name.
    """
    of_pairs = "-" in name.rpartition("/")[2]
    jobs = _jobs(members, dataset, plan, folder, seed, left_out=2 if of_pairs else 1)
    by_name = {f"{job.member.name}/{'-'.join(map(str, job.folds))}": job for job in jobs}
    if name not in by_name:
        raise MemberError(f"there is no job {name!r} among {', '.join(by_name)}: name a member and a fold of these")
    [end] = _train([by_name[name]], dataset, plan, work, of_pairs=of_pairs)
    return end


def _train(
    jobs: Sequence[Job], dataset: Dataset, plan: FoldPlan, work: Work, *, of_pairs: bool
) -> tuple[JobProgress, ...]:
    """Do the jobs that are not finished, and return the end of every one."""
    _warn_of_new_levels({view for job in jobs for view in job.member.views}, dataset, plan)
    bars = _Bars(work, jobs, of_pairs=of_pairs)
    pending = _checked(jobs, work)
    check_locks(pending)
    note_made_again(job.stage for job in pending)
    clean_folders(jobs, pending, force=work.force)
    for job in jobs:
        if job not in pending:
            bars(job.end())
    if pending:
        # Joined members start from the models of the others.
        for wave in ([job for job in pending if not job.member.parts], [job for job in pending if job.member.parts]):
            for _ in run_jobs(wave, work, bars):
                pass
    return tuple(job.end() for job in jobs)


def check_members(
    members: Sequence[AnyMember],
    dataset: Dataset,
    plan: FoldPlan,
    folder: Path,
    *,
    seed: int = 0,
    work: Work = Work(),
    pairs: bool = False,
) -> tuple[Path, ...]:
    """Raise what `train_members` would raise before it trains, and return the folders of the jobs that it would do.

    Nothing is written.
    """
    pending = _checked(_jobs(members, dataset, plan, folder, seed, left_out=2 if pairs else 1), work)
    return tuple(job.folder for job in pending)


def _checked(jobs: Sequence[Job], work: Work) -> list[Job]:
    """The jobs that are not finished, the longest first.

    Every member is checked before any is trained, so that a mistake in the last one costs no hours.
    """
    pending = [job for job in jobs if not _is_finished(job, work.force)]
    if pending:
        check_slots(work)
        if not work.cpu_workers.is_cluster:  # whose machines have devices of their own
            device = device_for((job.member for job in pending), work.device)
            check_recipes((job.member for job in pending), device)
        _require_parts(pending)
    # Models made elsewhere differ from fold to fold, others only in their rows.
    checked = {(job.member.name, *(job.folds if is_made_elsewhere(job.member) else ())): job for job in pending}
    cost = {name: job.member.check(job.training_set) for (name, *_), job in checked.items()}
    return sorted(pending, key=lambda job: -cost[job.member.name])


def _jobs(
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
        inputs = {**_settings(member), **_per_view(member, digests), **common, **fold}
        return Stage(model_folder(folder, member.name, *folds), inputs)

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


def _warn_of_new_levels(views: set[str], dataset: Dataset, plan: FoldPlan) -> None:
    """Warn of levels of a category that only locked rows have, so that no member can learn them."""
    for name in sorted(views):
        table = dataset.view(name)
        if not isinstance(table, FeatureTable) or not len(plan.test_rows):
            continue
        for locked, learned in zip(table[plan.test_rows].observed(), table[plan.oof_rows].observed(), strict=True):
            if new := sorted(set(locked.levels or ()) - set(learned.levels or ())):
                warnings.warn(
                    f"view {name!r}: only locked rows have the levels {new[:3]} of {locked.name!r}, so that no member "
                    "can learn them: they count as missing values there",
                    FoldstillWarning,
                    stacklevel=3,
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


def _settings(member: Member) -> dict[str, Any]:
    """The settings of a member and of its parts, and digests of the files that they name."""
    own = member.settings if isinstance(member, MadeFromSettings) else member
    described = [flat("member", settings_as_json(own)), _digests("file", own)]
    for part in member.parts:
        described += [flat(f"part.{part.name}", settings_as_json(part)), _digests(f"file.{part.name}", part)]
    return {name: value for each in described for name, value in each.items()}


def _digests(name: str, member: Any) -> dict[str, str]:
    return {f"{name}.{setting}": value for setting, value in digests_of_files(member).items()}


def _per_view(member: Member, values: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Named values of a member's view; of several views, each name with its view."""
    if len(member.views) == 1:
        return dict(values[member.views[0]])
    return {f"{key}.{view}": value for view in member.views for key, value in values[view].items()}


def _require_parts(pending: Sequence[Job]) -> None:
    """Raises MemberError unless everything that joined members start from is trained, or will be."""
    planned = {job.folder for job in pending}
    for job in pending:
        for name, stage in job.needs.items():
            if stage.folder not in planned and not stage.finished():
                raise MemberError(f"{job.name} joins {name!r}, which is not trained: train both together")


def _is_finished(job: Job, force: bool) -> bool:
    """Whether nothing is left to do; with `force`, what was made from other inputs counts as unfinished."""
    try:
        return job.stage.finished()
    except ExperimentError:
        if not force:
            raise
        return False


class _Bars:
    """Turns the progress of jobs into one bar per member, with the mean held-out KL of its finished models."""

    def __init__(self, work: Work, jobs: Sequence[Job], *, of_pairs: bool) -> None:
        self._report = work.report
        self._suffix, self._unit = (", pairs of folds", "pairs") if of_pairs else ("", "folds")
        self._n_models = {name: sum(job.member.name == name for job in jobs) for name in {j.member.name for j in jobs}}
        self._epochs: dict[str, dict[tuple[int, ...], int]] = {name: {} for name in self._n_models}
        self._held_out: dict[str, dict[tuple[int, ...], float]] = {name: {} for name in self._n_models}

    def __call__(self, progress: JobProgress) -> None:
        scores, n_models = self._held_out[progress.member], self._n_models[progress.member]
        notes = []
        if progress.held_out_kl is not None:
            scores[progress.folds] = progress.held_out_kl
        else:
            notes.append(f"training loss {progress.loss:.4f}")
        if scores:
            mean = sum(scores.values()) / len(scores)
            notes.append(f"held-out KL {mean:.4f} over {len(scores)} of {n_models} {self._unit}")
        # The last epoch counts when the held-out rows are scored, so that a full bar has its score.
        done = progress.epoch if progress.folds in scores else min(progress.epoch, progress.epochs - 1)
        epochs = self._epochs[progress.member]
        epochs[progress.folds] = done
        task = progress.member + self._suffix
        self._report(Progress(task, sum(epochs.values()), progress.epochs * n_models, ", ".join(notes)))


def predict_members(
    folder: Path,
    members: Sequence[AnyMember],
    views: Mapping[str, View],
    classes: Sequence[str],
    device: str = "auto",
    *,
    ids: Sequence[str] | None = None,
    recipes: Mapping[str, Recipe] = MappingProxyType({}),
    rows: Rows | None = None,
) -> FoldScores:
    """Scores of new rows by all K fold models of every member; `ids` default to the row numbers.

    With `rows`, of these rows of the views only, which are not copied first.

    `recipes` says how the rows of each view were prepared, where that is known.
    Raises MemberError for a member that is not trained, a view that is missing, or one of another shape.
    """
    resolved = resolve(members)
    for member in resolved:
        if isinstance(member, ImportedMember):
            raise MemberError(no_model(member.name))
    proba_KNMC = fold_scores(folder, resolved, views, classes, device, recipes=recipes, rows=rows)
    names = as_strings(np.arange(proba_KNMC.shape[1]) if ids is None else np.asarray(ids), "ids")
    families = tuple(m.family for m in resolved)
    return FoldScores(names, tuple(m.name for m in resolved), tuple(classes), proba_KNMC, families)
