"""Scores of any ensemble in, a trained student out: what a notebook calls.

N rows, M members, C classes. This module imports nothing but the standard library until `distill` is called, because
`import foldstill` imports it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from torch import nn

    from foldstill.base_models.member import Member
    from foldstill.data.features import View
    from foldstill.data.simplex import Float
    from foldstill.distill.settings import StudentSettings
    from foldstill.distill.student import Student
    from foldstill.workers import Work


_MAX_SEEDS = 1000


def distill(
    teacher: ArrayLike,
    inputs: Any,
    votes: ArrayLike,
    student: str | StudentSettings | Member | nn.Module = "small",
    *,
    classes: Sequence[str] | None = None,
    folder: Path | str | None = None,
    seeds: int | Sequence[int] = 1,
    work: Work | None = None,
) -> Student:
    """Train a student from the held-out scores of any ensemble.

    Parameters
    ----------
    teacher : array of shape (N, C) or (N, M, C)
        Probabilities. Those of M members are each calibrated on the votes and then averaged. They must come from models
        that did not see the row; otherwise they only repeat its votes.
    inputs : array of shape (N, H, W, channels), (N, channels, T) or (N, F), or frame
        Images, signals or features of the same rows, unscaled.
    votes : array of shape (N, C)
        Number of votes per row and class. A row of zeros has no votes and learns from the teacher alone.
    student : str, StudentSettings, Member or torch.nn.Module, default "small"
        A named size, the name of a timm network, settings, a member that is no network (such as `LightGBMMember`), or
        a module that gives logits, which is trained in place.
    classes : sequence of str, optional
        Names of the C classes; c0, c1, ... by default.
    folder : path, optional
        Where the student is kept and an interrupted call continues; nothing is kept by default.
    seeds : int or sequence of int, default 1
        Number of students, trained from the seeds 0, 1, ..., or the seeds themselves. They replace the seeds in
        settings.
    work : Work, optional
        Number of processes, device, and who receives the progress.

    Returns
    -------
    Student
        The student of the first seed, with the others as its `further_seeds`; `student.kl(rows, votes)` gives mean and
        standard deviation over the seeds. A claim about a student needs three.

    Raises
    ------
    DistillError
        If the arrays do not fit together, or settings need the trained members of a run.

    Examples
    --------
    >>> import numpy as np
    >>> from foldstill import Recipe, StudentSettings
    >>> images = np.zeros((8, 16, 16, 3), np.uint8)
    >>> votes = np.eye(2)[np.arange(8) % 2]
    >>> settings = StudentSettings(network="test_resnet", recipe=Recipe(epochs=1, batch_size=4))
    >>> student = distill(0.8 * votes + 0.1, images, votes, settings)
    >>> student.predict(images).shape
    (8, 2)
    """
    arguments = dict(locals())
    from dataclasses import replace

    import numpy as np
    from numpy.typing import ArrayLike, NDArray
    from torch import nn

    from foldstill.arguments import require_types
    from foldstill.base_models.member import Member
    from foldstill.distill.mixes import mix_votes
    from foldstill.distill.settings import StudentSettings
    from foldstill.distill.student import row_hashes, student_of
    from foldstill.distill.training import Lesson, bar_per_student, run_students, student_jobs
    from foldstill.errors import DistillError
    from foldstill.workers import Work

    names_used = {
        "ArrayLike": ArrayLike,
        "NDArray": NDArray,
        "nn": nn,
        "StudentSettings": StudentSettings,
        "Member": Member,
        "Work": Work,
    }
    require_types(distill, arguments, names=names_used)
    inputs, scores, votes_NC = _checked(teacher, inputs, votes)
    settings, member = _student(student)
    _refuse_what_needs_a_run(settings)
    seed_list = list(range(min(seeds, _MAX_SEEDS + 1))) if isinstance(seeds, int) else list(seeds)
    if len(seed_list) > _MAX_SEEDS:
        raise DistillError(f"seeds must be {_MAX_SEEDS} or fewer, got {seeds}: three show the spread")
    if not seed_list or len(set(seed_list)) < len(seed_list) or (len(seed_list) > 1 and member is not None):
        raise DistillError(
            "seeds must be 1 or more, all different, and 1 for a module, which has its first weights already, got "
            f"{seeds}: build one module per seed and call distill on each"
        )
    names = tuple(f"c{i}" for i in range(scores.shape[1])) if classes is None else tuple(map(str, classes))
    _require_names(names, scores.shape[1])
    target, weight = mix_votes(votes_NC, scores, settings.mix, weight=settings.row_weight)
    lesson, work = Lesson(np.arange(len(inputs)), target, weight), work or Work()
    with _kept(folder) as place:
        folders = {seed: place if index == 0 else place / f"seed-{index}" for index, seed in enumerate(seed_list)}
        jobs = student_jobs(settings, inputs, names, lesson, folders, member)
        for _ in run_students(jobs, work, bar_per_student(work)):
            pass
        first, *others = map(student_of, jobs)
    return replace(first, further_seeds=tuple(others), taught=frozenset(row_hashes(inputs)))


def _checked(teacher: ArrayLike, inputs: Any, votes: ArrayLike) -> tuple[View, Float, NDArray[Any]]:
    """The inputs as a view; the teacher's scores (N, C), averaged and calibrated if of members; and the votes."""
    import numpy as np

    from foldstill.data.features import FeatureTable, as_view
    from foldstill.data.simplex import check_rows
    from foldstill.data.text import as_numbers
    from foldstill.errors import DataError, DistillError
    from foldstill.oof.temperatures import fit_temperature, tempered

    try:
        inputs = as_view(inputs)
    except DataError as error:
        raise DistillError(f"inputs: {error}") from None
    votes_NC = as_numbers(votes, "votes")
    scores = check_rows(teacher, "the teacher's scores")
    is_view = isinstance(inputs, np.ndarray | FeatureTable)
    if not is_view or inputs.ndim not in (2, 3, 4) or inputs.dtype.kind not in "uif":
        received = (
            f"{inputs.dtype} of shape {inputs.shape}: add the missing axis"
            if is_view
            else (f"{type(inputs).__name__}: give a NumPy array, or a frame of features")
        )
        raise DistillError(
            "inputs must be images (N, H, W, channels), signals (N, channels, T) or features (N, F) of numbers, got "
            f"{received}"
        )
    if votes_NC.ndim != 2:
        raise DistillError(
            f"votes must be counts (rows, classes), got shape {votes_NC.shape}: give one column per class"
        )
    if not len(inputs) == len(scores) == len(votes_NC) or votes_NC.shape[-1] != scores.shape[-1]:
        raise DistillError(
            f"teacher {scores.shape}, inputs {inputs.shape} and votes {votes_NC.shape} must have the same rows, and "
            "teacher and votes the same classes: align them by id"
        )
    if not np.isfinite(votes_NC).all() or (votes_NC < 0).any():
        raise DistillError(
            f"votes must be counts of 0 or more, got values from {votes_NC.min():g} to {votes_NC.max():g}"
        )
    if scores.ndim == 3:
        voted = votes_NC.sum(axis=1) > 0
        if voted.any():
            temperatures = [fit_temperature(scores[voted, m], votes_NC[voted]) for m in range(scores.shape[1])]
            scores = tempered(scores, temperatures)
        scores = scores.mean(axis=1)
    return inputs, scores, votes_NC


