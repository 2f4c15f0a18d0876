"""How far the tasks of a stage are."""

from collections.abc import Callable
from dataclasses import dataclass


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
