"""A worker of a cluster that is killed is replaced, and its job goes on to the same bytes."""

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from foldstill.base_models import TimmMember, train_members
from foldstill.lock import LOCK
from foldstill.workers import Progress, Work
from made_up import RECIPE, bright_pictures, folds_of, weights

MEMBER = TimmMember("drops", view="image", network="test_resnet", drop_rate=0.3, recipe=replace(RECIPE, epochs=8))


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "package"), [("dask=local", "distributed"), ("ray=local", "ray")])
def test_the_job_of_a_killed_worker_is_done_by_another_one(workers: str, package: str, tmp_path: Path) -> None:
    pytest.importorskip(package)
    data, killed, epochs = bright_pictures(150), [], []
    job = tmp_path / "cluster" / "drops" / "fold-0"

    def kill() -> None:
        """The worker that says it works on the first job, after an epoch."""
        while not (job / "progress.json").exists():
            time.sleep(0.005)
        killed.append(json.loads((job / LOCK).read_text())["pid"])
        os.kill(killed[0], signal.SIGKILL)

    def report(progress: Progress) -> None:
        epochs.append(progress.done)

    killer = threading.Thread(target=kill)
    killer.start()
    work = Work(workers, device="cpu", report=report)
    train_members([MEMBER], data, folds_of(data, 3), tmp_path / "cluster", work=work)
    killer.join()
    assert killed
    assert killed[0] != os.getpid()
    assert epochs == sorted(epochs), "no epoch is reported twice"
    train_members([MEMBER], data, folds_of(data, 3), tmp_path / "alone", work=Work(1, device="cpu"))
    for fold in range(3):
        assert weights(tmp_path / "cluster", "drops", fold) == weights(tmp_path / "alone", "drops", fold)
    assert not list((tmp_path / "cluster").rglob(".*"))
