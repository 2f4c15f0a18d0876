"""One case of the campaign, how it is run, and what is measured."""

import hashlib
import shutil
import signal
import traceback
import types
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fuzz_world import call

Verdict = Literal["refused", "accepted", "accepted in silence", "traceback", "hang", "half-written"]
SECONDS = 60
"""A case that takes longer counts as a hang."""


class ReachedTraining(BaseException):
    """Raised in place of training: every check before it has passed."""


class Hang(BaseException):
    """Raised when a case takes too long."""


def _nothing(folder: Path) -> None:
    pass


@dataclass(frozen=True)
class Case:
    """One input: the files it needs, how they are damaged, and a command line or a function that reads them."""

    name: str
    """What is wrong with the input; unique in the campaign."""
    kind: str
    """The kind of input, one line of the table of figures."""
    run: Sequence[str] | Callable[[Path], object]
    """Arguments of a command, or a function of the case's folder."""
    needs: Sequence[str] = ()
    """Files and folders of the world that are copied into the case's folder."""
    prepare: Callable[[Path], object] = _nothing
    """Damages the copied files."""
    places: Sequence[str] = ()
    """Words of which a refusal must contain one: the file, column, member, option or parameter."""
    must_refuse: bool = True
    """Whether the input is wrong. Otherwise it may be accepted or refused, but without a traceback."""


@dataclass(frozen=True)
class Outcome:
    case: Case
    verdict: Verdict
    message: str
    place_named: bool = True

    @property
    def is_fault(self) -> bool:
        return self.verdict not in ("refused", "accepted")


def run_case(case: Case, world: Path, folder: Path) -> Outcome:
    """Copy, damage, run, and compare the folder with what it was when the case was refused."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in case.needs:
        if (world / name).is_dir():
            shutil.copytree(world / name, folder / name)
        else:
            shutil.copy2(world / name, folder / name)
    try:
        case.prepare(folder)
    except Exception as error:
        raise RuntimeError(f"the campaign cannot prepare {case.kind}: {case.name}") from error
    before = content(folder)
    try:
        with _time_limit(SECONDS):
            refused, message = _run(case, folder)
    except ReachedTraining:
        refused, message = False, "training was reached"
    except Hang:
        return Outcome(case, "hang", f"more than {SECONDS} s")
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException:
        return Outcome(case, "traceback", _short(traceback.format_exc()))
    if not refused:
        return Outcome(case, "accepted in silence" if case.must_refuse else "accepted", message)
    after = content(folder)
    if before != after:
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        return Outcome(case, "half-written", f"changed {changed[:5]}; {message}")
    named = not case.places or any(place in _unwrapped(message) for place in case.places)
    return Outcome(case, "refused", message, named)


def _run(case: Case, folder: Path) -> tuple[bool, str]:
    """Whether the input was refused, and the message."""
    if not callable(case.run):
        code, message = call(case.run, folder)
        if code not in (0, 2, 3):
            raise AssertionError(f"exit code {code}: {message[-2000:]}")
        return code != 0, message
    from foldstill.errors import FoldstillError

    try:
        case.run(folder)
    except FoldstillError as error:
        return True, str(error)
    return False, "returned"


def _unwrapped(message: str) -> str:
    """The message on one line: typer draws a frame and breaks lines, also inside a path."""
    return "".join(line.strip("│ ").strip() + " " for line in message.splitlines()) + message.replace("\n", "")


def _short(text: str) -> str:
    """The last place inside the package, and the exception."""
    lines = text.strip().splitlines()
    inside = [line.strip() for line in lines if "foldstill/" in line and line.strip().startswith("File")]
    return f"{lines[-1][:300]}  [{inside[-1].split('src/')[-1] if inside else 'outside'}]"


def content(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder; a folder is its name alone."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = hashlib.blake2b(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    def stop(number: int, frame: types.FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def without_training() -> Iterator[None]:
    """Training raises `ReachedTraining`, so that a case ends when every check has passed."""
    import foldstill.base_models.fitting as fitting
    import foldstill.commands.hms as hms

    def reached(*arguments: Any, **settings: Any) -> None:
        raise ReachedTraining

    # Both are imported or called late, so that the functions below are what every caller finds.
    replaced = [(fitting, "fit_network"), (hms, "write_synthetic_hms")]
    originals = [getattr(module, name) for module, name in replaced]
    for module, name in replaced:
        setattr(module, name, reached)
    try:
        yield
    finally:
        for (module, name), original in zip(replaced, originals, strict=True):
            setattr(module, name, original)


def figures(outcomes: Sequence[Outcome]) -> str:
    """The table of figures: one line per kind of input, then the sum and the share of refusals that name a place."""
    verdicts = ("refused", "accepted", "accepted in silence", "traceback", "hang", "half-written")
    kinds = list(dict.fromkeys(one.case.kind for one in outcomes))
    lines = ["| kind of input | inputs | " + " | ".join(verdicts) + " |", "| --- " * (len(verdicts) + 2) + "|"]
    for kind in (*kinds, "all"):
        some = [one for one in outcomes if kind in (one.case.kind, "all")]
        counts = Counter(one.verdict for one in some)
        lines.append(f"| {kind} | {len(some)} | " + " | ".join(str(counts[v]) for v in verdicts) + " |")
    return "\n".join([*lines, f"Refusals that name the place: {100 * share_named(outcomes):.1f} %"])


def share_named(outcomes: Sequence[Outcome]) -> float:
    refused = [one for one in outcomes if one.verdict == "refused"]
    return sum(one.place_named for one in refused) / max(len(refused), 1)
