from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from foldstill.base_models import FoldModels, Recipe, TimmMember
from foldstill.data.augment import HorizontalFlip
from foldstill.data.batch import Batch
from foldstill.data.mixing import CutMix
from foldstill.distill import Lesson, StudentSettings, distill, load_student, train_student
from foldstill.distill.hints import hint_teacher
from foldstill.distill.settings import FeatureHint
from foldstill.errors import DistillError, MemberError
from made_up import noise_run, one_worker

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


def hint_of(run, settings=SETTINGS, members=MEMBERS, **rest):
    folder, _, plan = run
    return hint_teacher(settings, [FoldModels(member, folder) for member in members], plan, **rest)


def lesson_of(run, hint=None):
    _, dataset, plan = run
    rows = plan.oof_rows
    return Lesson(rows, dataset.labels.target_NC[rows], np.ones(len(rows)), hint=hint)


def train(run, folder, settings=SETTINGS, work=None):
    return train_student(settings, run[1], lesson_of(run, hint_of(run, settings)), folder, work=work or one_worker())


def student_network():
    torch.manual_seed(0)
    return SETTINGS.member().build([(16, 16, 3)], 3)


def features_for(run, hint, rows):
    """The features that a batch of these rows is compared with, unaugmented."""
    _, dataset, _ = run
    student = student_network()
    raw = torch.from_numpy(dataset.view("image")[rows]).permute(0, 3, 1, 2).float()
    return hint.open(student, 0, "cpu").features(
        Batch(torch.from_numpy(rows), rows, student.input(raw), student.unscale)
    )


def test_a_row_gets_the_features_of_the_model_that_held_it_out(run):
    folder, dataset, plan = run
    rows = np.concatenate([plan.held_out(0)[:3], plan.held_out(1)[:3], plan.held_out(0)[3:5]])
    out = features_for(run, hint_of(run), rows)
    network = MEMBERS[1].build([(16, 16, 3)], 3)
    for i, row in enumerate(rows):
        network.load_state_dict(load_file(folder / "two" / f"fold-{plan.fold_N[row]}" / "weights.safetensors"))
        seen = []
        handle = network.classifier.register_forward_pre_hook(lambda layer, x, seen=seen: seen.append(x[0]))
        with torch.no_grad():
            network.eval()(torch.from_numpy(dataset.view("image")[[row]]).permute(0, 3, 1, 2))
        handle.remove()
        wanted = nn.functional.layer_norm(seen[0], seen[0].shape[1:])[0]
        np.testing.assert_allclose(out[i], wanted, atol=1e-4)


def test_models_that_saw_a_row_have_no_part_in_its_hint(run, tmp_path):
    folder, _, plan = run
    elsewhere = tmp_path / "members"
    for fold in (0, 1):
        model = FoldModels(MEMBERS[1], folder).load(fold)
        if fold == 1:
            for parameter in model.network.parameters():
                parameter.data.mul_(1.5)
        model.save(elsewhere / "two" / f"fold-{fold}")
    rows = plan.oof_rows[:10]
    before = features_for(run, hint_of(run), rows)
    after = features_for(run, hint_of((elsewhere, *run[1:])), rows)
    same = (before == after).all(1)
    assert same.tolist() == (plan.fold_N[rows] == 0).tolist()


def test_a_hint_changes_what_is_learned_and_leaves_an_ordinary_student(run, tmp_path):
    student = train(run, tmp_path / "hinted")
    alone, dataset = replace(SETTINGS, features=None), run[1]
    plain = train_student(alone, dataset, lesson_of(run), tmp_path / "plain", work=one_worker())
    images = dataset.view("image")[:TESTED]
    assert student.network.state_dict().keys() == plain.network.state_dict().keys()
    assert (student.predict(images) != plain.predict(images)).any()
    np.testing.assert_array_equal(load_student(tmp_path / "hinted").predict(images), student.predict(images))
    assert not student.network.classifier._forward_pre_hooks


@pytest.mark.usefixtures("every_epoch_saved")
def test_an_interrupted_student_with_a_hint_goes_on_to_the_same_bytes(run, tmp_path):
    train(run, tmp_path / "whole")

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(run, tmp_path / "parts", work=one_worker(stop))
    received = []
    train(run, tmp_path / "parts", work=one_worker(received.append))
    assert {p.done for p in received} == {2}
    whole, parts = ((tmp_path / n / "weights.safetensors").read_bytes() for n in ("whole", "parts"))
    assert whole == parts


def test_the_loss_of_a_hint_is_the_weighted_distance_to_the_features_of_the_row_s_fold(run):
    plan, student = run[2], student_network()
    rows = np.array([plan.held_out(1)[0], plan.held_out(0)[0]])
    raw = torch.from_numpy(run[1].view("image")[rows]).permute(0, 3, 1, 2).float()
    batch = Batch(torch.from_numpy(rows), rows, student.input(raw), student.unscale)
    hint, weight = hint_of(run).open(student, 0, "cpu"), torch.tensor([0.5, 1.5])
    features = hint.features(batch)
    guess = torch.randn(2, 2, features.shape[1])
    distance = ((guess[[0, 1], [1, 0]] - features) ** 2).mean(1)
    assert hint.loss(guess.flatten(1), batch, weight) == pytest.approx(0.5 * (distance * weight).mean())


def test_the_layers_that_guess_features_are_trained_and_no_teacher_is(run):
    student = student_network()
    hint = hint_of(run).open(student, 0, "cpu")
    assert [name for name, _ in hint.named_parameters()] == ["guess.weight", "guess.bias"]
    assert not any(p.requires_grad for network in hint._teachers for p in network.parameters())


def test_unlabelled_rows_are_shown_to_one_fold_model_each(run):
    folds = hint_of(run, n_unlabelled=5).fold_N
    assert folds[N:].tolist() == [0, 1, 0, 1, 0]


def test_hints_that_cannot_be_had_are_refused(run, tmp_path):
    dataset = run[1]
    with pytest.raises(DistillError, match=r"features.member is 'three', members are \['one', 'two'\]"):
        hint_of(run, replace(SETTINGS, features=FeatureHint("three")))
    other = [replace(MEMBERS[1], view="spectrogram")]
    with pytest.raises(DistillError, match="name a member of the student's view"):
        hint_of(run, members=other)
    with pytest.raises(DistillError, match="asks for no features"):
        hint_of(run, replace(SETTINGS, features=None))
    with pytest.raises(DistillError, match="needs hints"):
        train_student(SETTINGS, dataset, lesson_of(run), tmp_path)
    with pytest.raises(DistillError, match=r"features.weight must be positive"):
        FeatureHint("one", weight=0.0)
    votes = dataset.labels.votes_NC
    with pytest.raises(DistillError, match=r"\['features'\] of the student need the trained members"):
        distill(np.full((N, 3), 1 / 3), dataset.view("image"), votes, SETTINGS)


def test_a_network_without_a_last_layer_is_refused_in_a_sentence(run):
    network = student_network()
    network.body = nn.Sequential(network.body, nn.Softmax(1))
    with pytest.raises(MemberError, match="has no last layer"):
        hint_of(run).open(network, 0, "cpu")
