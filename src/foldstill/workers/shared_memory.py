"""Arrays that processes of one machine share, and what killed processes leave in memory."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

VARIABLE = "JOBLIB_TEMP_FOLDER"
"""The environment variable with which joblib and its users choose the folder."""


@contextmanager
def arrays_shared_in(folder: Path) -> Iterator[None]:
    """While the block runs, joblib shares large arrays with its processes as files in this folder, which is then
    removed.

    Otherwise joblib uses /dev/shm, where the files of a killed run occupy memory until the machine is restarted. A
    folder that the environment names (JOBLIB_TEMP_FOLDER) is used instead. What a killed run left is removed first.
    """
    shutil.rmtree(folder, ignore_errors=True)
    is_ours = VARIABLE not in os.environ
    if is_ours:
        os.environ[VARIABLE] = str(folder)
    _folders.append(folder)
    try:
        yield
    finally:
        _folders.remove(folder)
        if is_ours:
            del os.environ[VARIABLE]
        shutil.rmtree(folder, ignore_errors=True)


def folder_of_arrays(default: Path, *, on_a_cluster: bool) -> Path:
    """Where arrays for workers are written: the folder of `arrays_shared_in`, or else `default`.

    A folder that the environment names goes first, except on a cluster, whose machines may not see it.
    """
    if not on_a_cluster and VARIABLE in os.environ:
        return Path(os.environ[VARIABLE])
    return _folders[-1] if _folders else default


_folders: list[Path] = []
"""The folders of `arrays_shared_in` whose block runs."""


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
