"""Students as jobs: settings and a lesson become members that learn other targets, in folders where a training
continues.

N rows, C classes. Importing this module imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.jobs import Job, JobProgress, OnJobProgress, check_locks, clean_folders, run_jobs
from foldstill.base_models.member import Member
from foldstill.base_models.named_files import digests_of_files, settings_as_json
from foldstill.data.dataset import Dataset
from foldstill.data.estimators import saved_estimator
from foldstill.data.features import FeatureTable, View, array_of, view_digest
from foldstill.data.row_form import Recipe
from foldstill.data.simplex import Float, check_rows
from foldstill.data.temporary_map import joined_rows
from foldstill.data.training import Rows, TrainingSet
from foldstill.digests import digest
from foldstill.distill.settings import StudentSettings
from foldstill.distill.student import Student, student_of
from foldstill.distill.view_teachers import ViewTeachers
from foldstill.errors import DistillError
from foldstill.manifest import note_made_again, recorded_inputs
from foldstill.workers import Progress, Work

if TYPE_CHECKING:
    from foldstill.data.batch import BatchTeacher
    from foldstill.distill.hints import HintTeacher


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a student learns: its rows, their targets and weights, and who teaches augmented images and features."""

    rows: Rows
    target_NC: Float
    """Targets of these rows, then of the unlabelled rows."""
    weight_N: Float
    """Weights of these rows, then of the unlabelled rows."""
    teachers: ViewTeachers | None = None
    """Teachers of augmented images, for settings with views = "live" or "bank"."""
    banks: Path | None = None
    """Folder for the scores of recurring augmentation passes, for views = "bank"; students that are shown the same
    augmentations of the same rows by the same models share them."""
    hint: HintTeacher | None = None
    """Teacher of features, for settings with `features`."""
    unlabelled: View | None = None
    """Further inputs of the student's view without votes."""
    recipe: Recipe = field(default_factory=dict)
    """How the inputs of the student's view were prepared, where that is known."""
    group_N: NDArray[Any] | None = None
    """Group of each row of the inputs, which an inner split must not separate; each row on its own by default."""
    unlabelled_group_N: NDArray[Any] | None = None
    """Group of each unlabelled row that was made of rows of the data; each on its own by default."""


def train_student(
    settings: StudentSettings,
    dataset: Dataset,
    lesson: Lesson,
    folder: Path | str,
    *,
    seed: int = 0,
    work: Work = Work(),
) -> Student:
    """Train a student, or read it back if the folder holds it.

    Leaves weights.safetensors, history.csv and, last, done.json. An interrupted training continues from its last epoch.
    Raises ExperimentError, with every difference, for a folder made from other inputs, unless `work.force` is set.
    """
    view = dataset.view(settings.view)
    [job] = student_jobs(settings, view, dataset.labels.classes, lesson, {seed: Path(folder)})
    for _ in run_students([job], work, bar_per_student(work)):
        pass
    return student_of(job)


def bar_per_student(work: Work) -> OnJobProgress:
    """Reports the progress of each student as one bar."""

    def report(progress: JobProgress) -> None:
        work.report(Progress(progress.job, progress.epoch, progress.epochs, f"training loss {progress.loss:.4f}"))

    return report


def run_students(jobs: Sequence[Job], work: Work, on_progress: OnJobProgress) -> Iterator[Job]:
    """Train all students, and yield each job when it is finished, in any order; finished ones come first, untouched."""
    if work.force:
        note_made_again(job.stage for job in jobs)
    finished = {job.folder: job.stage.finished(force=work.force) for job in jobs}
    pending = [job for job in jobs if not finished[job.folder]]
    check_locks(pending)
    clean_folders(jobs, pending, force=work.force)
    yield from (job for job in jobs if finished[job.folder])
    yield from run_jobs(pending, work, on_progress)


