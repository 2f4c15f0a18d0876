"""Progress bars of a notebook: plain HTML that is updated in place, which needs no widgets and stays in saved pages."""

import html
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from foldstill.workers.progress import Progress

PERIOD_S = 0.2
"""Seconds between two updates of the page, so that a thousand short steps do not become a thousand messages."""


def bars_in_notebooks(progress: Progress) -> None:
    """An `OnProgress` that shows one bar per task below the cell of a notebook, and nothing elsewhere."""
    shell = _notebook()
    if shell is None:
        return
    bars = _BARS.get(shell.execution_count)
    if bars is None:
        _BARS.clear()  # those of cells before are finished
        bars = _BARS.setdefault(shell.execution_count, Bars())
    bars.show(progress)


def _notebook() -> Any:
    """The shell of the notebook in which this process works; None elsewhere."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell if "ZMQInteractiveShell" in {one.__name__ for one in type(shell).__mro__} else None


@dataclass
class Bars:
    """The bars below one cell."""

    tasks: dict[str, Progress] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    shown_at: float = 0.0
    display: Any = None
    """The output of the cell, once there is one."""

    def show(self, progress: Progress) -> None:
        """Take in how far a task is, and update the page, but not too often."""
        now, before = time.monotonic(), self.tasks.get(progress.task)
        if before is None or progress.done < before.done:  # new, or done again in the same cell
            self.begun[progress.task] = now
        self.ended[progress.task] = now
        self.tasks[progress.task] = progress
        if progress.done < progress.total and self.display is not None and now - self.shown_at < PERIOD_S:
            return
        self.shown_at = now
        content = {"text/html": self.html(), "text/plain": self.text()}
        if self.display is None:
            from IPython.display import display

            self.display = display(content, raw=True, display_id=True)
        else:
            self.display.update(content, raw=True)

    def html(self) -> str:
        """One line of a table per task: its name, a bar, steps, seconds, and the note."""
        lines = [
            f"<tr><th style='text-align:left'>{html.escape(task)}</th>"
            f"<td><progress aria-label='{html.escape(task, quote=True)}' value='{one.done:g}' max='{one.total:g}'>"
            f"</progress></td><td style='text-align:right'>{one.done:g}/{one.total:g}</td>"
            f"<td style='text-align:right'>{self._seconds(task)}</td>"
            f"<td style='text-align:left'>{html.escape(one.note)}</td></tr>"
            for task, one in self.tasks.items()
        ]
        return f"<table>{''.join(lines)}</table>"

    def text(self) -> str:
        """The same for places that show no HTML."""
        return "\n".join(
            f"{task}: {one.done:g}/{one.total:g}, {self._seconds(task)}{', ' if one.note else ''}{one.note}"
            for task, one in self.tasks.items()
        )

    def _seconds(self, task: str) -> str:
        return f"{self.ended[task] - self.begun[task]:.0f} s"


_BARS: dict[int, Bars] = {}
"""The bars of the cell that runs, by its number."""
