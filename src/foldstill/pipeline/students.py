"""The trainings of a run's students, and what the pipeline knows about each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from foldstill.base_models.jobs import Job, OnJobProgress
from foldstill.distill.settings import StudentSettings
from foldstill.distill.training import run_students
from foldstill.workers import Work


@dataclass(frozen=True, eq=False)
class StudentJob:
    """The training of one student from one seed."""

    settings: StudentSettings
    job: Job
    fold: int | None = None
    """The fold it is scored on, where it is cross-validated."""


def train_all(jobs: Sequence[StudentJob], work: Work, on_progress: OnJobProgress) -> Iterator[StudentJob]:
    """Train all students, and yield each when it is finished, in any order."""
    by_folder = {each.job.folder: each for each in jobs}
    for job in run_students([each.job for each in jobs], work, on_progress):
        yield by_folder[job.folder]
