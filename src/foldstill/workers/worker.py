"""What happens inside a worker: it works where its caller does, and ends when its caller does."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from foldstill.errors import FoldstillError

PARENT_POLL_S = 0.25


def call_in(folder: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a folder, in which relative paths start.

    joblib uses processes again, which stay in the folder in which they were started when a notebook goes to another.
    """
    try:
        moved = os.getcwd() != folder
    except FileNotFoundError:  # the folder is gone in which the process was started
        moved = True
    if moved:
        try:
            os.chdir(folder)
        except FileNotFoundError:
            raise FoldstillError(
                f"the worker on {socket.gethostname()} has no folder {folder}: work in a folder on a disk that all "
                "machines share, under the same path"
            ) from None
    return function(*arguments)


def prepare_worker(parent: int) -> None:
    """What a process that works for `parent` does first."""
    _end_with(parent)
    _stay()


def _stay() -> None:
    """Stay for the next job also when a job has made this process larger.

    Where psutil is installed, joblib replaces a process that has grown by 300 MB, as one does that imports torch: it
    warns, and the next one imports torch again. Where warnings are errors, the warning ends the thread that gives out
    jobs, and the caller waits for ever.
    """
    from joblib.externals.loky import process_executor

    process_executor._USE_PSUTIL = False


def _end_with(parent: int) -> None:
    """End this process at most a second after `parent`, which started it, ended for whatever reason.

    Otherwise the processes of a killed run would go on training. Linux could send them a signal (PR_SET_PDEATHSIG), but
    does so when the thread that started them ends, and macOS cannot.
    """
    # Ctrl-C in a terminal reaches every process; the parent alone answers, and then ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
