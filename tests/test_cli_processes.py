"""Commands as real processes: interrupted like by Ctrl-C in a terminal, and with too little memory."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from command_processes import start_process, write_experiment

COMBINERS = """
[[stacking.combiner]]
kind = "average"
[[stacking.combiner]]
kind = "convex"
"""
ROUNDS = 150
"""The boosting takes a second, so that it is interrupted."""
WITHOUT_TIMES = ("oof.parquet", "test.parquet", "folds.parquet", "combination.npz", "combination.json", "weights.json")


def run(out: str, jobs: int) -> list[str]:
    return ["run", "e.toml", "--out", out, "--workers", str(jobs), "-q"]


def alive_in(group: int) -> list[str]:
    """Commands of the processes of a group that work."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().rpartition(")")
        except OSError:
            continue
        state, _, of = rest.split()[:3]
        if int(of) == group and state != "Z":
            found.append(name)
    return found


def results(folder: Path) -> dict[str, bytes]:
    paths = [path for pattern in WITHOUT_TIMES for path in folder.rglob(pattern)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment, and a run of it that nothing disturbed."""
    place = tmp_path_factory.mktemp("processes")
    write_experiment(place, n_folds=2, rounds=ROUNDS, more=COMBINERS)
    whole = start_process(place, *run("whole", 1))
    _, errors = whole.communicate()
    assert whole.returncode == 0, errors
    return place


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="tells by /proc which processes are alive")
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_is_interrupted_ends_in_one_sentence_and_is_continued_to_the_same_bytes(
    folder: Path, jobs: int
) -> None:
    out = folder / f"jobs-{jobs}"
    process = start_process(folder, *run(out.name, jobs))
    deadline = time.monotonic() + 120
    while not (found := list(out.glob("members/*/fold-*/done.json"))) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.strip() == "interrupted; finished work is kept", errors
    assert output == ""
    # A worker sees at its next look that its parent is gone.
    deadline = time.monotonic() + 5
    while (alive := alive_in(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive == []
    kept = {path: path.stat().st_mtime_ns for path in found}
    assert 1 <= len(kept) <= len(list(out.glob("members/*/fold-*/done.json"))) < 4
    assert not (out / "oof.parquet").exists()

    continued = start_process(folder, *run(out.name, 1))
    _, errors = continued.communicate()
    assert continued.returncode == 0, errors
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    right = results(folder / "whole")
    assert results(out) == right
    assert len(right) > 10


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np, pandas, pydantic
from foldstill.cli import main
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 100 * 2**20,) * 2)
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process")
def test_a_file_that_does_not_fit_into_memory_is_named_in_one_sentence(tmp_path: Path) -> None:
    np.savez(tmp_path / "scores.npz", pred=np.full((400_000, 1, 50), 0.02), label=np.arange(400_000) % 50)  # 160 MB
    process = start_process(tmp_path, "oof", "import", "scores.npz", "--out", "table.parquet", code=LIMITED)
    _, errors = process.communicate()
    assert process.returncode == 2, errors
    assert " ".join(errors.split()) == (
        "foldstill: 'pred' in scores.npz does not fit into memory: use a machine with more memory, or fewer rows"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["scores.npz"]
