"""How work is done: number of processes, device, and what receives the progress."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foldstill.arguments import require_types
from foldstill.errors import ArgumentError


@dataclass(frozen=True)
class Progress:
    """How far one task is: `done` out of `total`, with a note such as the current score."""

    task: str
    done: float
    total: float
    note: str = ""


OnProgress = Callable[[Progress], None]
"""Called again and again while a task runs, from one thread at a time."""


def silent(progress: Progress) -> None:
    """An `OnProgress` that shows nothing."""


@dataclass(frozen=True)
class Work:
    """How a stage is run. None of these values changes a result."""

    workers: int | None = None
    """Number of processes of one thread each on a CPU; None for one per core."""
    device: str = "auto"
    """Where networks run: auto, cpu or cuda."""
    force: bool = False
    """Whether finished work is done again."""
    report: OnProgress = silent
    """Receives the progress of every task."""

    def __post_init__(self) -> None:
        require_types(Work, vars(self))
        if self.workers is not None and self.workers < 1:
            raise ArgumentError(f"workers of Work must be 1 or more, or None for one per core, got {self.workers}")

    @property
    def n_workers(self) -> int:
        """The number of processes: `workers`, or the number of cores."""
        from joblib import cpu_count

        return self.workers or int(cpu_count())


PARENT_POLL_S = 0.25


def pool(n_workers: int, **options: Any) -> Callable[[Iterable[Any]], Iterator[Any]]:
    """A function that does joblib's delayed calls and gives each result when it is ready.

    Its processes work in the folder of this one, and end when this one does. `options` are further arguments of
    `joblib.Parallel`.
    """
    from joblib import Parallel, delayed

    parallel = Parallel(
        n_jobs=n_workers,
        return_as="generator_unordered",
        initializer=end_with_parent,
        initargs=(os.getpid(),),
        **options,
    )
    folder = os.getcwd()

    def do(calls: Iterable[Any]) -> Iterator[Any]:
        results: Iterator[Any] = parallel(delayed(_call_in)(folder, *call) for call in calls)
        return results

    return do


def _call_in(folder: str, function: Callable[..., Any], arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Call a function in a folder, in which relative paths start.

    joblib uses processes again, which stay in the folder in which they were started when a notebook goes to another.
    """
    try:
        moved = os.getcwd() != folder
    except FileNotFoundError:  # the folder is gone in which the process was started
        moved = True
    if moved:
        os.chdir(folder)
    return function(*arguments, **options)


def end_with_parent(parent: int) -> None:
    """End this process at most a second after `parent`, which started it, ended for whatever reason.

    Otherwise the processes of a killed run would go on training. Linux could send them a signal (PR_SET_PDEATHSIG), but
    does so when the thread that started them ends, and macOS cannot.
    """
    if os.getpid() == parent:
        return  # a thread of the same process
    # Ctrl-C in a terminal reaches every process; the parent alone answers, and then ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def arrays_shared_in(folder: Path) -> Iterator[None]:
    """While the block runs, joblib shares large arrays with its processes as files in this folder, which is then
    removed.

    Otherwise joblib uses /dev/shm, where the files of a killed run occupy memory until the machine is restarted. A
    folder that the environment names (JOBLIB_TEMP_FOLDER) is used instead. What a killed run left is removed first.
    """
    name = "JOBLIB_TEMP_FOLDER"
    shutil.rmtree(folder, ignore_errors=True)
    if name in os.environ:
        yield
        return
    os.environ[name] = str(folder)
    try:
        yield
    finally:
        del os.environ[name]
        shutil.rmtree(folder, ignore_errors=True)


SHARED_MEMORY = Path("/dev/shm")
"""Where Linux keeps named semaphores and joblib its arrays; files there occupy memory until they are removed."""


def remove_shared_memory(pid: int) -> None:
    """Remove what a process that was killed with all its workers left in shared memory.

    joblib names its semaphores and folders after the process that made them. Those of a process that is alive stay,
    because numbers of processes are used again.
    """
    if pid <= 0 or _is_running(pid):
        return
    for pattern in (f"sem.loky-{pid}-*", f"joblib_memmapping_folder_{pid}_*"):
        for path in SHARED_MEMORY.glob(pattern):
            with suppress(OSError):
                if path.lstat().st_uid != os.getuid():
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # a process of somebody else
    return True
