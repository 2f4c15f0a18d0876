"""Several machines work on one folder: one writes at a time, a dead one is replaced, and nothing is done twice.

Two groups of processes with other host names stand for two machines. The locks of the kernel are off, as on disks that
do not support them, so that signs of life decide.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from command_processes import start_process, write_experiment
from foldstill.lock import LOCK, SILENT_S
from made_up import call

MACHINE = """
import fcntl, socket, sys, time
from pathlib import Path
host = sys.argv[1]
socket.gethostname = lambda: host
def no_locks(*_):
    raise OSError(38, "Function not implemented")
fcntl.flock = no_locks
from foldstill.base_models import jobs
run_job = jobs._run_job
def held(job, *rest):
    while host == "one" and Path("hold").exists() and Path("hold").read_text() == job.name:
        time.sleep(0.05)
    run_job(job, *rest)
jobs._run_job = held
from foldstill.cli import main
sys.argv = ["foldstill", *sys.argv[2:]]
main()
"""


def start(host: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """A command on a machine."""
    return start_process(folder, host, *arguments, "-q", code=MACHINE)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and what was said, on one line."""
    _, errors = process.communicate(timeout=300)
    return process.returncode, " ".join(errors.split())


def writer_of(folder: Path, process: subprocess.Popen[str]) -> str:
    """The host in the lock of a folder, as soon as there is one."""
    while process.poll() is None:
        try:
            return str(json.loads((folder / LOCK).read_text())["host"])
        except (FileNotFoundError, json.JSONDecodeError):
            time.sleep(0.01)
    pytest.fail(f"{folder} was never locked: {finish(process)}")


def fall_silent(run: Path) -> None:
    """Make the last signs of life of all writers older than those of a machine that is alive."""
    for path in run.rglob(LOCK):
        os.utime(path, (time.time() - SILENT_S - 1,) * 2)


def results(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*.parquet")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment, and a run of it that one machine did alone."""
    place = tmp_path_factory.mktemp("machines")
    write_experiment(place, n_folds=3, rounds=20)
    assert finish(start("one", place, "train", "e.toml", "--out", "alone", "--workers", "1"))[0] == 0
    return place


def test_one_job_is_trained_by_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = folder / "one"
    assert call(monkeypatch, "train", folder / "e.toml", "--out", run, "--only", "regression/1", "--json", "-q") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"trained": "regression/1", "run": str(run), "next": f"foldstill train {run}"}
    assert [path.parent.relative_to(run / "members").as_posix() for path in run.rglob("done.json")] == [
        "regression/fold-1"
    ]


def test_a_machine_is_refused_while_another_one_works_and_takes_over_when_it_is_dead(folder: Path) -> None:
    run, line = folder / "run", ("train", "e.toml", "--out", "run", "--workers", "1")
    (folder / "hold").write_text("member slow, fold 2")
    first = start("one", folder, *line)
    assert writer_of(run / "members" / "slow" / "fold-2", first) == "one"
    code, said = finish(start("two", folder, *line))
    assert code == 2, said
    assert "run is being written by process" in said
    assert "on one, since" in said
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    times = {path: path.stat().st_mtime_ns for path in run.glob("members/*/fold-*/done.json")}
    assert 0 < len(times) < 6, "it was killed in the middle"
    code, said = finish(start("two", folder, *line))
    assert code == 2, said
    assert f"after {SILENT_S:.0f} s it counts as dead" in said
    fall_silent(run)
    code, said = finish(start("two", folder, *line))
    assert code == 0, said
    assert f"process {first.pid} on one," in said
    assert "ended before it was done: going on from what it left" in said
    assert {path: path.stat().st_mtime_ns for path in times} == times, "finished jobs are not done again"
    assert results(run) == results(folder / "alone")
    assert not list(run.rglob(".*"))


@pytest.mark.slow
def test_machines_share_the_jobs_of_an_array_and_what_a_dead_one_left_is_done_by_the_next_command(folder: Path) -> None:
    run, line = folder / "array", ("train", "e.toml", "--out", "array", "--workers", "1")
    slow = run / "members" / "slow"
    (folder / "hold").write_text("member slow, fold 0")
    one = start("one", folder, *line, "--only", "slow/0")
    assert writer_of(slow / "fold-0", one) == "one"
    others = [start("two", folder, *line, "--only", f"slow/{fold}") for fold in (1, 2)]
    # All jobs together, the same job, and a job that there is none of.
    for refused, reason in (
        (line, "fold-0 is being written by process"),
        ((*line, "--only", "slow/0"), "fold-0 is being written by process"),
        (
            (*line, "--only", "slow/3"),
            "there is no job 'slow/3' among regression/0, regression/1,",
        ),
    ):
        code, said = finish(start("two", folder, *refused))
        assert code == 2, said
        assert reason in said
    os.killpg(one.pid, signal.SIGKILL)
    one.communicate()
    assert [finish(process)[0] for process in others] == [0, 0]
    assert not (slow / "fold-0" / "done.json").exists()
    times = {path: path.stat().st_mtime_ns for path in slow.glob("fold-*/done.json")}
    assert len(times) == 2
    fall_silent(run)
    code, said = finish(start("two", folder, *line))
    assert code == 0, said
    assert "slow/fold-0: process" in said
    assert {path: path.stat().st_mtime_ns for path in times} == times, "finished jobs are not done again"
    assert results(run) == results(folder / "alone")
    assert not list(run.rglob(".*"))
