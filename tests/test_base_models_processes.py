"""Work done by processes: the bytes that one process gives, and a worker's mistake as its sentence.

The tests of this group share two workers: starting one costs more than all that it is given to do here.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foldstill.base_models import EegMember, JoinedMember, Recipe, SecondStage, train_members
from foldstill.data.augment import Noise
from foldstill.data.dataset import Dataset
from foldstill.errors import MemberError
from foldstill.workers import Work
from made_up import (
    ON_CPU,
    RECIPE,
    SMALL,
    TWO_VIEWS,
    call,
    eeg_table,
    folds_of,
    one_worker,
    timm_table,
    weights,
    write_two_views,
)

BRIEF = Recipe(epochs=1, batch_size=16)
SIGNAL = EegMember(
    "signal", view="signal", widths=(8, 8), features=16, heads=2, blocks=1, recipe=replace(BRIEF, augment=(Noise(),))
)
MEMBERS = [JoinedMember("both", ("small", "signal"), hidden=16, recipe=BRIEF), SMALL, SIGNAL]


@pytest.fixture(scope="module")
def data(pictures):
    signals = np.random.default_rng(0).normal(size=(len(pictures.labels), 3, 64)).astype(np.float32)
    return Dataset(pictures.labels, {"image": pictures.views["image"], "signal": signals})


def test_processes_give_the_same_bytes_as_one_process(data, tmp_path):
    """Joined members too, which wait for the weights that other processes leave."""
    plan, received = folds_of(data, 2), []
    train_members(MEMBERS, data, plan, tmp_path / "one", work=one_worker())
    two = Work(workers=2, device="cpu", report=received.append)
    ends = train_members(MEMBERS, data, plan, tmp_path / "two", work=two)
    for name in ("both", "small", "signal"):
        for fold in range(2):
            assert weights(tmp_path / "two", name, fold) == weights(tmp_path / "one", name, fold)
        assert sorted(p.folds for p in ends if p.member == name and p.held_out_kl is not None) == [(0,), (1,)]
        last = [p for p in received if p.task == name][-1]
        assert last.done == last.total
    assert not list(tmp_path.rglob("progress.json"))


RUN = f"""
name = "small"
{TWO_VIEWS}[folds]
n_folds = 2
test_share = 0.3
[recipe]
epochs = 1
batch_size = 16
{timm_table("picture")}{eeg_table("signal")}[stacking]
combiner = [{{ kind = "average" }}, {{ kind = "recalibrated" }}]
[student]
network = "test_resnet"
teacher = "recalibrated"
"""


def test_any_number_of_jobs_leaves_the_same_bytes(tmp_path, monkeypatch):
    """Every file of the stages that train; the first of two seeds is also the seed of a student that has one."""
    write_two_views(tmp_path / "two-views.npz")
    made = {}
    for jobs, seeds in (("1", 2), ("2", 1)):
        path, out = tmp_path / f"{jobs}.toml", tmp_path / f"run-{jobs}"
        path.write_text(f"{RUN}seeds = {seeds}\n")
        at = (path, "--out", out)
        assert call(monkeypatch, "train", *at, "--workers", jobs, *ON_CPU) == 0
        assert call(monkeypatch, "oof", "build", *at) == 0
        assert call(monkeypatch, "stack", *at, "--workers", "1", "-q") == 0
        assert call(monkeypatch, "distill", *at, "--workers", jobs, *ON_CPU) == 0
        files = [file for file in out.rglob("*") if file.suffix in (".safetensors", ".parquet", ".npz")]
        made[jobs] = {str(file.relative_to(out)): file.read_bytes() for file in files}
    assert sum(Path(name).name == "weights.safetensors" for name in made["2"]) == 6  # two members twice, two students
    for name, content in made["2"].items():
        assert made["1"][name] == content, name


def test_a_mistake_in_a_worker_arrives_as_its_sentence(pictures, tmp_path):
    wrong = replace(SMALL, recipe=replace(RECIPE, second_stage=SecondStage(min_votes=100)))
    with pytest.raises(MemberError, match=r"member small, fold .: training needs 2 rows"):
        train_members([wrong], pictures, folds_of(pictures, 2), tmp_path, work=Work(workers=2, device="cpu"))
