"""A training that was killed goes on to the same bytes, and not from a checkpoint of other settings."""

import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from foldstill.base_models import train_members
from foldstill.errors import FoldstillWarning, MemberError
from made_up import RECIPE, SMALL, STATEFUL, folds_of, interruptions, is_epoch, one_worker

KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from made_up import STATEFUL, bright_pictures, folds_of, one_worker
from foldstill.base_models import engine, train_members
engine.CHECKPOINT_S = 0.0
data = bright_pictures()
tell = lambda p: print(p.done, flush=True)
train_members([STATEFUL], data, folds_of(data, 2), Path(sys.argv[1]), work=one_worker(tell))
"""


@pytest.fixture(scope="module")
def unbroken(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    train_members([STATEFUL], pictures, folds_of(pictures, 2), folder, work=one_worker())
    return folder


def assert_same_files(one, two):
    for fold in range(2):
        for name in ("weights.safetensors", "history.csv", "oof.parquet", "test.parquet"):
            place = f"small/fold-{fold}/{name}"
            assert (one / place).read_bytes() == (two / place).read_bytes(), place
    assert not list(two.rglob("checkpoint-*"))


def test_a_killed_training_goes_on_to_the_same_bytes(pictures, unbroken, tmp_path):
    """SIGKILL in the middle of an epoch of the second fold; everything a recipe can keep state of is on."""
    command = [sys.executable, "-c", KILLED, str(tmp_path), os.path.dirname(__file__)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line == "6\n":  # four epochs of the first fold, two of the second
                time.sleep(0.02)  # into the next epoch
                process.send_signal(signal.SIGKILL)
                break
    assert (tmp_path / "small/fold-0/done.json").exists()
    assert not (tmp_path / "small/fold-1/done.json").exists()
    assert list((tmp_path / "small/fold-1").glob("checkpoint-*"))
    received = []
    with pytest.warns(FoldstillWarning, match=rf"small/fold-1: process {process.pid} on .*ended before it was done"):
        train_members([STATEFUL], pictures, folds_of(pictures, 2), tmp_path, work=one_worker(received.append))
    assert not list(tmp_path.rglob(".*")), "neither locks nor temporary files stay"
    assert next(p.done for p in received if is_epoch(p, "small")) > 6
    assert_same_files(unbroken, tmp_path)


@pytest.mark.usefixtures("every_epoch_saved")
def test_a_training_interrupted_after_every_epoch_ends_with_the_same_bytes(pictures, unbroken, tmp_path):
    plan = folds_of(pictures, 2)
    stops = interruptions(
        "small", lambda stop: train_members([STATEFUL], pictures, plan, tmp_path, work=one_worker(stop))
    )
    assert stops == 2 * (3 + 1)
    assert_same_files(unbroken, tmp_path)


@pytest.mark.usefixtures("every_epoch_saved")
def test_a_checkpoint_of_other_inputs_is_refused_by_name(pictures, three_folds, tmp_path):
    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_members([SMALL], pictures, three_folds, tmp_path, work=one_worker(stop))
    other = replace(SMALL, recipe=replace(RECIPE, weight_decay=0.5))
    with pytest.raises(MemberError, match=r"fold 0: .*member.recipe.weight_decay was 0.02, is 0.5"):
        train_members([other], pictures, three_folds, tmp_path, work=one_worker())
    train_members([other], pictures, three_folds, tmp_path, work=one_worker(force=True))


def test_a_checkpoint_is_written_after_half_a_minute_and_at_the_end_of_a_stage(pictures, tmp_path, monkeypatch):
    """Three epochs of the first stage and one of the second, while a clock that counts 20 seconds per look is read."""
    clock = itertools.count(0.0, 20.0)
    monkeypatch.setattr("foldstill.base_models.engine.monotonic", lambda: next(clock))
    saved = []

    def look(progress):
        if is_epoch(progress, "small"):
            folder = tmp_path / "small/fold-0"
            saved.append([p.stat().st_mtime_ns for p in sorted(folder.glob("checkpoint-*"))])

    train_members([STATEFUL], pictures, folds_of(pictures, 2), tmp_path, folds=(0,), work=one_worker(look))
    first, second, third, fourth = saved
    assert first == []
    assert len(second) == len(third) == 1
    assert second != third
    assert len(fourth) == 2
    assert fourth[:1] == third
