"""What a person sees while foldstill works: progress bars, messages, errors."""

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from foldstill.cli.log import LOG
from foldstill.errors import FoldstillWarning
from foldstill.workers import OnProgress, Progress, silent

if TYPE_CHECKING:
    from rich.console import Console


def console(*, stderr: bool = False) -> "Console":
    """A console as wide as the terminal, or 120 columns wide in a log or a pipe, where 80 would cut the comparison."""
    from rich.console import Console

    # Names may look like markup or emoji, such as resnet[tta], and are printed as they are.
    plain: dict[str, Any] = {"stderr": stderr, "soft_wrap": True, "highlight": False, "markup": False, "emoji": False}
    terminal = Console(**plain)
    return terminal if terminal.file.isatty() else Console(**plain, width=120)


@contextmanager
def bars(*, quiet: bool = False) -> Iterator[OnProgress]:
    """Progress bars, one per task, drawn on stderr while the block runs; gives the function that updates them.

    Without a terminal (a log, a pipe) a task is one line when it is done, so that logs stay short. FORCE_COLOR, which
    notebooks set, asks for colours and makes no terminal of a pipe.
    """
    if quiet:
        yield _logged(silent)
        return
    screen = console(stderr=True)
    if not screen.file.isatty():
        done: set[str] = set()

        def print_line(progress: Progress) -> None:
            if progress.done >= progress.total and progress.task not in done:
                done.add(progress.task)
                note = f", {progress.note}" if progress.note else ""
                print(f"{progress.task}: done{note}", file=sys.stderr, flush=True)

        yield _logged(print_line)
        return
    from rich import progress as rich_progress

    with rich_progress.Progress(
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(bar_width=28),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TextColumn("{task.fields[note]}", style="dim", markup=False),
        console=screen,
    ) as drawn:
        bar_of: dict[str, Any] = {}

        def draw(progress: Progress) -> None:
            if progress.task not in bar_of:
                bar_of[progress.task] = drawn.add_task(progress.task, total=progress.total, note=progress.note)
            drawn.update(bar_of[progress.task], completed=progress.done, total=progress.total, note=progress.note)

        yield _logged(draw)


def _logged(show: OnProgress) -> OnProgress:
    """The same function, which also writes every finished task into the file of `--log`."""
    done: set[str] = set()

    def show_and_log(progress: Progress) -> None:
        show(progress)
        if progress.done >= progress.total and progress.task not in done:
            done.add(progress.task)
            LOG.info("%s: done%s", progress.task, f", {progress.note}" if progress.note else "")

    return show_and_log


def print_warnings() -> None:
    """From now on, print each warning of foldstill as one line on stderr; other warnings are shown as before."""
    others = warnings.showwarning
    printed: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, FoldstillWarning):
            # Stages check again what others checked before, and warn again.
            if str(message) in printed:
                return
            printed.add(str(message))
            LOG.warning("%s", message)
            console(stderr=True).print(f"note: {message}", markup=False)
        else:
            others(message, category, *rest, **more)

    warnings.simplefilter("always", FoldstillWarning)
    warnings.showwarning = show


def repeat_options(arguments: Sequence[str], options: frozenset[str]) -> list[str]:
    """`--drop a b` as `--drop a --drop b` for the named options, so that a pattern of the shell can follow an option.

    >>> repeat_options(["--drop", "a", "b", "--out", "c"], frozenset({"--drop"}))
    ['--drop', 'a', '--drop', 'b', '--out', 'c']
    """
    repeated: list[str] = []
    option, n_values = "", 0
    for argument in arguments:
        if argument.startswith("-"):
            option, n_values = (argument if argument in options else ""), 0
        elif option:
            n_values += 1
            if n_values > 1:
                repeated.append(option)
        repeated.append(argument)
    return repeated
