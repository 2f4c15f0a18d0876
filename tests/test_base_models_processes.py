"""Members trained by processes: the bytes that one process gives, and a worker's mistake as its sentence.

One module, so that its tests share two workers: starting one costs more than all that it is given to do here.
"""

from dataclasses import replace

import numpy as np
import pytest

from foldstill.base_models import EegMember, JoinedMember, Recipe, SecondStage, train_members
from foldstill.data.augment import Noise
from foldstill.data.dataset import Dataset
from foldstill.errors import MemberError
from foldstill.workers import Work
from made_up import RECIPE, SMALL, folds_of, one_worker, weights

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


def test_a_mistake_in_a_worker_arrives_as_its_sentence(pictures, tmp_path):
    wrong = replace(SMALL, recipe=replace(RECIPE, second_stage=SecondStage(min_votes=100)))
    with pytest.raises(MemberError, match=r"member small, fold .: training needs 2 rows"):
        train_members([wrong], pictures, folds_of(pictures, 2), tmp_path, work=Work(workers=2, device="cpu"))
