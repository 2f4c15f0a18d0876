"""Members that join trained members of other views: a task of which each view tells one half."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from foldstill.base_models import (
    EarlyStopping,
    EegMember,
    JoinedMember,
    Recipe,
    SecondStage,
    TimmMember,
    collect,
    predict_members,
    train_members,
)
from foldstill.data.augment import HorizontalFlip, Noise
from foldstill.data.dataset import Dataset
from foldstill.data.folds import make_plan
from foldstill.data.labels import Labels
from foldstill.data.mixing import Mixup
from foldstill.data.simplex import kl_divergence
from foldstill.errors import MemberError

N = 200
RECIPE = Recipe(epochs=4, batch_size=16, augment=(HorizontalFlip(),))
PICTURE = TimmMember("picture", "test_efficientnet", recipe=RECIPE)
SIGNAL = EegMember(
    "signal", view="signal", widths=(8, 8), features=16, heads=2, blocks=1, recipe=replace(RECIPE, augment=(Noise(),))
)
BOTH = JoinedMember(
    "both", ("picture", "signal"), hidden=16, recipe=Recipe(epochs=10, batch_size=16, lr=1e-2, augment=(Mixup(p=0.2),))
)
MEMBERS = [BOTH, PICTURE, SIGNAL]


def make_data():
    """Four classes: pictures tell the first bit, by brightness, signals the second, by a rhythm; two rows a group."""
    rng = np.random.default_rng(0)
    bright, fast = rng.integers(0, 2, N), rng.integers(0, 2, N)
    pictures = (rng.normal(100, 20, (N, 16, 16, 1)) + 40 * bright[:, None, None, None]).clip(0, 255).astype(np.uint8)
    rhythm = np.sin(np.arange(64) / 2) * 1.5
    signals = (rng.normal(size=(N, 3, 64)) + fast[:, None, None] * rhythm).astype(np.float32)
    votes = np.eye(4)[2 * bright + fast] * rng.integers(1, 5, N)[:, None]
    return Dataset(Labels.from_votes(votes, groups=np.arange(N) // 2), {"image": pictures, "signal": signals})


@pytest.fixture(scope="module")
def data():
    return make_data()


@pytest.fixture(scope="module")
def plan(data):
    return make_plan(data.labels, n_folds=2, strategy="grouped")


@pytest.fixture(scope="module")
def trained(data, plan, tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    train_members(MEMBERS, data, plan, folder, jobs=1)
    return folder


def read_weights(folder, member, fold):
    return load_file(folder / member / f"fold-{fold}" / "weights.safetensors")


def test_where_each_view_tells_one_half_the_joined_member_beats_each_and_their_average(trained, data, plan):
    table, _ = collect(trained, MEMBERS, data.labels, plan)
    assert table.scores.families == ("joined", "test_efficientnet", "eeg")
    target = table.labels.target_NC
    kl = {m.name: kl_divergence(target=target, proba=table.proba_NMC[:, i]) for i, m in enumerate(MEMBERS)}
    average = kl_divergence(target=target, proba=table.proba_NMC[:, 1:].mean(axis=1))
    assert kl["both"] < 0.5 * min(kl["picture"], kl["signal"], average)


def test_a_frozen_joined_network_holds_the_weights_of_its_own_fold_and_of_no_other(trained):
    for fold in (0, 1):
        joined = read_weights(trained, "both", fold)
        for i, name in enumerate(BOTH.members):
            own, other = read_weights(trained, name, fold), read_weights(trained, name, 1 - fold)
            taken = {key.removeprefix(f"parts.{i}."): value for key, value in joined.items() if f"parts.{i}." in key}
            left_out = set(own) - set(taken)
            assert left_out
            assert all("classifier" in key or "head" in key for key in left_out)
            assert all(np.array_equal(value, own[key]) for key, value in taken.items())
            assert not all(np.array_equal(value, other[key]) for key, value in taken.items())
            assert {"input.mean", "input.std"} <= set(taken)


def test_new_rows_get_the_stored_scores_of_the_test_rows(trained, data, plan):
    _, test = collect(trained, MEMBERS, data.labels, plan)
    views = {name: array[plan.test_rows] for name, array in data.views.items()}
    said = predict_members(trained, MEMBERS, views, data.labels.classes)
    np.testing.assert_allclose(said.proba_KNMC, test.proba_KNMC, atol=1e-6)
    with pytest.raises(MemberError, match=r"views \['signal'\], given are \['image'\]"):
        predict_members(trained, MEMBERS, {"image": views["image"]}, data.labels.classes)
    with pytest.raises(MemberError, match=r"\[16, 16, 1\] \(image\).*got \[8, 16, 1\] \(image\), \[3, 64\] \(signal\)"):
        predict_members(trained, MEMBERS, views | {"image": views["image"][:, :8]}, data.labels.classes)


@pytest.fixture
def backbones(trained, tmp_path):
    """A folder with the trained members that are joined, and nothing joined."""
    for name in BOTH.members:
        (tmp_path / name).symlink_to(trained / name)
    return tmp_path


def test_processes_give_the_same_bytes_as_one_process(backbones, trained, data, plan):
    train_members(MEMBERS, data, plan, backbones, jobs=2)
    for fold in (0, 1):
        place = f"both/fold-{fold}/weights.safetensors"
        assert (backbones / place).read_bytes() == (trained / place).read_bytes()


TUNED = replace(
    BOTH,
    backbone_rate=0.1,
    recipe=replace(
        BOTH.recipe,
        epochs=1,
        ema=0.9,
        early_stopping=EarlyStopping(share=0.2),
        second_stage=SecondStage(min_votes=2, epochs=2, lr=1e-3, thaws=True),
    ),
)


def test_a_joined_training_interrupted_after_every_epoch_ends_with_the_same_bytes(backbones, data, plan, trained):
    members = [TUNED, PICTURE, SIGNAL]
    train_members(members, data, plan, backbones, jobs=1)
    path = backbones / "both/fold-1/weights.safetensors"
    unbroken = path.read_bytes()
    (backbones / "both").rename(backbones / "before")

    def stop(progress):
        if progress.member == "both" and progress.held_out_kl is None:
            raise KeyboardInterrupt

    stops = 0
    while True:
        try:
            train_members(members, data, plan, backbones, jobs=1, on_progress=stop)
        except KeyboardInterrupt:
            stops += 1
        else:
            break
    assert stops == 2 * 3
    assert path.read_bytes() == unbroken


def test_a_backbone_rate_moves_the_joined_weights_once_they_thaw(backbones, data, plan, trained):
    """Two epochs without a split: the first trains the head alone, the second everything."""
    stage = SecondStage(min_votes=1, epochs=1, lr=1e-3, thaws=True)
    tuned = replace(TUNED, recipe=Recipe(epochs=1, batch_size=16, second_stage=stage))
    seen = []

    def look(progress):
        if progress.member == "both" and progress.held_out_kl is None:
            last = sorted((backbones / "both/fold-0").glob("checkpoint-*"))[-1]
            seen.append(load_file(last)["network.parts.0.body.conv_stem.weight"])

    train_members([tuned, PICTURE, SIGNAL], data, plan, backbones, jobs=1, folds=(0,), on_progress=look)
    start = read_weights(trained, "picture", 0)["body.conv_stem.weight"]
    assert np.array_equal(seen[0], start)
    assert not np.array_equal(seen[1], start)
