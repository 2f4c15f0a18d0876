import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from foldstill.base_models.recipes import Recipe
from foldstill.data.dataset import Dataset
from foldstill.data.labels import Labels
from foldstill.data.simplex import kl_divergence
from foldstill.distill import Lesson, StudentSettings, distill, load_student, predict_student, train_student
from foldstill.errors import DistillError, ExperimentError, FileError, FoldstillWarning
from foldstill.manifest import read_done
from foldstill.workers import silent
from made_up import held_by_another_thread, one_worker

SETTINGS = StudentSettings(network="test_efficientnet", recipe=Recipe(epochs=3, batch_size=16))


@pytest.fixture
def dataset(rng):
    """Forty 16 x 16 images whose bright corner is their class."""
    hard = np.arange(40) % 4
    images = rng.integers(0, 60, (40, 16, 16, 3))
    for i, c in enumerate(hard):
        images[i, 8 * (c // 2) : 8 * (c // 2) + 8, 8 * (c % 2) : 8 * (c % 2) + 8] += 150
    return Dataset(Labels.from_hard(hard, classes=list("abcd")), {"image": images.astype(np.uint8)})


def train(dataset, folder, settings=SETTINGS, rows=None, *, unlabelled=None, seed=0, report=silent, force=False):
    rows = np.arange(30) if rows is None else rows
    lesson = Lesson(rows, dataset.labels.target_NC[rows], np.ones(len(rows)), unlabelled=unlabelled)
    return train_student(settings, dataset, lesson, folder, seed=seed, work=one_worker(report, force=force))


def test_a_student_leaves_its_files_and_is_read_back_with_the_same_scores(dataset, tmp_path):
    received = []
    student = train(dataset, tmp_path, report=received.append)
    assert {p.name for p in tmp_path.iterdir()} == {"weights.safetensors", "history.csv", "done.json"}
    assert [p.done for p in received] == [1, 2, 3, 3]
    assert {(p.task, p.total) for p in received} == {("student", 3)}
    with (tmp_path / "history.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 3
    rows = dataset.view("image")[30:]
    proba = student.predict(rows)
    assert proba.sum(1) == pytest.approx(1)
    np.testing.assert_array_equal(predict_student(tmp_path, {"image": rows}), proba)
    assert load_student(tmp_path).classes == ("a", "b", "c", "d")


def test_a_student_learns_what_its_targets_say(dataset, tmp_path):
    student = train(dataset, tmp_path, replace(SETTINGS, recipe=Recipe(epochs=25, batch_size=10)))
    target = dataset.labels.target_NC[30:]
    assert kl_divergence(target=target, proba=student.predict(dataset.view("image")[30:])) < 0.5


def test_a_student_copies_its_teacher_from_the_view_alone(dataset, tmp_path):
    """A reference project called a network distilled that read its members' predictions and was fitted to the votes.

    Here the teacher contradicts the votes, and new rows come without any prediction of a member.
    """
    from foldstill.distill.mixes import TeacherOnly, mix_votes

    teacher = np.roll(0.85 * np.eye(4)[np.arange(40) % 4] + 0.15 / 4, 1, axis=1)
    target, weight = mix_votes(dataset.labels.votes_NC[:30], teacher[:30], TeacherOnly())
    recipe = Recipe(epochs=25, batch_size=10)
    train_student(replace(SETTINGS, recipe=recipe), dataset, Lesson(np.arange(30), target, weight), tmp_path)
    proba = predict_student(tmp_path, {"image": dataset.view("image")[30:]})
    to_teacher, to_votes = (kl_divergence(target=t[30:], proba=proba) for t in (teacher, dataset.labels.target_NC))
    assert to_teacher < 0.5 < to_votes


def test_rows_outside_those_given_do_not_reach_the_student(dataset, tmp_path):
    one = train(dataset, tmp_path / "one")
    changed = np.array(dataset.view("image"))
    changed[30:] = 255 - changed[30:]
    other = train(replace(dataset, views={"image": changed}), tmp_path / "other")
    rows = dataset.view("image")[:10]
    np.testing.assert_array_equal(one.predict(rows), other.predict(rows))


def test_a_finished_student_is_not_trained_again_and_changed_inputs_are_named(dataset, tmp_path):
    train(dataset, tmp_path)
    received = []
    train(dataset, tmp_path, report=received.append)
    assert received == []
    with pytest.raises(ExperimentError, match="seed"):
        train(dataset, tmp_path, seed=1)
    with pytest.raises(ExperimentError, match="targets"):
        train(dataset, tmp_path, rows=np.arange(10, 40))
    with pytest.warns(FoldstillWarning, match="made again, as --force says"):
        train(dataset, tmp_path, seed=1, force=True, report=received.append)
    assert [p.done for p in received] == [1, 2, 3, 3]


@pytest.mark.usefixtures("every_epoch_saved")
def test_an_interrupted_student_goes_on_to_the_same_bytes(dataset, tmp_path):
    train(dataset, tmp_path / "whole")

    def stop(progress):
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(dataset, tmp_path / "parts", report=stop)
    received = []
    train(dataset, tmp_path / "parts", report=received.append)
    assert {p.done for p in received} == {3}
    whole, parts = ((tmp_path / n / "weights.safetensors").read_bytes() for n in ("whole", "parts"))
    assert whole == parts


def test_every_loss_trains(dataset, tmp_path):
    short = Recipe(epochs=1, batch_size=16)
    for loss in ("mse", "standardised", "dist", "dkd", "jsd"):
        student = train(dataset, tmp_path / loss, replace(SETTINGS, loss=loss, recipe=short))
        assert np.isfinite(student.predict(dataset.view("image")[:4])).all()


def test_targets_of_the_wrong_shape_and_missing_students_are_refused(dataset, tmp_path):
    with pytest.raises(DistillError, match="make them for the rows"):
        train_student(SETTINGS, dataset, Lesson(np.arange(30), dataset.labels.target_NC, np.ones(40)), tmp_path)
    with pytest.raises(DistillError, match="no trained student"):
        load_student(tmp_path)
    student = train(dataset, tmp_path)
    with pytest.raises(DistillError, match="wants rows of shape"):
        student.predict(dataset.view("image")[..., :1])
    with pytest.raises(DistillError, match=r"reads the view 'image'"):
        predict_student(tmp_path, {"eeg": dataset.view("image")})


def test_a_notebook_distils_any_ensemble_of_members(dataset):
    rng = np.random.default_rng(1)
    members = rng.dirichlet(np.ones(4), (40, 3)) * 0.3 + 0.7 * dataset.labels.target_NC[:, None]
    votes = dataset.labels.votes_NC.copy()
    votes[:5] = 0
    student = distill(members, dataset.view("image"), votes, SETTINGS, classes=list("abcd"))
    assert student.predict(dataset.view("image")).shape == (40, 4)
    assert student.classes == ("a", "b", "c", "d")
    again = distill(members, dataset.view("image"), votes, SETTINGS)
    np.testing.assert_array_equal(again.predict(dataset.view("image")), student.predict(dataset.view("image")))


def test_a_notebook_is_told_the_spread_over_seeds(dataset):
    teacher, images, votes = dataset.labels.target_NC, dataset.view("image"), dataset.labels.votes_NC
    student = distill(teacher, images, votes, SETTINGS, seeds=2)
    (other,) = student.further_seeds
    assert not np.array_equal(student.predict(images), other.predict(images))
    kl = student.kl(images, votes)
    assert kl.deviation == pytest.approx(abs(kl.by_seed[0] - kl.by_seed[1]) / 2**0.5)
    assert str(kl) == (
        f"KL {kl.mean:.4f} ± {kl.deviation:.4f} over 2 seeds; in-sample: the student was trained on 40 of the rows"
    )
    fresh = images.copy()
    fresh[3:] += 1
    assert str(student.kl(fresh, votes)).endswith("trained on 3 of the rows")
    again = distill(teacher, images, votes, SETTINGS, seeds=(1, 0))
    np.testing.assert_array_equal(again.predict(images), other.predict(images))
    assert "one seed" in str(other.kl(images, votes))
    with pytest.raises(DistillError, match="1 for a module"):
        distill(teacher, images, votes, nn.Flatten(), seeds=2)
    with pytest.raises(DistillError, match="all different"):
        distill(teacher, images, votes, SETTINGS, seeds=(1, 1))


def test_a_notebook_is_told_what_only_a_run_can_give(dataset):
    teacher, images, votes = dataset.labels.target_NC, dataset.view("image"), dataset.labels.votes_NC
    with pytest.raises(DistillError, match=r"\['views', 'uncertainty'\] of the student need the trained members"):
        distill(teacher, images, votes, StudentSettings(views="bank", uncertainty=True))


def test_a_notebook_may_bring_a_module_of_its_own_for_signals(rng):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv1d(2, 4, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3))
    signals = rng.normal(size=(24, 2, 50)).astype(np.float32)
    teacher = rng.dirichlet(np.ones(3), 24)
    student = distill(teacher, signals, np.eye(3)[np.arange(24) % 3], module)
    assert student.predict(signals).shape == (24, 3)


def test_a_notebook_is_told_what_does_not_fit(dataset):
    votes = dataset.labels.votes_NC
    with pytest.raises(DistillError, match="align them by id"):
        distill(np.full((39, 4), 0.25), dataset.view("image"), votes)
    with pytest.raises(DistillError, match="counts"):
        distill(np.full((40, 4), 0.25), dataset.view("image"), -votes)


def test_a_student_of_signals_trains_and_is_read_back(rng, tmp_path):
    hard = np.arange(24) % 2
    signals = rng.standard_normal((24, 4, 64)).astype(np.float32)
    signals[hard == 1] += 2 * np.sin(np.arange(64) / 2)
    signal_set = Dataset(Labels.from_hard(hard), {"raw_eeg": signals})
    options = {"widths": [4, 8], "features": 8, "heads": 2, "blocks": 1}
    settings = StudentSettings(
        network="eeg", view="raw_eeg", options=options, recipe=Recipe(epochs=12, batch_size=8, lr=1e-2)
    )
    student = train(signal_set, tmp_path, settings, rows=np.arange(16))
    np.testing.assert_array_equal(load_student(tmp_path).predict(signals), student.predict(signals))
    assert kl_divergence(target=signal_set.labels.target_NC[16:], proba=student.predict(signals[16:])) < 0.5


def test_unlabelled_rows_of_another_shape_are_refused(dataset, tmp_path):
    with pytest.raises(DistillError, match="prepare them in the same way"):
        train(dataset, tmp_path, unlabelled=np.zeros((3, 8, 8, 3), np.uint8))


def test_a_student_is_kept_in_the_folder_of_the_call_which_has_one_writer(tmp_path):
    """The folder of the first seed is that of the call, and each training locks its own."""
    images, votes = np.zeros((8, 16, 16, 3), np.uint8), np.eye(2)[np.arange(8) % 2]
    settings = StudentSettings(network="test_resnet", recipe=Recipe(epochs=1, batch_size=4))
    given = (0.8 * votes + 0.1, images, votes, settings)
    first = distill(*given, folder=tmp_path / "student", seeds=2, work=one_worker())
    mark = (tmp_path / "student" / "done.json").stat().st_mtime_ns
    again = distill(*given, folder=tmp_path / "student", seeds=2, work=one_worker())
    np.testing.assert_array_equal(again.predict(images), first.predict(images))
    assert (tmp_path / "student" / "done.json").stat().st_mtime_ns == mark
    with held_by_another_thread(tmp_path / "other"), pytest.raises(FileError, match="is being written by"):
        distill(*given, folder=tmp_path / "other", work=one_worker())


def test_the_files_of_a_seed_are_not_those_of_another_at_work_below_its_folder(dataset, tmp_path):
    """Seeds at work side by side: what the other leaves for a while must not be among the files of the first."""
    other = tmp_path / "seed-1"

    def other_at_work(_):
        other.mkdir(exist_ok=True)
        for name in (".lock", "progress.json", "checkpoint-1.safetensors"):
            (other / name).touch()

    train(dataset, tmp_path, report=other_at_work)
    for path in other.iterdir():
        path.unlink()
    (other / "done.json").touch()
    train(dataset, tmp_path)  # it is finished, and nothing of it is missing
    assert set(read_done(tmp_path)["files"]) == {"weights.safetensors", "history.csv"}
