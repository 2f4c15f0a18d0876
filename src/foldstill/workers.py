"""How work is done: number of processes, device, and what receives the progress."""

from collections.abc import Callable
from dataclasses import dataclass

from foldstill.arguments import require_types
from foldstill.errors import ArgumentError


@dataclass(frozen=True)
class Progress:
    """How far one task is: `done` out of `total`, with a note such as the current score."""

    task: str
    done: float
    total: float
    note: str = ""


OnProgress = Callable[[Progress], None]
"""Called again and again while a task runs, from one thread at a time."""


def silent(progress: Progress) -> None:
    """An `OnProgress` that shows nothing."""


@dataclass(frozen=True)
class Work:
    """How a stage is run. None of these values changes a result."""

    workers: int | None = None
    """Number of processes of one thread each on a CPU; None for one per core."""
    device: str = "auto"
    """Where networks run: auto, cpu or cuda."""
    force: bool = False
    """Whether finished work is done again."""
    report: OnProgress = silent
    """Receives the progress of every task."""

    def __post_init__(self) -> None:
        require_types(Work, vars(self))
        if self.workers is not None and self.workers < 1:
            raise ArgumentError(f"workers of Work must be 1 or more, or None for one per core, got {self.workers}")

    @property
    def n_workers(self) -> int:
        """The number of processes: `workers`, or the number of cores."""
        from joblib import cpu_count

        return self.workers or int(cpu_count())
