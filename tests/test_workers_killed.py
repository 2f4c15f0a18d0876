"""A worker of a cluster that is killed is replaced, and its job goes on from its checkpoint to the same bytes."""

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from foldstill.base_models import TorchMember, engine, train_members
from foldstill.lock import LOCK
from foldstill.workers import Progress, Work
from made_up import RECIPE, bright_pictures, folds_of, weights

NETWORK = """
import os

import torch

from foldstill.base_models import engine

read = engine.read_checkpoint


def noted(path, *rest):
    found = read(path, *rest)
    if found is not None:
        with (path.parents[3] / "resumed.txt").open("a") as stream:
            stream.write(f"{os.getpid()} {path.parent.name} {len(found[1])}\\n")
    return found


if engine.CHECKPOINT_S:  # once per worker
    engine.CHECKPOINT_S, engine.read_checkpoint = 0.0, noted


def net(shape, n_classes):
    height, width, channels = shape
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Dropout(0.3), torch.nn.Linear(height * width * channels, n_classes)
    )
"""
"""In each worker that trains it, every epoch has a checkpoint, and a file says who went on from which one."""


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "package"), [("dask=local", "distributed"), ("ray=local", "ray")])
def test_the_job_of_a_killed_worker_goes_on_from_its_checkpoint_in_another_one(
    workers: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(package)
    for name in ("CHECKPOINT_S", "read_checkpoint"):
        monkeypatch.setattr(engine, name, getattr(engine, name))  # the network changes them in this process as well
    (tmp_path / "net.py").write_text(NETWORK)
    member = TorchMember("drops", f"{tmp_path}/net.py:net", recipe=replace(RECIPE, epochs=40))
    data, killed, epochs = bright_pictures(150), [], []
    job = tmp_path / "cluster" / "drops" / "fold-0"

    def kill() -> None:
        """The worker that says it works on the first job, after an epoch."""
        while not (job / "checkpoint-1.safetensors").exists():
            time.sleep(0.005)
        killed.append(json.loads((job / LOCK).read_text())["pid"])
        os.kill(killed[0], signal.SIGKILL)

    def report(progress: Progress) -> None:
        epochs.append(progress.done)

    killer = threading.Thread(target=kill)
    killer.start()
    work = Work(workers, device="cpu", report=report)
    train_members([member], data, folds_of(data, 3), tmp_path / "cluster", work=work)
    killer.join()
    assert killed
    assert killed[0] != os.getpid()
    assert epochs == sorted(epochs), "no epoch is reported twice"
    resumed = [line.split() for line in (tmp_path / "resumed.txt").read_text().splitlines()]
    process, _, n_epochs = next(line for line in resumed if line[1] == "fold-0")
    assert int(process) not in (killed[0], os.getpid())
    assert 1 <= int(n_epochs) < 40, "the checkpoint was written in the middle of the training"
    train_members([member], data, folds_of(data, 3), tmp_path / "alone", work=Work(1, device="cpu"))
    for fold in range(3):
        assert weights(tmp_path / "cluster", "drops", fold) == weights(tmp_path / "alone", "drops", fold)
    assert not list((tmp_path / "cluster").rglob(".*"))