def _require_names(classes: tuple[str, ...], n_classes: int) -> None:
    from foldstill.errors import DistillError

    if len(classes) != n_classes or len(set(classes)) < n_classes:
        raise DistillError(
            f"classes must be {n_classes} different names, one per column of votes, got {list(classes)}: name them all"
        )


def _student(student: str | StudentSettings | Member | nn.Module) -> tuple[StudentSettings, Any]:
    """Settings, and the member around a module of the caller, if that is what was given."""
    from torch import nn

    from foldstill.distill.module_member import ModuleMember
    from foldstill.distill.settings import StudentSettings

    if isinstance(student, str):
        return StudentSettings(network=student), None
    if isinstance(student, StudentSettings):
        return student, None
    if not isinstance(student, nn.Module):
        return StudentSettings(learner=student), None
    settings = StudentSettings(network=type(student).__name__)
    return settings, ModuleMember(settings.name, student, settings.view, settings.taught_recipe)


def _refuse_what_needs_a_run(settings: StudentSettings) -> None:
    """Raises DistillError for settings that need trained members or locked test rows."""
    from foldstill.distill.settings import StudentSettings
    from foldstill.errors import DistillError

    usual = StudentSettings()
    names = ("views", "features", "uncertainty", "unlabelled", "cross_validate", "ablation")
    changed = [name for name in names if getattr(settings, name) != getattr(usual, name)]
    if changed:
        raise DistillError(
            f"{changed} of the student need the trained members of a run: leave them out, or use `foldstill run`"
        )


@contextmanager
def _kept(folder: Path | str | None) -> Iterator[Path]:
    """The folder, or a temporary one."""
    from tempfile import TemporaryDirectory

    if folder is not None:
        # Not locked here: every training locks its own folder, and that of the first seed is this one.
        yield Path(folder)
        return
    with TemporaryDirectory() as scratch:
        yield Path(scratch)