def student_jobs(
    settings: StudentSettings,
    inputs: View,
    classes: tuple[str, ...],
    lesson: Lesson,
    folders: Mapping[int, Path],
    member: Member | None = None,
) -> list[Job]:
    """One job per seed and folder; `inputs` are all rows of the student's view.

    A `member` takes the place of the network that the settings name, such as one around a module of the caller.
    """
    array, rows = _with_unlabelled(settings, inputs, lesson)
    target = check_rows(lesson.target_NC, "the student's targets")
    if target.shape != (len(rows), len(classes)) or np.shape(lesson.weight_N) != (len(rows),):
        raise DistillError(
            f"targets and weights must be ({len(rows)}, {len(classes)}) and ({len(rows)},), "
            f"got {target.shape} and {np.shape(lesson.weight_N)}: make them for the rows that are trained on"
        )
    _check_teachers(settings, lesson)
    learner = settings.member() if member is None else member
    target_NC, weight_N = np.zeros((len(array), len(classes)), np.float32), np.zeros(len(array))
    target_NC[rows], weight_N[rows] = target, lesson.weight_N
    made_from: dict[str, Any] = {
        "member": _as_json(learner) if member is None else None,
        "targets": digest(target, np.asarray(lesson.weight_N)),
        "data": view_digest(array, rows),
        "shape": list(array.shape[1:]),
        "classes": list(classes),
    }
    if lesson.teachers is not None:
        made_from["teachers"] = {"views": settings.views, "bank_views": settings.bank_views} | lesson.teachers.made_from
    if lesson.hint is not None:
        made_from["hint"] = lesson.hint.made_from
    # A model that predicts a mixed image must have seen neither of its rows.
    asked = lesson.teachers or lesson.hint
    training_set = TrainingSet(
        {settings.view: array},
        classes,
        rows,
        target_NC,
        weight_N,
        group_N=_groups(lesson, len(array)),
        fold_N=None if asked is None else asked.fold_N,
        teacher=_batch_teacher(settings, lesson, made_from),
        hint=lesson.hint,
        recipes={settings.view: lesson.recipe},
    )
    return [
        Job(
            settings.name + (f", seed {seed}" if len(folders) > 1 else ""),
            learner,
            training_set,
            folder,
            {**made_from, **(_files(learner, folder) if member is None else {}), "seed": seed},
            seed,
            batch_seed=seed,
        )
        for seed, folder in folders.items()
    ]


def _files(learner: Member, folder: Path) -> dict[str, Any]:
    """Digests of the files that the settings of a student name, where there are any."""
    files = digests_of_files(learner, recorded_inputs(folder).get("files", {}))
    return {"files": files} if files else {}


def _with_unlabelled(settings: StudentSettings, inputs: View, lesson: Lesson) -> tuple[View, Rows]:
    """The inputs with the unlabelled rows after them, and the rows to learn from."""
    more = lesson.unlabelled
    if more is None:
        return inputs, lesson.rows
    rows = np.concatenate([lesson.rows, np.arange(len(inputs), len(inputs) + len(more))])
    if isinstance(inputs, FeatureTable):
        return inputs.joined(FeatureTable.of(more)), rows
    more = array_of(more, settings.view)
    if more.shape[1:] != inputs.shape[1:] or more.dtype != inputs.dtype:
        raise DistillError(
            f"unlabelled rows must be {inputs.dtype} of shape {inputs.shape[1:]} as the view {settings.view!r} is, "
            f"got {more.dtype} of {more.shape[1:]}: prepare them in the same way"
        )
    return joined_rows(inputs, more), rows


def _as_json(member: Member) -> Any:
    """The settings of a member as JSON values; an estimator as its skops file."""
    return json.loads(json.dumps(settings_as_json(member), default=saved_estimator))


def _groups(lesson: Lesson, n: int) -> NDArray[Any]:
    """Group of each row, as numbers; unlabelled rows are groups of their own unless the lesson names theirs."""
    if lesson.group_N is None:
        return np.arange(n)
    known = lesson.group_N
    if lesson.unlabelled_group_N is not None:
        known = np.concatenate([known, lesson.unlabelled_group_N])
    _, group_N = np.unique(known, return_inverse=True)
    return np.concatenate([group_N, np.arange(len(group_N), n)])


def _check_teachers(settings: StudentSettings, lesson: Lesson) -> None:
    """Raises DistillError for teachers that the settings need and the lesson lacks, or the other way round."""
    if (lesson.teachers is None) == settings.teachers_see_views:
        verb = "needs" if lesson.teachers is None else "takes no"
        raise DistillError(
            f"a student with views = {settings.views!r} {verb} teachers of augmented images: "
            'make them with view_teachers, or set views = "identity"'
        )
    if (settings.features is None) != (lesson.hint is None):
        verb = "needs" if lesson.hint is None else "takes no"
        raise DistillError(
            f"a student with features = {settings.features} {verb} hints: make them with hint_teacher from trained "
            "members, or leave `features` out"
        )
    if settings.views == "bank" and lesson.banks is None:
        raise DistillError("a bank of teacher scores needs a folder: give `banks` in the lesson")


def _batch_teacher(settings: StudentSettings, lesson: Lesson, made_from: Mapping[str, Any]) -> BatchTeacher | None:
    if settings.views != "bank" or lesson.teachers is None or lesson.banks is None:
        return lesson.teachers
    from foldstill.distill.bank import BankTeacher

    recipe, n_rows = settings.recipe, len(lesson.target_NC)
    batch_size = min(recipe.batch_size, n_rows)
    bank_from = {
        "data": made_from["data"],
        "models": lesson.teachers.made_from["models"],
        "size": settings.image_size,
        "batch_size": batch_size,
        "augmentation": [asdict(each) for each in recipe.augment],
    }
    folder = lesson.banks / digest(bank_from)
    return BankTeacher(lesson.teachers, folder, bank_from, n_rows // batch_size, settings.bank_views)
