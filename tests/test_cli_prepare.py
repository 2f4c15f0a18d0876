"""`foldstill prepare` for every kind of data, what `run` prepares by itself, and processes that prepare the same."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command_processes import start_process
from foldstill.data.images import ImageReader
from foldstill.hms.source import HmsData
from foldstill.hms.synthetic import write_synthetic_hms
from foldstill.hms.views_spectra import MelSpectrogram
from foldstill.pipeline.experiment import Experiment
from foldstill.pipeline.experiment_file import read_experiment
from foldstill.pipeline.run import Run
from foldstill.pipeline.rundir import RunDir
from foldstill.workers import Progress, Work
from made_up import call

IMAGES = """
name = "mine"
[data]
kind = "folder"
path = "images"
size = 8

[[member]]
name = "net"
network = "test_resnet"
"""
DIGITS = IMAGES.replace('kind = "folder"\npath = "images"\nsize = 8', 'kind = "digits"')


@pytest.fixture
def images(tmp_path: Path, rng: np.random.Generator) -> Path:
    for number in range(12):
        path = tmp_path / "images" / ("cat" if number % 2 else "dog") / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (10, 12, 3), dtype=np.uint8)).save(path)
    (tmp_path / "mine.toml").write_text(IMAGES)
    (tmp_path / "digits.toml").write_text(DIGITS)
    return tmp_path


def test_images_are_prepared_by_the_command_and_read_by_no_other(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "prepare", images / "mine.toml", "--workers", "1") == 0
    out = capsys.readouterr().out.replace("\n", " ")
    assert "12 images of 8 x 8 x 3 are in" in out
    monkeypatch.setattr(ImageReader, "read", None)
    assert call(monkeypatch, "prepare", images / "mine.toml", "-q") == 0
    assert call(monkeypatch, "run", images / "mine.toml", "--out", images / "run", "--set", "folds.n_folds=1") == 2
    assert "n_folds" in capsys.readouterr().err


def test_data_that_need_no_preparation_say_so(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "prepare", images / "digits.toml") == 0
    assert "data of kind 'digits' need no preparation" in capsys.readouterr().out
    assert call(monkeypatch, "prepare", images / "mine.toml", "--device", "cpu") == 2
    assert "--device are for HMS files" in capsys.readouterr().err
    assert not (images / "image-cache").exists()


def test_a_run_prepares_what_is_missing_and_reports_it(images: Path) -> None:
    reported: list[Progress] = []
    settings = read_experiment(images / "mine.toml", ())
    for _ in range(2):
        run = Run(RunDir(images / "run"), settings, images, Work(workers=1, report=reported.append))
        assert len(run.dataset.labels) == 12
    assert [(each.task, each.done, each.total) for each in reported] == [("prepare", 0, 12), ("prepare", 12, 12)]
    assert not (images / "run").exists()


def test_a_run_prepares_hms_files_and_then_reads_their_cache_alone(tmp_path: Path) -> None:
    write_synthetic_hms(tmp_path / "hms", patients=3, recordings=1)
    data = HmsData(folder="hms", cache="cache", views=(MelSpectrogram(n_mels=8, width=16),))
    member = read_experiment_of_images(tmp_path).member
    reported: list[Progress] = []
    for expected in (2, 2):
        settings = Experiment(name="x", data=data, member=member)
        run = Run(RunDir(tmp_path / "run"), settings, tmp_path, Work(workers=1, report=reported.append))
        assert len(run.dataset.view("mel"))
        assert len(reported) == expected
        if (tmp_path / "hms").exists():
            (tmp_path / "hms").rename(tmp_path / "elsewhere")


def read_experiment_of_images(folder: Path) -> Experiment:
    (folder / "mine.toml").write_text(IMAGES)
    return read_experiment(folder / "mine.toml", ())


PREPARE = """
import sys, time
from pathlib import Path
import foldstill.data.folder, foldstill.hms.prepare
from foldstill.data import array_filling
for module in ("foldstill.data.folder", "foldstill.hms.prepare"):
    sys.modules[module].PART_ROWS = 2
add, name = array_filling.Journal.add, sys.argv[1]

def hold(journal, part):
    add(journal, part)
    with Path("parts").open("a") as stream:
        stream.write(f"{name}\\n")
    while name == "first" and not Path("go").exists():
        time.sleep(0.02)

array_filling.Journal.add = hold
from foldstill.cli import main
sys.argv = ["foldstill", *sys.argv[2:]]
main()
"""
"""A command that writes its name into a file per part; the first process stops after one part until it may go on."""


@pytest.mark.parametrize(("target", "is_killed"), [("mine.toml", False), ("mine.toml", True), ("hms", False)])
def test_a_second_process_waits_for_the_one_that_prepares_the_same_and_takes_over_when_it_is_killed(
    images: Path, target: str, is_killed: bool
) -> None:
    line = ["prepare", target, "--workers", "1", "-q"]
    if target == "hms":
        write_synthetic_hms(images / "hms", patients=3, recordings=1)
        line += ["--view", "kaggle_spectrogram"]
    first = start_process(images, "first", *line, code=PREPARE)
    wait_until((images / "parts").exists, first)
    second = start_process(images, "second", *line, code=PREPARE)
    assert second.stderr is not None
    said = second.stderr.readline()
    assert f"is being written by process {first.pid} on" in said
    assert said.endswith(": waiting until it ends\n")
    first.kill() if is_killed else (images / "go").touch()
    first.communicate(timeout=60)
    output, errors = second.communicate(timeout=60)
    assert second.returncode == 0, errors
    assert ("3 of 3 samples in" if target == "hms" else "12 images of 8 x 8 x 3 are in") in output
    assert ("ended before it was done: going on from what it left" in errors) is is_killed
    by = (images / "parts").read_text().split()
    n_parts = 2 if target == "hms" else 6
    assert by == ["first"] + ["second" if is_killed else "first"] * (n_parts - 1), "no part is made twice"


def wait_until(is_so: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until something is so, which the process does."""
    while not is_so():
        if process.poll() is not None:
            pytest.fail(f"ended before: {process.communicate()}")
        time.sleep(0.01)
