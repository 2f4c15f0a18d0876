"""Seconds of processors that jobs took in other processes than this one, which the clock of a process leaves out."""

import os
import socket
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any

_SPENT = [0.0]


def cpu_of_workers() -> float:
    """Seconds since this process began, of all jobs whose results it has got."""
    return _SPENT[0]


def metered(function: Callable[..., Any], *arguments: Any) -> tuple[Any, str, float]:
    """What a function returns, the process that called it, and the seconds of processors that this took."""
    before = time.process_time()
    result = function(*arguments)
    return result, _process(), time.process_time() - before


def collected(results: Generator[tuple[int, tuple[Any, str, float]]]) -> Iterator[tuple[int, Any]]:
    """The results of metered jobs, whose seconds are counted."""
    here = _process()
    with closing(results):  # where nobody wants the rest, its processes end at once
        for index, (result, process, seconds) in results:
            if process != here:
                _SPENT[0] += seconds
            yield index, result


def _process() -> str:
    return f"{socket.gethostname()}/{os.getpid()}"
