"""Students to train, and the training of many: side by side on a CPU, one after the other on a GPU.

N rows, C classes.
"""

import multiprocessing
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.dataset import Dataset
from foldstill.distill import StudentSettings, train_student
from foldstill.distill.view_teachers import ViewTeachers
from foldstill.pipeline.run import Run
from foldstill.workers import OnProgress, Progress

if TYPE_CHECKING:
    from queue import Queue

    from foldstill.base_models.engine import Epoch
    from foldstill.distill.hints import HintTeacher


@dataclass(frozen=True)
class Lesson:
    """One student to train: settings, the rows it learns from and their targets, seed and place."""

    settings: StudentSettings
    rows: NDArray[np.intp]
    target_NC: NDArray[np.float64]
    weight_N: NDArray[np.float64]
    seed: int
    folder: Path
    teachers: ViewTeachers | None = None
    """Asked about augmented views, where the settings want that."""
    hint: "HintTeacher | None" = None
    """Whose features it is drawn to."""
    unlabelled: NDArray[Any] | None = None
    """Further inputs of its view that nobody voted on; their targets come after those of the voted rows."""
    fold: int | None = None
    """The fold it is scored on, where it is cross-validated."""

    @property
    def name(self) -> str:
        of_fold = "" if self.fold is None else f", fold {self.fold}"
        return self.settings.name + of_fold + (f", seed {self.seed}" if self.settings.seeds > 1 else "")


def learned(run: Run, lessons: list[Lesson]) -> Iterator[Lesson]:
    """Each lesson once it is learned, in order: side by side in processes of one thread on a CPU, one after the other on a GPU."""
    import joblib
    import torch

    on_gpu = run.work.device == "cuda" or (run.work.device == "auto" and torch.cuda.is_available())
    jobs = 1 if on_gpu else min(len(lessons), run.work.n_workers)
    if jobs == 1:
        for lesson in lessons:
            _learn(lesson, run.dataset, run.work.device, run.work.force, run.work.report)
            yield lesson
        return
    with _across_processes(run.work.report) as queue:
        calls = (
            joblib.delayed(_learn_elsewhere)(lesson, run.dataset, run.work.device, run.work.force, queue)
            for lesson in lessons
        )
        ends = joblib.Parallel(n_jobs=jobs, return_as="generator", batch_size=1)(calls)
        for lesson, _ in zip(lessons, ends, strict=True):
            yield lesson


def _learn(lesson: Lesson, dataset: Dataset, device: str, force: bool, report: OnProgress) -> None:
    epochs = lesson.settings.recipe.epochs

    def tell(epoch: "Epoch") -> None:
        report(Progress(lesson.name, epoch.epoch + 1, epochs, f"training loss {epoch.loss:.4f}"))

    train_student(
        lesson.settings,
        dataset,
        lesson.rows,
        lesson.target_NC,
        lesson.weight_N,
        lesson.folder,
        seed=lesson.seed,
        device=device,
        force=force,
        teachers=lesson.teachers,
        hint=lesson.hint,
        unlabelled=lesson.unlabelled,
        on_progress=tell,
    )


def _learn_elsewhere(lesson: Lesson, dataset: Dataset, device: str, force: bool, queue: "Queue[Any]") -> None:
    _learn(lesson, dataset, device, force, queue.put)


@contextmanager
def _across_processes(report: OnProgress) -> Iterator["Queue[Any]"]:
    """A queue that other processes report into, read here until the block ends."""
    with multiprocessing.Manager() as manager:
        queue: Queue[Any] = manager.Queue()

        def listen() -> None:
            while (progress := queue.get()) is not None:
                report(progress)

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            yield queue
        finally:
            queue.put(None)
            listener.join()
