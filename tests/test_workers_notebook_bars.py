"""Progress bars of notebooks, in a pretended one: the kernel of a real one is no requirement of the tests."""

import re
import sys
from itertools import count
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import foldstill as fs
from foldstill.testing import synthetic_table
from foldstill.workers import Progress, Work, silent
from foldstill.workers.notebook_bars import bars_in_notebooks

NOTEBOOKS = count(100, 100)
"""Numbers of first cells, so that none is that of another test."""


class ZMQInteractiveShell:
    """What IPython calls the shell of a notebook."""

    execution_count = 0


class TerminalInteractiveShell:
    """What IPython calls the shell of a terminal."""

    execution_count = 1


class Output:
    """The output below one cell."""

    def __init__(self, content: dict[str, str]) -> None:
        self.contents = [content]

    def update(self, content: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.contents.append(content)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> tuple[ZMQInteractiveShell, list[Output]]:
    """A shell whose next cell begins when its count rises, and the outputs of all cells."""
    shell, outputs = ZMQInteractiveShell(), list[Output]()

    def display(content: dict[str, str], *, raw: bool, display_id: bool) -> Output:
        assert raw
        assert display_id
        outputs.append(Output(content))
        return outputs[-1]

    ipython, of_display = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]
    of_display.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", of_display)
    shell.execution_count = next(NOTEBOOKS)
    return shell, outputs


Notebook = tuple[ZMQInteractiveShell, list[Output]]


def test_stack_shows_its_tasks_below_its_cell(notebook: Notebook) -> None:
    shell, outputs = notebook
    fs.stack(synthetic_table(), ["average", "convex"])
    [output] = outputs
    last = output.contents[-1]["text/html"]
    assert re.findall(r"<progress aria-label='(.*?)' value='(\d+)' max='(\d+)'>", last) == [
        ("cross-fit", "6", "6"),
        ("fit", "2", "2"),
    ]
    assert re.search(r"fit: 2/2, \d+ s, average, all rows$", output.contents[-1]["text/plain"])
    shell.execution_count += 1
    fs.stack(synthetic_table(), ["average"])
    assert len(outputs) == 2
    fs.stack(synthetic_table(), ["average"], work=Work(1, report=silent))
    assert len(outputs) == 2


def test_distill_shows_one_bar_per_student(notebook: Notebook) -> None:
    _, outputs = notebook
    images, votes = np.zeros((8, 16, 16, 3), np.uint8), np.eye(2)[np.arange(8) % 2]
    settings = fs.StudentSettings(network="test_resnet", recipe=fs.Recipe(epochs=1, batch_size=4))
    fs.distill(0.8 * votes + 0.1, images, votes, settings, seeds=2, work=Work(1, "cpu"))
    [output] = outputs
    assert re.findall(r"<th[^>]*>(.*?)</th>", output.contents[-1]["text/html"]) == [
        "student, seed 0",
        "student, seed 1",
    ]


def test_names_are_escaped_and_short_steps_do_not_flood_the_page(notebook: Notebook) -> None:
    _, outputs = notebook
    for done in range(1001):
        bars_in_notebooks(Progress("net <b>'s", done, 1000, "loss <1"))
    [output] = outputs
    assert len(output.contents) < 100
    html = output.contents[-1]["text/html"]
    assert "net &lt;b&gt;&#x27;s" in html
    assert "loss &lt;1" in html
    assert "value='1000' max='1000'" in html


@pytest.mark.parametrize("shell", [TerminalInteractiveShell(), None])
def test_nothing_is_shown_in_a_terminal(notebook: Notebook, monkeypatch: pytest.MonkeyPatch, shell: Any) -> None:
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: shell)
    bars_in_notebooks(Progress("task", 1, 2))
    assert notebook[1] == []
