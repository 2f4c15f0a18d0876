"""What several test modules share: small pictures, members and students, and a call of the command line."""

from __future__ import annotations

import csv
import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from foldstill.base_models import EarlyStopping, Recipe, SecondStage, TimmMember, train_members
from foldstill.data.augment import HorizontalFlip, Noise, Shift
from foldstill.data.dataset import Dataset
from foldstill.data.folds import FoldPlan, make_plan
from foldstill.data.labels import Labels
from foldstill.data.mixing import CutMix
from foldstill.errors import DataError
from foldstill.lock import sole_writer
from foldstill.workers import OnProgress, Progress, Work, silent

if TYPE_CHECKING:
    import pandas as pd

    from foldstill.distill import Student


SMOKE = (Path(__file__).parents[1] / "experiments" / "smoke.toml").read_text(encoding="utf-8")
"""The experiment with all stages on the smallest data."""

ON_CPU = ("--device", "cpu", "-q")
"""Options of a command whose numbers or bytes are looked at."""


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """The exit code of one command."""
    from foldstill.cli import main

    monkeypatch.setattr(sys, "argv", ["foldstill", *map(str, arguments)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@contextmanager
def held_by_another_thread(folder: Path) -> Iterator[None]:
    """The folder while a thread of this process writes into it, which the kernel treats like another process."""
    locked, over = threading.Event(), threading.Event()

    def write() -> None:
        with sole_writer(folder):
            locked.set()
            over.wait()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert locked.wait(10)
        yield
    finally:
        over.set()
        thread.join()


def write_csvs(folder: Path, **frames: pd.DataFrame) -> list[Path]:
    """Write each frame into a CSV file of its name, and return the paths."""
    paths = []
    for name, frame in frames.items():
        paths.append(folder / f"{name}.csv")
        frame.to_csv(paths[-1], index=False)
    return paths


def bright_pictures(n: int = 90, seed: int = 0) -> Dataset:
    """Pictures whose brightness tells the class; three rows a group, some with many votes.

    16 pixels are the smallest side that test_resnet and test_efficientnet do not shrink to nothing.
    """
    rng = np.random.default_rng(seed)
    shown = rng.integers(0, 3, n)
    images = (rng.normal(60, 20, (n, 16, 16, 3)) + 60 * shown[:, None, None, None]).clip(0, 255).astype(np.uint8)
    votes = np.eye(3)[shown] * rng.integers(1, 12, n)[:, None] + rng.integers(0, 2, (n, 3))
    return Dataset(Labels.from_votes(votes, groups=np.arange(n) // 3), {"image": images})


def folds_of(data: Dataset, n: int) -> FoldPlan:
    """n folds by group."""
    return make_plan(data.labels, n_folds=n, strategy="grouped")


RECIPE = Recipe(epochs=2, batch_size=16, augment=(HorizontalFlip(), Shift(), CutMix()), ema=0.9)
SMALL = TimmMember("small", "test_efficientnet", recipe=RECIPE)
EVERYTHING = Recipe(
    epochs=3, batch_size=16, ema=0.9, schedule="plateau", sampling="balanced", augment=(Noise(), CutMix()),
    early_stopping=EarlyStopping(share=0.2, patience=3), second_stage=SecondStage(min_votes=5, epochs=1),
)  # fmt: skip
"""Everything on that a recipe can keep state of."""
STATEFUL = replace(SMALL, recipe=EVERYTHING, drop_rate=0.2)


def weights(folder: Path, member: str = "small", fold: int = 0) -> bytes:
    return (folder / member / f"fold-{fold}" / "weights.safetensors").read_bytes()


def read_history(place: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((place / "history.csv").read_text().splitlines()))


def one_worker(report: OnProgress = silent, *, force: bool = False) -> Work:
    """Everything in this process, on the CPU."""
    return Work(workers=1, device="cpu", force=force, report=report)


def is_epoch(progress: Progress, member: str) -> bool:
    """Whether this is the end of an epoch of the member, not of one of its models."""
    return progress.task == member and progress.note.startswith("training loss")


def interruptions(member: str, train: Callable[[OnProgress], None]) -> int:
    """How often a training was interrupted that is interrupted after every epoch of this member, and started again.

    Every epoch must be saved, as with the fixture `every_epoch_saved`.
    """

    def stop(progress: Progress) -> None:
        if is_epoch(progress, member):
            raise KeyboardInterrupt

    stops = 0
    while True:
        try:
            train(stop)
        except KeyboardInterrupt:
            stops += 1
        else:
            return stops


def noise_run(members: Sequence[TimmMember], folder: Path) -> tuple[Dataset, FoldPlan]:
    """Members trained on two folds of 32 rows of noise, beside four locked test rows."""
    rng = np.random.default_rng(0)
    votes = rng.multinomial(5, [0.5, 0.3, 0.2], 36).astype(float)
    dataset = Dataset(Labels.from_votes(votes), {"image": rng.integers(0, 256, (36, 16, 16, 3)).astype(np.uint8)})
    plan = FoldPlan.from_folds(dataset.labels, np.where(np.arange(36) < 4, -1, np.arange(36) % 2))
    train_members(members, dataset, plan, folder, work=one_worker())
    return dataset, plan


def noise_pictures(n: int = 48) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3)).astype(np.uint8)


def loud_student(**settings: Any) -> Student:
    """An untrained student of three classes whose logits differ, so that differences between its files are visible."""
    import torch

    from foldstill.base_models.network_model import NetworkModel
    from foldstill.data.row_form import RowForm
    from foldstill.distill import Student

    torch.manual_seed(0)
    network = TimmMember("s", "test_efficientnet", **settings).build([(16, 16, 3)], 3).eval()
    network.input.mean.fill_(127.0)
    network.input.std.fill_(60.0)
    network.body.get_classifier().weight.data.mul_(20)
    return Student(NetworkModel(network, {"image": RowForm((16, 16, 3), "uint8")}, ("a", "b", "c")), "image")


def write_two_views(path: Path, n: int = 96, seed: int = 0) -> None:
    """An `.npz` of three classes, three rows per group; brightness of pictures and rhythm of signals tell the class."""
    rng = np.random.default_rng(seed)
    shown = rng.integers(0, 3, n)
    pictures = (rng.normal(60, 30, (n, 16, 16, 3)) + 50 * shown[:, None, None, None]).clip(0, 255).astype(np.uint8)
    rhythm = np.sin(np.arange(64) * (0.3 + 0.4 * shown[:, None]) + rng.uniform(0, 6, (n, 1)))
    signals = (rng.normal(0, 0.7, (n, 3, 64)) + rhythm[:, None]).astype(np.float32)
    votes = np.eye(3)[shown] * rng.integers(1, 12, n)[:, None] + rng.integers(0, 3, (n, 3))
    np.savez(path, images=pictures, signals=signals, votes=votes.astype(np.int64), group=np.arange(n) // 3)


TWO_VIEWS = """[data]
kind = "npz"
path = "two-views.npz"
images = "images"
signals = "signals"
votes = "votes"
group = "group"
"""
"""The table of an experiment that reads what `write_two_views` wrote."""


DIGITS = """[data]
kind = "digits"
rows = 240
size = 16
"""
"""The table of an experiment on handwritten digits."""


def timm_table(name: str, network: str = "test_resnet", **settings: Any) -> str:
    """The `[[member]]` table of a timm member."""
    return member_table(name=name, network=network, **settings)


def eeg_table(name: str, view: str = "signal", **settings: Any) -> str:
    """The `[[member]]` table of a small EEG network; settings replace those of the smallest one that attends."""
    small = {"widths": [4, 8], "features": 8, "heads": 2, "blocks": 1}
    return member_table(name=name, kind="eeg", view=view, **small | settings)


def member_table(**settings: Any) -> str:
    """A `[[member]]` table of these settings."""
    return "".join(["[[member]]\n", *(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())])


def refusals_of_damage(path: Path, load: Callable[[], object], changes: int) -> int:
    """How often a source is refused, in one sentence, when its file is cut or `changes` of its bytes are others."""
    rng, whole, refused = np.random.default_rng(0), path.read_bytes(), 0
    for cut in [False, True] * 20:
        bad = bytearray(whole[: rng.integers(len(whole)) if cut else None])
        for at in rng.integers(0, max(len(bad), 1), changes):
            bad[at : at + 1] = rng.bytes(1)
        path.write_bytes(bad)
        try:
            load()
        except DataError as error:
            refused += 1
            assert "\n" not in str(error)  # noqa: PT017
    return refused
