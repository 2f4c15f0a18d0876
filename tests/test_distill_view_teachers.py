from dataclasses import replace

import numpy as np
import pytest
import torch

from foldstill.base_models import FoldModels, Recipe, TimmMember, collect
from foldstill.data.augment import HorizontalFlip
from foldstill.data.augmentation import RowMix
from foldstill.data.batch import Batch
from foldstill.data.mixing import Mixup
from foldstill.distill import (
    DirichletMix,
    FixedMix,
    Lesson,
    StudentSettings,
    TeacherOnly,
    VotesOnly,
    mixed_targets,
    train_student,
)
from foldstill.distill.bank import BankedTeachers
from foldstill.distill.targets import average_teacher
from foldstill.distill.view_teachers import LiveTeachers, view_teachers
from foldstill.errors import DistillError
from made_up import noise_run

RECIPE = Recipe(epochs=1, batch_size=8)
SETTINGS = StudentSettings(network="test_efficientnet", recipe=Recipe(epochs=2, batch_size=8))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two members on two folds of 32 rows, and four locked test rows."""
    members = [TimmMember(name=n, network="test_efficientnet", recipe=RECIPE) for n in ("one", "two")]
    folder = tmp_path_factory.mktemp("run") / "members"
    dataset, plan = noise_run(members, folder)
    table, _ = collect(folder, members, dataset.labels, plan)
    return folder, members, dataset, plan, table


@pytest.fixture
def soft(run):
    """A teacher that is not the average of its members, as a stacker is not."""
    table = run[-1]
    one = average_teacher(table)
    tilted = one.proba_NC * np.array([1.2, 1.0, 0.8])
    return replace(one, proba_NC=tilted / tilted.sum(1, keepdims=True))


def teachers_of(run, soft, mix, **rest):
    folder, members, dataset, plan, table = run
    models = [FoldModels(member, folder) for member in members]
    return view_teachers(models, dataset, plan, table, soft, mix, view="image", **rest)


def batch_of(network, dataset, rows, mixes=()):
    raw = torch.from_numpy(dataset.view("image")[rows]).permute(0, 3, 1, 2)
    return Batch(torch.from_numpy(rows), rows, network.input(raw), network.unscale, mixes)


@pytest.fixture
def network(run):
    network = SETTINGS.member().build([(16, 16, 3)], 3)
    network.input.mean.fill_(100.0)
    network.input.std.fill_(50.0)
    return network


@pytest.mark.parametrize("mix", [DirichletMix(), DirichletMix(votes=2.0), FixedMix(0.3), TeacherOnly()])
def test_on_the_row_as_it_is_the_target_is_that_of_the_table(run, soft, network, mix):
    _, _, dataset, plan, table = run
    live = LiveTeachers(teachers_of(run, soft, mix), "cpu")
    wanted, _ = mixed_targets(soft, table.labels, mix)
    got = live(batch_of(network, dataset, plan.oof_rows))
    np.testing.assert_allclose(got.numpy(), wanted, atol=1e-4)


def test_a_row_is_scored_by_models_that_never_saw_its_fold_and_by_no_other(run, soft, network):
    _, _, dataset, plan, _ = run
    live = LiveTeachers(teachers_of(run, soft, TeacherOnly()), "cpu")
    batch = batch_of(network, dataset, plan.oof_rows)
    before = live.member_scores(batch)
    with torch.no_grad():
        for model in live._networks_KM[1]:
            model.body.get_classifier().weight.mul_(-5)
    moved = (live.member_scores(batch) != before).flatten(1).any(1).numpy()
    np.testing.assert_array_equal(moved, plan.fold_N[plan.oof_rows] == 1)


def test_in_a_mixed_image_votes_mix_as_rates_and_the_teacher_sees_the_mixed_image(run, soft, network):
    _, _, dataset, plan, _ = run
    rows = plan.held_out(0)[:2]
    share = torch.tensor([[0.75, 0.25], [0.6, 0.4]])
    partner = torch.tensor([[0, 1], [1, 0]])
    plain = batch_of(network, dataset, rows)
    blended = (plain.inputs[partner] * share[..., None, None, None]).sum(1)
    batch = Batch(plain.rows_B, rows, blended, network.unscale, (RowMix(partner, share),))
    live = LiveTeachers(teachers_of(run, soft, DirichletMix(votes=2.0)), "cpu")
    teacher = LiveTeachers(teachers_of(run, soft, TeacherOnly()), "cpu")(batch)
    votes = dataset.labels.votes_NC[rows]
    rate = share.numpy() @ (votes / votes.sum(1, keepdims=True))
    rate[1] = share.numpy()[1] @ (votes / votes.sum(1, keepdims=True))[[1, 0]]
    np.testing.assert_allclose(live(batch).numpy(), (5 * rate + 2 * teacher.numpy()) / 7, atol=1e-5)
    assert np.abs(teacher.numpy() - soft.proba_NC[:2]).max() > 1e-3


def test_a_row_of_many_votes_does_not_swamp_the_partner_it_is_mixed_with(run, soft, network):
    _, _, dataset, plan, _ = run
    rows = plan.held_out(0)[:2]
    teachers = teachers_of(run, soft, DirichletMix(votes=2.0))
    votes_NC = teachers.votes_NC.copy()
    votes_NC[rows] = [[20, 0, 0], [0, 2, 0]]
    teachers = replace(teachers, votes_NC=votes_NC)
    plain = batch_of(network, dataset, rows)
    half = RowMix(torch.tensor([[0, 1], [1, 0]]), torch.full((2, 2), 0.5))
    batch = Batch(plain.rows_B, rows, plain.inputs.mean(0, keepdim=True).repeat(2, 1, 1, 1), network.unscale, (half,))
    teacher = LiveTeachers(replace(teachers, mix=TeacherOnly()), "cpu")(batch).numpy()
    # 11 votes, half of them for each class, and two of the teacher.
    wanted = (11 * np.array([0.5, 0.5, 0.0]) + 2 * teacher) / 13
    np.testing.assert_allclose(LiveTeachers(teachers, "cpu")(batch).numpy(), wanted, atol=1e-5)


def test_a_student_is_taught_by_live_teachers_on_views_mixed_within_folds(run, soft, tmp_path, monkeypatch):
    _, _, dataset, plan, table = run
    shown = []
    say = LiveTeachers.__call__
    monkeypatch.setattr(LiveTeachers, "__call__", lambda self, batch: shown.append(batch) or say(self, batch))
    settings = replace(SETTINGS, views="live", recipe=replace(SETTINGS.recipe, augment=(HorizontalFlip(), Mixup())))
    target, weight = mixed_targets(soft, table.labels, settings.mix)
    lesson = Lesson(plan.oof_rows, target, weight, teachers_of(run, soft, settings.mix))
    taught = train_student(settings, dataset, lesson, tmp_path / "live")
    as_they_are = replace(settings, views="identity"), replace(lesson, teachers=None)
    plain = train_student(as_they_are[0], dataset, as_they_are[1], tmp_path / "identity")
    rows = dataset.view("image")[plan.test_rows]
    assert np.abs(taught.predict(rows) - plain.predict(rows)).max() > 0
    assert len(shown) == 8  # two epochs of 32 rows
    for batch in shown:
        fold_B = plan.fold_N[batch.rows_B]
        [mix] = batch.mixes
        assert (mix.partner_BP[:, 0] != mix.partner_BP[:, 1]).any()
        np.testing.assert_array_equal(fold_B[mix.partner_BP], np.stack([fold_B, fold_B], 1))


def bank_lesson(run, soft, folder, settings, seed):
    _, _, dataset, plan, table = run
    target, weight = mixed_targets(soft, table.labels, settings.mix)
    lesson = Lesson(plan.oof_rows, target, weight, teachers_of(run, soft, settings.mix), folder / "banks")
    return train_student(settings, dataset, lesson, folder / f"student-{seed}", seed=seed)


def test_a_bank_is_filled_once_and_teaches_every_later_student(run, soft, tmp_path, monkeypatch):
    recipe = replace(SETTINGS.recipe, epochs=3, augment=(HorizontalFlip(), Mixup()))
    settings = replace(SETTINGS, views="bank", bank_views=2, recipe=recipe)
    asked = []
    ask = LiveTeachers.member_scores
    monkeypatch.setattr(
        LiveTeachers, "member_scores", lambda self, batch: asked.append(batch.augmentation_pass) or ask(self, batch)
    )
    bank_lesson(run, soft, tmp_path, settings, seed=0)
    # 32 rows in batches of 8; the third epoch repeats the first view.
    assert asked == [0] * 4 + [1] * 4
    [bank] = (tmp_path / "banks").iterdir()
    assert sorted(p.name for p in bank.iterdir()) == ["view-000.safetensors", "view-001.safetensors"]
    asked.clear()
    first = bank_lesson(run, soft, tmp_path, settings, seed=1)
    assert asked == []
    # The same student with a bank of its own learns the same: what is read is what was recorded.
    again = bank_lesson(run, soft, tmp_path / "own", settings, seed=1)
    rows = run[2].view("image")
    np.testing.assert_array_equal(first.predict(rows), again.predict(rows))


def test_a_bank_is_shared_by_students_that_are_shown_the_same_and_by_no_others(run, soft, tmp_path, monkeypatch):
    settings = replace(SETTINGS, views="bank", bank_views=1)
    bank_lesson(run, soft, tmp_path, settings, seed=0)
    monkeypatch.setattr(LiveTeachers, "member_scores", lambda self, batch: pytest.fail("the bank has these scores"))
    longer = replace(settings, mix=FixedMix(0.25), recipe=replace(settings.recipe, epochs=3, lr=1e-3))
    bank_lesson(run, soft, tmp_path, longer, seed=1)
    assert len(list((tmp_path / "banks").iterdir())) == 1
    monkeypatch.undo()
    for seed, other in enumerate(({"augment": (HorizontalFlip(),)}, {"batch_size": 4}), start=2):
        bank_lesson(run, soft, tmp_path, replace(settings, recipe=replace(settings.recipe, **other)), seed=seed)
    assert len(list((tmp_path / "banks").iterdir())) == 3


def teach_one_epoch(teachers, *batches):
    for batch in batches:
        teachers(batch)
    teachers.end_epoch()


def test_a_bank_of_other_augmentation_is_refused(run, soft, network, tmp_path):
    """As where its folder was copied to the place of another bank."""
    _, _, dataset, plan, _ = run
    live = LiveTeachers(teachers_of(run, soft, TeacherOnly()), "cpu")
    batch = batch_of(network, dataset, plan.oof_rows)
    teach_one_epoch(BankedTeachers(live, tmp_path, {"augmentation": []}, 1), batch)
    with pytest.raises(DistillError, match="made from other inputs: augmentation"):
        teach_one_epoch(BankedTeachers(live, tmp_path, {"augmentation": [{}]}, 1), batch)


def test_a_bank_whose_inputs_are_not_replayed_is_refused(run, soft, network, tmp_path):
    _, _, dataset, plan, _ = run
    live = LiveTeachers(teachers_of(run, soft, TeacherOnly()), "cpu")
    batch = batch_of(network, dataset, plan.oof_rows)
    teach_one_epoch(BankedTeachers(live, tmp_path, {}, 1), batch)
    with pytest.raises(DistillError, match="inputs differ"):
        teach_one_epoch(BankedTeachers(live, tmp_path, {}, 1), replace(batch, inputs=batch.inputs + 0.05))
    with pytest.raises(DistillError, match="rows differ"):
        teach_one_epoch(BankedTeachers(live, tmp_path, {}, 1), replace(batch, rows_B=batch.rows_B.flip(0)))
    teach_one_epoch(BankedTeachers(live, tmp_path, {}, 1), replace(batch, inputs=batch.inputs + 1e-6))


def test_every_batch_of_a_banked_view_is_checked_not_the_first_alone(run, soft, network, tmp_path):
    _, _, dataset, plan, _ = run
    live = LiveTeachers(teachers_of(run, soft, TeacherOnly()), "cpu")
    first, second = (batch_of(network, dataset, rows) for rows in np.split(plan.oof_rows, 2))
    teach_one_epoch(BankedTeachers(live, tmp_path, {}, 2), first, second)
    with pytest.raises(DistillError, match=r"step 1 of pass 0 of the bank in .* \(inputs differ\)"):
        teach_one_epoch(BankedTeachers(live, tmp_path, {}, 2), first, replace(second, inputs=second.inputs.flip(0)))


def test_what_was_scored_before_an_epoch_was_complete_is_not_kept(run, soft, network, tmp_path):
    _, _, dataset, plan, _ = run
    live = LiveTeachers(teachers_of(run, soft, TeacherOnly()), "cpu")
    teach_one_epoch(BankedTeachers(live, tmp_path, {}, 2), batch_of(network, dataset, plan.oof_rows))
    assert not list(tmp_path.iterdir())


def test_what_cannot_teach_on_views_is_refused(run, soft, tmp_path):
    folder, members, dataset, plan, table = run
    other = [replace(members[0], view="eeg")]
    with pytest.raises(DistillError, match="mix of votes only"):
        teachers_of(run, soft, VotesOnly())
    with pytest.raises(DistillError, match="saw the rows"):
        teachers_of(run, replace(soft, held_out=False), TeacherOnly())
    with pytest.raises(DistillError, match=r"members read the views \['eeg'\]"):
        view_teachers([FoldModels(other[0], folder)], dataset, plan, table, soft, TeacherOnly(), view="image")
    target, weight = mixed_targets(soft, table.labels, DirichletMix())
    lesson = Lesson(plan.oof_rows, target, weight)
    with pytest.raises(DistillError, match="needs teachers of augmented images"):
        train_student(replace(SETTINGS, views="live"), dataset, lesson, tmp_path)
    taught = replace(lesson, teachers=teachers_of(run, soft, DirichletMix()))
    with pytest.raises(DistillError, match="needs a folder"):
        train_student(replace(SETTINGS, views="bank"), dataset, taught, tmp_path)
