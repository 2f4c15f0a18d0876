from dataclasses import replace

import numpy as np
import pytest

from foldstill.base_models import Recipe, TimmMember, collect, collect_without, train_members
from foldstill.data.dataset import Dataset
from foldstill.data.folds import make_plan
from foldstill.data.labels import Labels
from foldstill.errors import ExperimentError, MemberError
from foldstill.oof.store import read_scores
from made_up import one_worker

MEMBERS = [
    TimmMember(name, "test_efficientnet", recipe=Recipe(epochs=epochs, batch_size=16))
    for name, epochs in (("short", 1), ("long", 2))
]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 3, 72)
    images = (rng.normal(60, 20, (72, 16, 16, 3)) + 60 * shown[:, None, None, None]).clip(0, 255).astype(np.uint8)
    return Dataset(Labels.from_votes(np.eye(3)[shown] * 4 + 1, groups=np.arange(72) // 3), {"image": images})


@pytest.fixture(scope="module")
def plan(data):
    return make_plan(data.labels, n_folds=3, test_share=0.15, strategy="grouped")


@pytest.fixture(scope="module")
def trained(data, plan, tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    train_members(MEMBERS, data, plan, folder, pairs=True, work=one_worker())
    return folder


def altered(data, rows):
    """The same data with other pictures and other votes in these rows."""
    images, votes = data.view("image").copy(), data.labels.votes_NC.copy()
    images[rows], votes[rows] = 255 - images[rows], votes[rows][:, ::-1]
    return Dataset(replace(data.labels, votes_NC=votes), {"image": images})


def test_every_two_folds_get_a_model_and_finished_ones_are_kept(trained, data, plan):
    made = {str(p.parent.relative_to(trained)) for p in trained.rglob("done.json")}
    assert made == {f"{name}/pair-{pair}" for name in ("short", "long") for pair in ("0-1", "0-2", "1-2")}
    received = []
    ends = train_members(MEMBERS, data, plan, trained, pairs=True, work=one_worker(received.append))
    assert [(p.member, p.folds) for p in ends[:3]] == [("short", (0, 1)), ("short", (0, 2)), ("short", (1, 2))]
    assert all(p.held_out_kl is not None for p in ends)
    assert {p.task for p in received} == {"short, pairs of folds", "long, pairs of folds"}
    assert received[-1].note.endswith("over 3 of 3 pairs")
    with pytest.raises(ExperimentError, match="seed"):
        train_members(MEMBERS, data, plan, trained, pairs=True, seed=1, work=one_worker())


def test_the_table_without_a_fold_holds_the_other_rows_and_nothing_of_the_fold(trained, data, plan, tmp_path):
    table = collect_without(trained, MEMBERS, data.labels, plan, 0)
    assert table.labels.ids.tolist() == data.labels.ids[plan.training(0)].tolist()
    assert table.folds == [1, 2]
    assert table.members == ("short", "long")
    other = altered(data, np.concatenate([plan.held_out(0), plan.test_rows]))
    train_members(MEMBERS, other, plan, tmp_path, pairs=True, work=one_worker())
    np.testing.assert_array_equal(collect_without(tmp_path, MEMBERS, other.labels, plan, 0).proba_NMC, table.proba_NMC)
    # What is compared does depend on rows that it may see.
    seen = collect_without(tmp_path, MEMBERS, other.labels, plan, 1).proba_NMC
    assert (seen != collect_without(trained, MEMBERS, data.labels, plan, 1).proba_NMC).any()


def test_a_row_is_scored_by_a_model_that_saw_neither_its_fold_nor_the_scored_one(trained, data, plan, tmp_path):
    other = altered(data, plan.held_out(0, 1))
    train_members(MEMBERS, other, plan, tmp_path, pairs=True, work=one_worker())
    for member in MEMBERS:
        before, after = (p / member.name / "pair-0-1" / "weights.safetensors" for p in (trained, tmp_path))
        assert before.read_bytes() == after.read_bytes()
    table = collect_without(trained, MEMBERS, data.labels, plan, 0)
    scores = read_scores(trained / "long" / "pair-0-1" / "oof.parquet")
    of_one = np.isin(scores.ids, table.labels.ids[table.fold_N == 1])
    np.testing.assert_array_equal(table.proba_NMC[table.fold_N == 1, 1], scores.proba_NMC[of_one, 0])


def test_two_folds_have_no_pair_to_leave_out_and_missing_models_are_named(data, plan, trained, tmp_path):
    two = make_plan(data.labels, n_folds=2, test_share=0.15, strategy="grouped")
    with pytest.raises(MemberError, match="three folds or more, got 2"):
        train_members(MEMBERS, data, two, tmp_path, pairs=True, work=one_worker())
    with pytest.raises(MemberError, match=r"short, folds 0 and 1 is not trained, .*pair-0-1 has no done"):
        collect_without(tmp_path, MEMBERS, data.labels, plan, 1)
    with pytest.raises(MemberError, match="fold-0 has no done"):
        collect(trained, MEMBERS, data.labels, plan)
