"""Processes that work for another one end with it, and the arrays that they share are gone with the run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from foldstill.workers import arrays_shared_in

PARENT = """
import os, sys, time
from pathlib import Path
import joblib, numpy as np
from foldstill.workers import arrays_shared_in, pool

def work(array):
    print(os.getpid(), Path(array.filename).parent, flush=True)
    time.sleep(60)

with arrays_shared_in(Path(sys.argv[1])):
    for _ in pool(2)(joblib.delayed(work)(np.zeros(200_000)) for _ in range(2)):
        pass
"""


def is_alive(pid: int) -> bool:
    """Whether a process works; one that has ended but was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="tells by /proc which processes are alive")
@pytest.mark.parametrize(
    ("kill", "signal_number"),
    [(os.kill, signal.SIGKILL), (os.kill, signal.SIGTERM), (os.killpg, signal.SIGKILL)],
    ids=["SIGKILL of the parent", "SIGTERM of the parent", "SIGKILL of all"],
)
def test_after_a_kill_no_process_works_on_and_no_memory_is_occupied(
    tmp_path: Path, kill: Callable[[int, int], None], signal_number: int
) -> None:
    command, shared = [sys.executable, "-c", PARENT, str(tmp_path / "shared")], tmp_path / "shared"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as parent:
        assert parent.stdout is not None
        lines = [parent.stdout.readline().split() for _ in range(2)]
        kill(parent.pid, signal_number)
    workers = [int(pid) for pid, _ in lines]
    assert len(set(workers)) == 2
    assert all(Path(folder).parent == shared for _, folder in lines)
    deadline = time.monotonic() + 5
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))
    assert not list(Path("/dev/shm").glob(f"joblib_memmapping_folder_{parent.pid}_*"))
    with arrays_shared_in(shared):  # the next run of the same folder
        assert not shared.exists()


def test_a_folder_for_shared_arrays_that_the_user_chose_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    with arrays_shared_in(tmp_path / "other"):
        assert os.environ["JOBLIB_TEMP_FOLDER"] == str(tmp_path)
    assert os.environ["JOBLIB_TEMP_FOLDER"] == str(tmp_path)
