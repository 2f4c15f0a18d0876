"""What a person sees while foldstill works: progress bars, sentences, errors."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from foldstill.workers import OnProgress, Progress, silent

if TYPE_CHECKING:
    from rich.console import Console


def console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    found = Console(stderr=stderr, soft_wrap=True, highlight=False)
    # A log or a pipe has no width of its own; 80 columns would cut the table of arms.
    return found if found.is_terminal else Console(stderr=stderr, soft_wrap=True, highlight=False, width=120)


@contextmanager
def bars(*, quiet: bool = False) -> Iterator[OnProgress]:
    """A place for progress bars, one a name, drawn on stderr while the block runs.

    Without a terminal (a log, a pipe) each bar is one line when it is full, so that logs stay short.
    """
    if quiet:
        yield silent
        return
    out = console(stderr=True)
    if not out.is_terminal:
        full: set[str] = set()

        def line(at: Progress) -> None:
            if at.done >= at.total and at.task not in full:
                full.add(at.task)
                print(f"{at.task}: done{', ' + at.note if at.note else ''}", file=sys.stderr, flush=True)

        yield line
        return
    from rich import progress as rich_progress

    with rich_progress.Progress(
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(bar_width=28),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TextColumn("{task.fields[note]}", style="dim"),
        console=out,
    ) as bars_shown:
        tasks: dict[str, Any] = {}

        def draw(at: Progress) -> None:
            if at.task not in tasks:
                tasks[at.task] = bars_shown.add_task(at.task, total=at.total, note=at.note)
            bars_shown.update(tasks[at.task], completed=at.done, total=at.total, note=at.note)

        yield draw


def spread(arguments: Sequence[str], options: frozenset[str]) -> list[str]:
    """`--drop a b` as `--drop a --drop b` for the options named, up to the next option: what a shell's pattern needs."""
    out: list[str] = []
    open_option, taken = "", 0
    for argument in arguments:
        if argument.startswith("-"):
            open_option, taken = (argument if argument in options else ""), 0
        elif open_option:
            taken += 1
            if taken > 1:
                out.append(open_option)
        out.append(argument)
    return out
