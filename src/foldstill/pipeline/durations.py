"""How long the stages of a run took: seconds on the wall, and of processors in this process and its workers.

They are kept beside the run and are no input or output of any stage: two runs with the same results have other times.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, get_args

from foldstill.errors import ExperimentError, FoldstillError
from foldstill.json_files import Shape, check_shape, read_json, write_json
from foldstill.manifest import DONE
from foldstill.pipeline.run import Run
from foldstill.workers import cpu_of_workers

Stage = Literal["train", "oof build", "stack", "distill", "compare"]
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def timed(
    stage: Stage,
) -> Callable[[Callable[Concatenate[Run, Arguments], Result]], Callable[Concatenate[Run, Arguments], Result]]:
    """Decorator of a stage, whose time is added to durations.json of the run.

    An interrupted call counts, because its work is kept. A call that is refused or finds everything finished changes
    nothing. With `force` the stage is done again, and its time begins again.
    """

    def decorate(act: Callable[Concatenate[Run, Arguments], Result]) -> Callable[Concatenate[Run, Arguments], Result]:
        @wraps(act)
        def timed_act(run: Run, /, *arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
            with _measured(run, stage):
                return act(run, *arguments, **options)

        return timed_act

    return decorate


@dataclass(frozen=True)
class Duration:
    """The time that a stage of a run took, summed over its calls."""

    stage: Stage
    calls: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    """Of all processors, in this process and its workers."""


def durations(run: Run) -> list[Duration]:
    """The duration of every stage that was done, in their order; empty for a run of an earlier version."""
    kept = _kept(run)
    return [Duration(stage, **kept[stage]) for stage in get_args(Stage) if stage in kept]


def durations_note(run: Run) -> str:
    """The durations of what comes before the comparison in one line; empty where there are none."""
    before = [one for one in durations(run) if one.stage != "compare"]
    return ", ".join(f"{one.stage} {one.wall_s:.1f} s (CPU {one.cpu_s:.1f} s)" for one in before)


@contextmanager
def _measured(run: Run, stage: Stage) -> Iterator[None]:
    before = {one.stage: one for one in durations(run)}.get(stage)
    if before is None or run.work.force:
        before = Duration(stage)
    wall_s, cpu_s, marks = time.perf_counter(), _cpu_s(), _marks(run, stage)
    try:
        yield
    except FoldstillError:
        raise
    except BaseException:
        if run.dir.root.exists():
            _write(run, before, time.perf_counter() - wall_s, _cpu_s() - cpu_s)
        raise
    if _marks(run, stage) != marks:
        _write(run, before, time.perf_counter() - wall_s, _cpu_s() - cpu_s)


def _marks(run: Run, stage: Stage) -> dict[Path, int]:
    """When each file was written that a stage leaves as its last one."""
    folder = run.dir
    students = (folder.student, folder.student_without_teacher, folder.ablations)
    of_folders = {"train": (folder.members,), "stack": (folder.stacking,), "distill": students}.get(stage, ())
    of_files = {"oof build": (folder.oof, folder.test), "compare": (folder.comparison,)}.get(stage, ())
    paths = [mark for each in of_folders for mark in each.rglob(DONE)] + [path for path in of_files if path.exists()]
    return {path: path.stat().st_mtime_ns for path in paths}


def _cpu_s() -> float:
    return time.process_time() + cpu_of_workers()


def _write(run: Run, before: Duration, wall_s: float, cpu_s: float) -> None:
    total = {
        "calls": before.calls + 1,
        "wall_s": round(before.wall_s + wall_s, 2),
        "cpu_s": round(before.cpu_s + cpu_s, 2),
    }
    kept = vars(run)["durations"] = _kept(run) | {before.stage: total}
    write_json(run.dir.durations, kept)


def _kept(run: Run) -> dict[str, Any]:
    """The content of the file, which is read once per run."""
    if "durations" not in vars(run):
        vars(run)["durations"] = _read(run)
    kept: dict[str, Any] = vars(run)["durations"]
    return kept


def _read(run: Run) -> dict[str, Any]:
    if not run.dir.durations.exists():
        return {}
    cure = "remove it, nothing depends on it"
    kept: dict[str, Any] = read_json(run.dir.durations, dict, sealed=False, error=ExperimentError, cure=cure)
    shape: Shape = {"calls": int, "wall_s": (int, float), "cpu_s": (int, float)}
    for values in kept.values():
        check_shape(values, shape, run.dir.durations, error=ExperimentError, cure=cure)
    return kept
