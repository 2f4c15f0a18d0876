from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from foldstill.base_models import Recipe, TimmMember
from foldstill.base_models.engine import Batch
from foldstill.data.augment import HorizontalFlip
from foldstill.data.mixing import CutMix
from foldstill.distill import StudentSettings, distill, load_student, train_student
from foldstill.distill.hints import _HintTargets, hint_teacher, hinted
from foldstill.distill.losses import make_loss
from foldstill.distill.settings import FeatureHint
from foldstill.distill.student import build
from foldstill.errors import DistillError
from made_up import noise_run

N, TESTED = 36, 4
MEMBERS = [TimmMember(name=n, network="test_resnet", recipe=Recipe(epochs=1, batch_size=8)) for n in ("one", "two")]
SETTINGS = StudentSettings(
    network="test_efficientnet",
    recipe=Recipe(epochs=2, batch_size=8, augment=(HorizontalFlip(), CutMix(p=1.0))),
    features=FeatureHint("two", weight=0.5),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two members on two folds of 32 rows, and four locked test rows."""
    folder = tmp_path_factory.mktemp("run") / "members"
    dataset, plan = noise_run(MEMBERS, folder)
    return folder, dataset, plan


def hint_of(run, settings=SETTINGS, **rest):
    folder, dataset, plan = run
    return hint_teacher(settings, MEMBERS, folder, dataset, plan, **rest)


def train(run, folder, settings=SETTINGS, hint=None, **rest):
    _, dataset, plan = run
    rows = plan.oof_rows
    target = dataset.labels.target_NC[rows]
    hint = hint or hint_of(run, settings)
    return train_student(settings, dataset, rows, target, np.ones(len(rows)), folder, hint=hint, device="cpu", **rest)


def given(run, hint, rows):
    """What hints a batch of these rows gets, unaugmented."""
    _, dataset, _ = run
    student = build(SETTINGS.member(), (16, 16, 3), 3, 0)
    raw = torch.from_numpy(dataset.view("image")[rows]).permute(0, 3, 1, 2).float()
    batch = Batch(torch.from_numpy(rows), student.input(raw), (), 0)
    table = torch.from_numpy(dataset.labels.target_NC.astype(np.float32))
    return _HintTargets(hint, hint.networks("cpu"), student.input, table, None)(batch)


def test_a_row_gets_the_features_of_the_model_that_held_it_out(run):
    folder, dataset, plan = run
    rows = np.concatenate([plan.held_out(0)[:3], plan.held_out(1)[:3], plan.held_out(0)[3:5]])
    out = given(run, hint_of(run), rows)
    np.testing.assert_allclose(out[:, :3], dataset.labels.target_NC[rows], atol=1e-6)
    assert out[:, -1].tolist() == [0, 0, 0, 1, 1, 1, 0, 0]
    network = MEMBERS[1].build([(16, 16, 3)], 3)
    for i, row in enumerate(rows):
        network.load_state_dict(load_file(folder / "two" / f"fold-{plan.fold_N[row]}" / "weights.safetensors"))
        seen = []
        handle = network.classifier.register_forward_pre_hook(lambda layer, x, seen=seen: seen.append(x[0]))
        with torch.no_grad():
            network.eval()(torch.from_numpy(dataset.view("image")[[row]]).permute(0, 3, 1, 2))
        handle.remove()
        wanted = nn.functional.layer_norm(seen[0], seen[0].shape[1:])[0]
        np.testing.assert_allclose(out[i, 3:-1], wanted, atol=1e-4)


def test_models_that_saw_a_row_have_no_part_in_its_hint(run, tmp_path):
    folder, _, plan = run
    elsewhere = tmp_path / "members"
    for fold in (0, 1):
        state = load_file(folder / "two" / f"fold-{fold}" / "weights.safetensors")
        if fold == 1:
            state = {key: value * 1.5 for key, value in state.items()}
        (elsewhere / "two" / f"fold-{fold}").mkdir(parents=True)
        save_file(state, elsewhere / "two" / f"fold-{fold}" / "weights.safetensors")
    rows = plan.oof_rows[:10]
    before, after = given(run, hint_of(run), rows), given((elsewhere, *run[1:]), hint_of((elsewhere, *run[1:])), rows)
    same = (before == after).all(1)
    assert same.tolist() == (plan.fold_N[rows] == 0).tolist()


def test_a_hint_changes_what_is_learned_and_leaves_an_ordinary_student(run, tmp_path):
    student = train(run, tmp_path / "hinted")
    alone = replace(SETTINGS, features=None)
    _, dataset, plan = run
    rows = plan.oof_rows
    plain = train_student(
        alone, dataset, rows, dataset.labels.target_NC[rows], np.ones(len(rows)), tmp_path / "plain", device="cpu"
    )
    images = dataset.view("image")[:TESTED]
    assert student.network.state_dict().keys() == plain.network.state_dict().keys()
    assert (student.predict(images) != plain.predict(images)).any()
    np.testing.assert_array_equal(load_student(tmp_path / "hinted").predict(images), student.predict(images))
    assert not student.network.classifier._forward_pre_hooks


def test_an_interrupted_student_with_a_hint_goes_on_to_the_same_bytes(run, tmp_path):
    train(run, tmp_path / "whole")

    def stop(epoch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(run, tmp_path / "parts", on_progress=stop)
    heard = []
    train(run, tmp_path / "parts", on_progress=heard.append)
    assert [e.epoch for e in heard] == [1]
    whole, parts = ((tmp_path / n / "weights.safetensors").read_bytes() for n in ("whole", "parts"))
    assert whole == parts


def test_the_loss_is_that_of_the_student_plus_the_distance_to_the_features_of_its_fold(run):
    hint = hint_of(run)
    network = build(SETTINGS.member(), (16, 16, 3), 3, 0)
    with hinted(network, hint, make_loss("kl", 1.0), None, np.zeros((N, 3)), 0, "cpu") as (_, loss, _targets):
        logits, target, weight = torch.randn(2, 3), torch.full((2, 3), 1 / 3), torch.tensor([0.5, 1.5])
        guess, features, fold = torch.randn(2, 2, 4), torch.randn(2, 4), torch.tensor([1.0, 0.0])
        value = loss(torch.cat([logits, guess.flatten(1)], 1), torch.cat([target, features, fold[:, None]], 1), weight)
    apart = ((guess[[0, 1], [1, 0]] - features) ** 2).mean(1)
    wanted = make_loss("kl", 1.0)(logits, target, weight) + 0.5 * (apart * weight).mean()
    assert value == pytest.approx(wanted)


def test_unlabelled_rows_are_shown_to_one_fold_model_each(run):
    folds = hint_of(run, unlabelled=np.zeros((5, 16, 16, 3), np.uint8)).fold_N
    assert folds[N:].tolist() == [0, 1, 0, 1, 0]


def test_hints_that_cannot_be_had_are_refused(run, tmp_path):
    folder, dataset, plan = run
    with pytest.raises(DistillError, match=r"features.member is 'three', members are \['one', 'two'\]"):
        hint_of(run, replace(SETTINGS, features=FeatureHint("three")))
    other = [replace(MEMBERS[1], view="spectrogram")]
    with pytest.raises(DistillError, match="name a member of the student's view"):
        hint_teacher(SETTINGS, other, folder, dataset, plan)
    with pytest.raises(DistillError, match="asks for no features"):
        hint_of(run, replace(SETTINGS, features=None))
    rows = plan.oof_rows
    with pytest.raises(DistillError, match="needs hints"):
        train_student(SETTINGS, dataset, rows, dataset.labels.target_NC[rows], np.ones(len(rows)), tmp_path)
    with pytest.raises(DistillError, match=r"features.weight must be positive"):
        FeatureHint("one", weight=0.0)
    votes = dataset.labels.votes_NC
    with pytest.raises(DistillError, match=r"\['features'\] of the student need the trained members"):
        distill(np.full((N, 3), 1 / 3), dataset.view("image"), votes, SETTINGS)


def test_a_network_without_a_last_layer_is_refused_in_a_sentence(run):
    network = build(SETTINGS.member(), (16, 16, 3), 3, 0)
    network.body = nn.Sequential(network.body, nn.Softmax(1))
    with (
        pytest.raises(ValueError, match="has no one classifier"),
        hinted(network, hint_of(run), make_loss("kl", 1.0), None, np.zeros((N, 3)), 0, "cpu"),
    ):
        pass
