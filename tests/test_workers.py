"""Processes that work for another one end with it, and the arrays that they share are gone with the run."""

import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from foldstill.errors import FoldstillWarning
from foldstill.lock import SHARED, sole_writer
from foldstill.workers import SHARED_MEMORY, Workers, arrays_shared_in, remove_shared_memory, spread

PARENT = """
import os, sys, time
from pathlib import Path
import numpy as np
from foldstill.lock import sole_writer
from foldstill.workers import Workers, spread

def work(array):
    os.write(1, f"{os.getpid()} {Path(array.filename).parent}\\n".encode())  # at once: print writes in pieces
    time.sleep(60)

with sole_writer(Path(sys.argv[1])):
    for _ in spread(work, [(np.zeros(200_000),)] * 2, Workers.parse("2")):
        pass
"""


def is_alive(pid: int) -> bool:
    """Whether a process works; one that has ended but was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def left_by(pid: int) -> list[str]:
    """What a process keeps in shared memory."""
    return [path.name for path in SHARED_MEMORY.iterdir() if str(pid) in re.split("[-_]", path.name)]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="tells by /proc which processes are alive")
@pytest.mark.parametrize(
    ("kill", "signal_number"),
    [(os.kill, signal.SIGKILL), (os.kill, signal.SIGTERM), (os.killpg, signal.SIGKILL)],
    ids=["SIGKILL of the parent", "SIGTERM of the parent", "SIGKILL of all"],
)
def test_after_a_kill_no_process_works_on_and_the_next_writer_frees_the_memory(
    tmp_path: Path, kill: Callable[[int, int], None], signal_number: int
) -> None:
    """A process that is killed together with all that belong to it frees nothing itself."""
    command, shared = [sys.executable, "-c", PARENT, str(tmp_path)], tmp_path / SHARED
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as parent:
        assert parent.stdout is not None
        lines = [parent.stdout.readline().split() for _ in range(2)]
        left = left_by(parent.pid)
        kill(parent.pid, signal_number)
    assert left, "joblib keeps its semaphores there"
    workers = [int(pid) for pid, _ in lines]
    assert len(set(workers)) == 2
    assert all(Path(folder).parent == shared for _, folder in lines)
    deadline = time.monotonic() + 5
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))
    others = SHARED_MEMORY / f"sem.loky-{os.getpid()}-of-the-test"
    others.touch()
    try:
        with pytest.warns(FoldstillWarning, match=f"process {parent.pid} on"), sole_writer(tmp_path):
            assert not shared.exists()
        assert left_by(parent.pid) == []
        remove_shared_memory(os.getpid())
        assert others.exists(), "its process is alive"
    finally:
        others.unlink()


_kept: list[bytes] = []


def grow(size: int) -> int:
    """Work for longer than the second after which joblib looks at the memory of a process, and keep some."""
    time.sleep(1.1)
    _kept.append(b"x" * size)
    return os.getpid()


def test_a_process_that_has_grown_as_by_importing_torch_is_not_replaced() -> None:
    """Where psutil is installed, joblib replaces it and warns; with warnings as errors the run waited for ever."""
    pytest.importorskip("psutil")
    sizes = [(0,), (0,), (350_000_000,), (350_000_000,), (0,), (0,)]
    assert len({pid for _, pid in spread(grow, sizes, Workers.parse("2"))}) == 2


def test_jobs_that_are_left_behind_by_an_interruption_are_no_reason_for_advice_of_joblib() -> None:
    """Ctrl-C printed a warning of joblib above its sentence where it came between two results."""
    results = spread(time.sleep, [(0.01,), (0.01,), (30.0,), (30.0,)], Workers.parse("2"))
    next(results)
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        results.close()
    assert noted == []


def test_a_folder_for_shared_arrays_that_the_user_chose_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    with arrays_shared_in(tmp_path / "other"):
        assert os.environ["JOBLIB_TEMP_FOLDER"] == str(tmp_path)
    assert os.environ["JOBLIB_TEMP_FOLDER"] == str(tmp_path)


def test_processes_that_are_used_again_follow_to_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook that changed its folder had its models written into the folder where the processes were started."""
    for name in ("first", "second", "third"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        if name == "third":
            (tmp_path / "second").rmdir()  # where the processes still are
        folders = {folder for _, folder in spread(os.getcwd, [()] * 2, Workers.parse("2"))}
        assert folders == {str(tmp_path / name)}
