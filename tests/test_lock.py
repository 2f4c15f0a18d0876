"""One writer per folder: who is refused, who takes over from whom, and that nothing is left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from foldstill import lock
from foldstill.errors import FileError, FoldstillWarning
from foldstill.lock import LOCK, SILENT_S, is_locked, remove_dead, sole_writer
from foldstill.workers import SHARED_MEMORY
from made_up import held_by_another_thread

KILLED = """
import sys, time
from pathlib import Path
from foldstill.lock import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def leave_lock(folder: Path, host: str, silent_s: float) -> None:
    """A lock file of process 1 of a machine, without a lock of the kernel."""
    (folder / LOCK).write_text(json.dumps({"host": host, "pid": 1, "since": 0.0}))
    os.utime(folder / LOCK, (time.time() - silent_s,) * 2)


def test_a_second_writer_is_refused_in_one_sentence_and_changes_nothing(tmp_path: Path) -> None:
    with held_by_another_thread(tmp_path / "run"):
        before = (tmp_path / "run" / LOCK).read_bytes()
        who = rf"run is being written by process {os.getpid()} on {socket.gethostname()}, since \d{{4}}-.*: wait until"
        with pytest.raises(FileError, match=who), sole_writer(tmp_path / "run"):
            pass
        assert (tmp_path / "run" / LOCK).read_bytes() == before
        assert is_locked(tmp_path / "run")
    assert not is_locked(tmp_path / "run")
    with sole_writer(tmp_path / "run"):
        assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]


def test_a_writer_that_waits_says_once_for_whom_and_begins_when_that_one_has_ended(tmp_path: Path) -> None:
    with ExitStack() as other:
        other.enter_context(held_by_another_thread(tmp_path))
        threading.Timer(0.35, other.close).start()  # after several tries
        waits = f"process {os.getpid()} on .*: waiting until it ends"
        with pytest.warns(FoldstillWarning, match=waits) as said, sole_writer(tmp_path, wait=True):
            assert (tmp_path / LOCK).exists()
        assert len(said) == 1


def test_a_killed_writer_is_replaced_at_once_and_its_temporary_files_are_removed(tmp_path: Path) -> None:
    parts = [tmp_path / ".oof.4711.part.parquet", tmp_path / "members" / "a" / ".done.1.part.json"]
    kept = [tmp_path / ".notes.part.txt", tmp_path / "inner" / LOCK, tmp_path / "inner" / ".oof.1.part.parquet"]
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for path in (*parts, *kept):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        with pytest.raises(FileError, match=f"process {process.pid} on"), sole_writer(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
    ended = rf"process {process.pid} on .*, ended before it was done: going on"
    with pytest.warns(FoldstillWarning, match=ended), sole_writer(tmp_path):
        found = [path for path in (*parts, *kept) if path.exists()]
    assert found == kept
    assert not (tmp_path / LOCK).exists()


def test_a_writer_on_another_machine_is_dead_when_it_gave_no_sign_for_long(tmp_path: Path) -> None:
    leave_lock(tmp_path, "elsewhere", SILENT_S - 60)
    sign = r"process 1 on elsewhere, .*; its last sign of life is 60 s old, and after 120 s it counts as dead"
    with pytest.raises(FileError, match=sign), sole_writer(tmp_path):
        pass
    leave_lock(tmp_path, "elsewhere", SILENT_S + 1)
    assert not is_locked(tmp_path)
    with pytest.warns(FoldstillWarning, match="process 1 on elsewhere"), sole_writer(tmp_path):
        pass


def test_without_locks_of_the_kernel_signs_of_life_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with sole_writer(tmp_path):
        pass
    leave_lock(tmp_path, socket.gethostname(), 1)
    with pytest.raises(FileError, match="last sign of life"), sole_writer(tmp_path):
        pass


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="shared memory has no files here")
@pytest.mark.parametrize(("host", "freed"), [(socket.gethostname(), True), ("elsewhere", False)])
def test_the_folder_of_a_dead_worker_is_removed_with_what_its_parent_left_in_memory(
    tmp_path: Path, host: str, freed: bool
) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as parent:
        pass
    left = SHARED_MEMORY / f"sem.loky-{parent.pid}-of-the-test"
    left.touch()
    (tmp_path / "trial").mkdir()
    writer = {"host": host, "pid": parent.pid, "since": 0.0, "parent": parent.pid}
    (tmp_path / "trial" / LOCK).write_text(json.dumps(writer))
    remove_dead(tmp_path / "trial")
    assert not (tmp_path / "trial").exists()
    assert left.exists() is not freed
    left.unlink(missing_ok=True)


def test_a_writer_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_S", 0.01)
    with sole_writer(tmp_path):
        os.utime(tmp_path / LOCK, (0, 0))
        time.sleep(0.2)
        assert time.time() - (tmp_path / LOCK).stat().st_mtime < 10


def test_a_folder_that_nothing_was_written_into_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="refused"), sole_writer(tmp_path / "runs" / "new"):
        raise ValueError("refused")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with (
        pytest.raises(FileError, match="a part of the path is a file, not a folder"),
        sole_writer(tmp_path / "file" / "run"),
    ):
        pass


def test_the_thread_that_holds_a_lock_can_take_it_again(tmp_path: Path) -> None:
    with sole_writer(tmp_path):
        with sole_writer(tmp_path / "."):
            pass
        assert (tmp_path / LOCK).exists()


def test_writers_that_compete_are_never_in_a_folder_together(tmp_path: Path) -> None:
    """Locks are taken, released and removed many times, and the folder is made and removed with them."""
    inside, together, done = set[int](), [], []

    def compete(number: int) -> None:
        while done.count(number) < 40:
            try:
                with sole_writer(tmp_path / "run"):
                    inside.add(number)
                    time.sleep(0.0005)
                    together.append(len(inside))
                    inside.remove(number)
                    done.append(number)
            except FileError:
                time.sleep(0.0002)

    threads = [threading.Thread(target=compete, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 160
    assert set(together) == {1}
