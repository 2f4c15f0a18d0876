"""Arrays that processes of one machine share, and what killed processes leave in memory."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


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
