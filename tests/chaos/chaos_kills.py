"""Commands that are killed at random moments, called again until they are done, and compared with calls that were not.

Each call is a fork of this process, which has imported everything, so that kills hit the work and not the imports.
"""

import contextlib
import importlib
import json
import math
import os
import pkgutil
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

EXPERIMENT = """
name = "tiny"
[data]
kind = "digits"
rows = 100
size = 16
[folds]
n_folds = 2
test_share = 0.3
[recipe]
epochs = 2
batch_size = 32
[[member]]
name = "a"
network = "test_resnet"
[[member]]
name = "b"
network = "test_resnet"
[[stacking.combiner]]
kind = "average"
[[stacking.combiner]]
kind = "recalibrated"
[student]
network = "test_resnet"
teacher = "recalibrated"
seeds = 1
without_teacher = false
[tune]
trials = 3
startup = 2
search = [{ kind = "float", field = "recipe.lr", low = 0.001, high = 0.02, log = true }]
"""
PART_ROWS = 4
"""Rows per part of a preparation, so that a few recordings have several parts."""
LATE_IMPORTS = (
    *("timm", "torch", "safetensors.torch", "pandas", "pyarrow.parquet", "scipy.optimize", "scipy.stats", "jinja2"),
    *("sklearn.datasets", "sklearn.linear_model", "sklearn.model_selection", "matplotlib.pyplot", "joblib", "optuna"),
)
"""What foldstill imports where it uses it."""
FILE_EVENTS = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"})
"""Events of Python before which a call can be killed, where they are about a file of its folder."""
MAX_KILLS = 6
"""Maximum number of kills before a folder is finished and compared."""
ORPHAN_S = 5.0
"""Seconds after which no process of a killed call may be alive."""
WITHOUT = {"done.json": ("cpu_s", "foldstill_seal")}
"""What may differ between two calls: the CPU time of a training, and with it the digest inside its file."""
IGNORED = ("journal.log", "durations.json")
"""Beginnings of names: Optuna's journal holds dates, and its locks are removed when old; durations are times."""
DURATIONS = re.compile(rb"<dt>durations</dt><dd>[^<]*</dd>")
"""What may differ between two reports."""


@dataclass(frozen=True)
class Scenario:
    """A command, with `{}` for its folder, and how it is killed."""

    name: str
    arguments: tuple[str, ...]
    share: float
    """Share of all kills."""
    first: tuple[str, ...] = ()
    """Further options of the first call in a folder, which then holds what an undisturbed call left."""
    processes: bool = False
    """Whether other processes work for it; half of the kills then hit the call alone, not those."""

    def command(self, folder: Path, *options: str) -> list[str]:
        return [*(each.format(folder) for each in self.arguments), *options]


@dataclass(frozen=True)
class Moment:
    """When a call is killed: after seconds, or before one of its file operations."""

    seconds: float | None = None
    operation: int | None = None
    alone: bool = False


@dataclass
class Tally:
    """What became of a scenario."""

    folders: int = 0
    by_time: int = 0
    by_operation: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return self.by_time + self.by_operation


def scenarios(world: Path) -> list[Scenario]:
    """All scenarios, in a folder that `make_world` has filled."""
    run = ("run", str(world / "tiny.toml"), "-q", "--out", "{}", "--workers")
    prepare = ("prepare", str(world / "hms"), "-q", "--cache", "{}", "--view", "mel", "raw_eeg", "--workers", "1")
    tune = ("tune", str(world / "tiny.toml"), "-q", "--folder", "{}", "--out", "{}/tuned.toml")
    return [
        Scenario("run", (*run, "1"), 0.4),
        Scenario("run of two processes", (*run, "2"), 0.05, processes=True),
        Scenario("run --force", (*run, "1"), 0.15, first=("--force",)),
        Scenario("prepare", prepare, 0.25),
        Scenario("tune", tune, 0.15),
    ]


def make_world(folder: Path, chosen: Sequence[Scenario]) -> None:
    """The files that the scenarios read."""
    (folder / "tiny.toml").write_text(EXPERIMENT)
    if any(one.name == "prepare" for one in chosen):
        made = call(["synth-hms", str(folder / "hms"), "-q", "--patients", "6", "--recordings", "2"], folder)
        assert made.code == 0


@dataclass(frozen=True)
class Ended:
    """How a call ended: its exit code, None if it was killed, and whether processes of it were alive afterwards."""

    code: int | None
    orphans: bool = False


def call(command: list[str], folder: Path, moment: Moment | None = None) -> Ended:
    """Run a command in a process of its own, which is killed at the moment if it is not done by then.

    The number of its file operations is left beside the folder when it is done.
    """
    child = os.fork()
    if child == 0:
        _work(command, folder, moment)
    seconds = math.inf if moment is None or moment.seconds is None else moment.seconds
    deadline, status = time.monotonic() + seconds, 0
    while not status and time.monotonic() < deadline:
        time.sleep(0.002)
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid and os.WIFEXITED(status):
            return Ended(os.waitstatus_to_exitcode(status))
    if not status:
        _kill(child, alone=moment is not None and moment.alone)
        os.waitpid(child, 0)
    deadline = time.monotonic() + ORPHAN_S
    while (orphans := _is_alive(child)) and time.monotonic() < deadline:
        time.sleep(0.02)
    _kill(child, alone=False)
    return Ended(None, orphans)


def _kill(group: int, *, alone: bool) -> None:
    with contextlib.suppress(ProcessLookupError):
        (os.kill if alone else os.killpg)(group, signal.SIGKILL)


