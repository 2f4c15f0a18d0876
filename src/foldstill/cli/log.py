"""The file of `foldstill --log FILE COMMAND`: what a command did and when, for runs that nobody watches."""

import logging
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from foldstill.errors import FileError

_LOG = logging.getLogger("foldstill.commands")
_STARTED = time.perf_counter()


def start_log(path: Path, arguments: Sequence[str]) -> None:
    """Append to a file from now on, one line per event with its time."""
    # A file of another kind would be spoiled by lines at its end.
    if path.suffix != ".log":
        raise FileError(f"--log {path} must be a file that ends in .log: name it {path.with_suffix('.log')}")
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _LOG.addHandler(handler)
    _LOG.setLevel(logging.INFO)
    _LOG.propagate = False
    _LOG.info("foldstill %s", shlex.join(arguments))


def log_event(message: str) -> None:
    """Write what was done; nothing without `--log`."""
    if _LOG.handlers:
        _LOG.info(message)


def log_note(message: str) -> None:
    """Write a note of foldstill; nothing without `--log`."""
    if _LOG.handlers:
        _LOG.warning(message)


def log_error(message: str) -> None:
    """Write why the command ended; nothing without `--log`."""
    if _LOG.handlers:
        _LOG.error(message)


def end_log(ending: BaseException | None) -> None:
    """Write the exit code and the duration of the process, and close the file; nothing without `--log`."""
    if not _LOG.handlers:
        return
    unexpected = ending is not None and not isinstance(ending, SystemExit)
    if unexpected:
        _LOG.error("stopped by a fault of foldstill", exc_info=ending)
    code = 1 if unexpected else getattr(ending, "code", 0) or 0
    _LOG.info("exit code %s after %.1f s", code, time.perf_counter() - _STARTED)
    for handler in list(_LOG.handlers):
        _LOG.removeHandler(handler)
        handler.close()
