"""The file of `foldstill --log FILE COMMAND`: what a command did and when, for runs that nobody watches."""

import logging
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from foldstill.errors import FileError

LOG = logging.getLogger("foldstill.commands")
"""Receives what a command does; without `--log` nothing is written."""
LOG.addHandler(logging.NullHandler())
LOG.propagate = False
_STARTED = time.perf_counter()


def start_log(path: Path, arguments: Sequence[str]) -> None:
    """Append to a file from now on, one line per event with its time."""
    # A file of another kind would be spoiled by lines at its end.
    if path.suffix != ".log":
        raise FileError(f"--log {path} must be a file that ends in .log: name it {path.with_suffix('.log')}")
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.info("foldstill %s", shlex.join(arguments))


def end_log(ending: BaseException | None) -> None:
    """Write the exit code and the duration of the process, and close the file; nothing without `--log`."""
    unexpected = ending is not None and not isinstance(ending, SystemExit)
    if unexpected:
        LOG.error("stopped by a fault of foldstill", exc_info=ending)
    code = 1 if unexpected else getattr(ending, "code", 0) or 0
    LOG.info("exit code %s after %.1f s", code, time.perf_counter() - _STARTED)
    for handler in [one for one in LOG.handlers if isinstance(one, logging.FileHandler)]:
        LOG.removeHandler(handler)
        handler.close()