def _is_alive(group: int) -> bool:
    """Whether a process of the group works; zombies do not."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of = path.read_text().rpartition(")")[2].split()[:3]
            if int(of) == group and state != "Z":
                return True
    return False


def _work(command: list[str], folder: Path, moment: Moment | None) -> None:
    """The command, in the forked process, which ends here."""
    os.setsid()
    code = 1
    try:
        log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        _fix_what_differs()
        counted = _count_operations(folder, moment)
        sys.argv = ["foldstill", *command]
        from foldstill.cli import main

        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        Path(f"{folder}.operations").write_text(str(counted[0]))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _fix_what_differs() -> None:
    """Latencies are not measured, figures are not drawn, and a preparation has several parts."""
    from matplotlib.figure import Figure

    from foldstill.cost import measure

    # `foldstill.hms.prepare` is the function of the package; this is the module that it is in.
    importlib.import_module("foldstill.hms.prepare").PART_ROWS = PART_ROWS  # type: ignore[attr-defined]
    always = measure.Latency("eager", 1, 1.0, 1.0, 1, "none")
    measure.measure_latency = lambda *_, **__: always  # type: ignore[assignment]
    # They cost as much as the rest of the call, and are part of a report that is written whole.
    Figure.savefig = lambda _, target, **__: target.write("<svg></svg>")  # type: ignore[method-assign]


def _count_operations(folder: Path, moment: Moment | None) -> list[int]:
    """The number of file operations so far, in a list; the process is killed before that of the moment."""
    counted, inside = [0], str(folder)

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        if event in FILE_EVENTS and arguments and str(arguments[0]).startswith(inside):
            counted[0] += 1
            if moment is not None and counted[0] == moment.operation:
                _kill(os.getpid(), alone=moment.alone)
                time.sleep(60)  # until the signal arrives

    sys.addaudithook(count)
    return counted


def import_everything() -> None:
    """Import what calls import, so that each of them begins with the work."""
    import foldstill

    for module in pkgutil.walk_packages(foldstill.__path__, "foldstill."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in LATE_IMPORTS:
        importlib.import_module(name)


def content(folder: Path) -> dict[str, bytes]:
    """Every file and folder below a folder, with the bytes that must be the same after any kills."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if not path.name.startswith(IGNORED):
            found[str(path.relative_to(folder))] = b"" if path.is_dir() else _bytes(path)
    return found


def _bytes(path: Path) -> bytes:
    if path.name == "report.html":
        return DURATIONS.sub(b"", path.read_bytes())
    if path.name not in WITHOUT:
        return path.read_bytes()
    values: Mapping[str, Any] = json.loads(path.read_text())
    kept = {name: value for name, value in values.items() if name not in WITHOUT[path.name]}
    return json.dumps(kept, sort_keys=True).encode()


@dataclass
class Campaign:
    """Kills of one scenario in folders below `scratch`; `rng` draws their moments."""

    scenario: Scenario
    scratch: Path
    rng: np.random.Generator
    reference: Path
    """What an undisturbed call left."""
    seconds: float
    operations: int
    tally: Tally = field(default_factory=Tally)

    @classmethod
    def of(cls, scenario: Scenario, scratch: Path, rng: np.random.Generator) -> "Campaign":
        """Measure an undisturbed call."""
        reference = scratch / scenario.name.replace(" ", "-")
        campaign, start = cls(scenario, scratch, rng, reference, 0.0, 0), time.monotonic()
        campaign._finish(reference)
        seconds = time.monotonic() - start
        return replace(campaign, seconds=seconds, operations=int(Path(f"{reference}.operations").read_text()))

    def kill(self, n: int) -> None:
        """Kill calls until there were n kills; each folder is finished and compared."""
        while self.tally.kills < n:
            folder = self.scratch / f"{self.scenario.name.replace(' ', '-')}-folder-{self.tally.folders}"
            if self.scenario.first:
                shutil.copytree(self.reference, folder)
            options, wanted = self.scenario.first, int(self.rng.integers(1, MAX_KILLS + 1))
            for _ in range(min(wanted, n - self.tally.kills)):
                if not self._kill_once(folder, options):
                    break
                options = ()
            self._finish(folder, options)
            self._compare(folder)
            self.tally.folders += 1
            shutil.rmtree(folder, ignore_errors=True)

    def _kill_once(self, folder: Path, options: tuple[str, ...]) -> bool:
        """Whether a call was killed before it was done."""
        moment = self._moment()
        ended = call(self.scenario.command(folder, *options), folder, moment)
        if ended.code:
            self._fault(folder, f"ended with {ended.code}")
        if ended.orphans:
            self._fault(folder, f"its processes are alive {ORPHAN_S:g} s after it was killed")
        if ended.code is not None:
            return False
        if moment.seconds is None:
            self.tally.by_operation += 1
        else:
            self.tally.by_time += 1
        return True

    def _moment(self) -> Moment:
        share = self.rng.uniform(0, 0.8)
        alone = self.scenario.processes and bool(self.rng.integers(2))
        if self.rng.integers(2):
            return Moment(seconds=share * self.seconds, alone=alone)
        return Moment(operation=1 + int(share * self.operations), alone=alone)

    def _finish(self, folder: Path, options: tuple[str, ...] = ()) -> None:
        ended = call(self.scenario.command(folder, *options), folder)
        if ended.code != 0:
            self._fault(folder, f"ended with {ended.code}")

    def _compare(self, folder: Path) -> None:
        right, found = content(self.reference), content(folder)
        for name in sorted(right.keys() | found.keys()):
            if name not in found or name not in right:
                self._fault(folder, f"{name} is {'missing' if name in right else 'left over'}")
            elif found[name] != right[name]:
                self._fault(folder, f"{name} differs")

    def _fault(self, folder: Path, what: str) -> None:
        log = Path(f"{folder}.log")
        self.tally.faults.append(f"{self.scenario.name}, {folder.name}: {what}: {log.read_text()[-600:]}")
