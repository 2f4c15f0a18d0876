"""Training histories of a run's members and students, as they stand on disk while and after they are trained."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from foldstill.manifest import DONE, check_files, has_file, read_done
from foldstill.pipeline.rundir import RunDir

HISTORY = "history.csv"
_METRICS = ("loss", "inner_kl", "lr")
"""What a history has of every epoch; KL only where there is an inner split."""


class Curve(NamedTuple):
    """One training: what is known of its first epochs, and the KL on held-out rows when it is finished."""

    name: str
    """The folder of the training inside the run, such as `members/cnn/fold-0`."""
    points: tuple[dict[str, float], ...]
    """Per epoch the values of its metrics."""
    end: dict[str, float]


def curves(run: RunDir) -> Iterator[Curve]:
    """Every training of a run that has begun, by name."""
    trainings = (run.members, run.student, run.student_without_teacher, run.ablations)
    marks = [path for folder in trainings for name in (DONE, "checkpoint-1.safetensors") for path in folder.rglob(name)]
    for folder in sorted({mark.parent for mark in marks}):
        points, end = tuple(finished_history(folder)), {}
        if (folder / DONE).exists():
            held_out = read_done(folder).get("held_out_kl")
            end = {} if held_out is None else {"held_out_kl": float(held_out)}
        elif not points:
            points = tuple(_running_history(folder))
        if points or end:
            yield Curve(folder.relative_to(run.root).as_posix(), points, end)


def finished_history(folder: Path) -> list[dict[str, float]]:
    """One record per epoch of a finished training: loss, learning rate, and KL on the inner split if there is one.

    Empty for a member that keeps no history, and for a training that is not finished.
    """
    path = folder / HISTORY
    if not has_file(path):
        return []
    check_files(folder, HISTORY)
    with path.open(encoding="utf-8", newline="") as lines:
        return [{name: float(line[name]) for name in _METRICS if line[name]} for line in csv.DictReader(lines)]


def _running_history(folder: Path) -> Iterator[dict[str, float]]:
    """The same records of a training that goes on, from its checkpoints, which are one per phase."""
    from foldstill.base_models.tensor_file import read_about

    for path in sorted(folder.glob("checkpoint-*.safetensors")):
        try:
            epochs = read_about(path)["history"]
        except FileNotFoundError:
            return  # finished in between
        yield from ({name: float(epoch[name]) for name in _METRICS if epoch[name] is not None} for epoch in epochs)
