"""What a person sees while foldstill works: progress bars, sentences, errors."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

Report = Callable[[str, float, float, str], None]
"""Called by long work with a bar's name, how much is done, out of how much, and a note such as the score so far."""


def console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    found = Console(stderr=stderr, soft_wrap=True, highlight=False)
    # A log or a pipe has no width of its own; 80 columns would cut the table of arms.
    return found if found.is_terminal else Console(stderr=stderr, soft_wrap=True, highlight=False, width=120)


@contextmanager
def bars(*, quiet: bool = False) -> Iterator[Report]:
    """A place for progress bars, one a name, drawn on stderr while the block runs.

    Without a terminal (a log, a pipe) each bar is one line when it is full, so that logs stay short.
    """
    if quiet:
        yield lambda name, done, total, note: None
        return
    out = console(stderr=True)
    if not out.is_terminal:
        full: set[str] = set()

        def line(name: str, done: float, total: float, note: str) -> None:
            if done >= total and name not in full:
                full.add(name)
                print(f"{name}: done{', ' + note if note else ''}", file=sys.stderr, flush=True)

        yield line
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
        console=out,
    ) as progress:
        tasks: dict[str, Any] = {}

        def draw(name: str, done: float, total: float, note: str) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total, note=note)
            progress.update(tasks[name], completed=done, total=total, note=note)

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
