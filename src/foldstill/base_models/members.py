"""Members over folds: the one loop that trains them, and the predictions of their fold models for new rows.

N rows, M members, C classes, K fold models. Importing this module imports no torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from foldstill.base_models.device import device_for
from foldstill.base_models.fold_models import fold_scores
from foldstill.base_models.gpu_slots import check_slots
from foldstill.base_models.imported_member import ImportedMember, no_model
from foldstill.base_models.jobs import Job, JobProgress, check_locks, clean_folders, run_jobs
from foldstill.base_models.joined_member import AnyMember, resolve
from foldstill.base_models.member import is_made_elsewhere
from foldstill.base_models.member_bars import MemberBars
from foldstill.base_models.planned_jobs import planned_jobs
from foldstill.base_models.recipes import check_recipes
from foldstill.data.dataset import Dataset
from foldstill.data.features import FeatureTable, View
from foldstill.data.folds import FoldPlan
from foldstill.data.row_form import Recipe
from foldstill.data.text import as_strings
from foldstill.data.training import Rows
from foldstill.errors import ExperimentError, FoldstillWarning, MemberError
from foldstill.manifest import note_made_again
from foldstill.oof.table import FoldScores
from foldstill.workers import Work


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
    jobs = planned_jobs(members, dataset, plan, folder, seed, left_out=2 if pairs else 1)
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
    jobs = planned_jobs(members, dataset, plan, folder, seed, left_out=2 if of_pairs else 1)
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
    bars = MemberBars(work, jobs, of_pairs=of_pairs)
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
    pending = _checked(planned_jobs(members, dataset, plan, folder, seed, left_out=2 if pairs else 1), work)
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
