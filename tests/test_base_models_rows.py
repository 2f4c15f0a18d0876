"""Which rows each stage of a training sees, which rows judge its epochs, and what a second stage starts from."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from foldstill.base_models import EarlyStopping, Recipe, SecondStage, TimmMember, collect, train_members
from foldstill.base_models.rows import phases_of
from foldstill.data.folds import make_plan
from foldstill.data.labels import Labels
from foldstill.data.training import TrainingSet
from foldstill.errors import ExperimentError, MemberError
from made_up import SMALL, bright_pictures, folds_of, one_worker, read_history, weights


def test_the_second_stage_sees_rows_with_many_votes_only(pictures, three_folds, tmp_path):
    recipe = Recipe(epochs=1, batch_size=16, second_stage=SecondStage(min_votes=8, epochs=2, lr=1e-3))
    member = replace(SMALL, recipe=recipe)
    train_members([member], pictures, three_folds, tmp_path / "one", work=one_worker())
    history = read_history(tmp_path / "one/small/fold-0")
    assert [row["stage"] for row in history] == ["1", "2", "2"]
    assert max(float(row["lr"]) for row in history[1:]) <= 1e-3
    none = replace(member, recipe=replace(recipe, second_stage=SecondStage(min_votes=100)))
    with pytest.raises(MemberError, match=r"member small, fold 0: training needs 2 rows or more, got 0"):
        train_members([none], pictures, three_folds, tmp_path / "none", work=one_worker())


def test_each_stage_trains_on_its_rows_and_is_judged_on_rows_of_the_fold_it_may_see(pictures, three_folds):
    """Few votes, then many; held-out and test rows are in no stage, and in none of those that choose an epoch."""
    recipe = Recipe(
        epochs=2, early_stopping=EarlyStopping(share=0.3),
        second_stage=SecondStage(min_votes=8, first_max_votes=4, epochs=1, starts_from="best"),
    )  # fmt: skip
    labels = pictures.labels
    training_set = TrainingSet.from_labels(labels, pictures.views, three_folds.training(0))
    first, second = phases_of(recipe, training_set, 0)
    few, all_judges, many, judges_of_many = first.rows, first.judges, second.rows, second.judges
    assert first.keep_best
    assert (labels.total_N[few] <= 4).all()
    assert (labels.total_N[many] >= 8).all()
    assert (labels.total_N[judges_of_many] >= 8).all()
    assert len(judges_of_many) < len(all_judges)
    seen = np.concatenate([few, many, all_judges, judges_of_many])
    assert not set(seen) & {*three_folds.held_out(0), *three_folds.test_rows}
    assert not set(labels.groups[all_judges]) & set(labels.groups[np.concatenate([few, many])])
    with pytest.raises(MemberError, match="judged by 'stage' has no row to judge on"):
        phases_of(replace(recipe, second_stage=SecondStage(min_votes=100)), training_set, 0)


def test_rows_on_the_edge_go_to_the_stage_that_their_agreement_earns():
    """As published for HMS: rows of four votes are noisy where experts disagree, and good where they do not."""
    votes = np.array([[3, 0], [2, 2], [4, 0], [3, 1], [5, 0], [3, 2], [1, 0]])
    training_set = TrainingSet.from_labels(Labels.from_votes(votes), {}, np.arange(7))
    stage = SecondStage(min_votes=5, min_votes_unanimous=4, first_max_votes=4)
    noisy, good = phases_of(Recipe(second_stage=stage), training_set, 0)
    assert noisy.rows.tolist() == [0, 1, 3, 6]
    assert good.rows.tolist() == [2, 4, 5]
    everything, good = phases_of(Recipe(second_stage=replace(stage, first_max_votes=None)), training_set, 0)
    assert everything.rows.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert good.rows.tolist() == [2, 4, 5]


@pytest.mark.parametrize(
    ("judged_by", "first", "second"),
    [
        ("stage", [0, 1, 2, 3, 4, 5], [1, 2, 3, 4]),
        ("all", [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]),
        ("few", [0, 1, 4, 5], [0, 1, 4, 5]),
        ("many", [2, 3], [2, 3]),
    ],
)
def test_the_rows_that_judge_epochs_can_be_those_of_few_or_of_many_votes(judged_by, first, second):
    """Six rows are in the group that the inner split takes, copies of them in the group that is trained on."""
    votes = np.array([[1, 0], [9, 0], [10, 0], [28, 0], [8, 1], [2, 0]])
    labels = Labels.from_votes(np.tile(votes, (2, 1)), groups=np.repeat(["a", "b"], 6))
    training_set = TrainingSet.from_labels(labels, {}, np.arange(12))
    recipe = Recipe(early_stopping=EarlyStopping(judged_by=judged_by), second_stage=SecondStage(min_votes=9))
    assert [(phase.judges % 6).tolist() for phase in phases_of(recipe, training_set, 0)] == [first, second]
    [phase] = phases_of(replace(recipe, second_stage=None), training_set, 0)
    assert (phase.judges % 6).tolist() == first


def test_the_epoch_whose_weights_are_kept_is_the_one_its_judges_like_best(tmp_path):
    """Rows of few votes are labelled at random here: the longer a network learns, the worse it is on those alone."""
    data = bright_pictures(240)
    votes, few = data.labels.votes_NC, data.labels.total_N < 10
    votes = np.where(few[:, None], np.random.default_rng(0).permutation(votes[few])[np.cumsum(few) - 1], votes)
    data = replace(data, labels=Labels.from_votes(votes, groups=data.labels.groups))
    plan = folds_of(data, 2)
    best, ends = {}, {}
    for judged_by in ("few", "many"):
        recipe = Recipe(
            epochs=4, batch_size=16, schedule="constant", row_weight="clamp",
            early_stopping=EarlyStopping(share=0.4, patience=4, judged_by=judged_by),
        )  # fmt: skip
        member = TimmMember("small", "test_resnet", recipe=recipe)
        train_members([member], data, plan, tmp_path / judged_by, folds=[0], work=one_worker())
        history = read_history(tmp_path / judged_by / "small/fold-0")
        kl = [float(row["inner_kl"]) for row in history]
        best[judged_by] = kl.index(min(kl))
        ends[judged_by] = weights(tmp_path / judged_by)
    assert best["few"] < best["many"]
    assert ends["few"] != ends["many"]


def test_a_second_stage_starts_from_the_weights_it_is_told_to(pictures, three_folds, tmp_path):
    """With a rate that moves nothing and no running statistics it ends where it began, as the inner split can tell."""
    member = TimmMember("convnext", "test_convnext", image_size=32, options={"patch_size": 2})
    for start in ("final", "best"):
        recipe = Recipe(
            epochs=4, batch_size=16, schedule="constant", lr=0.03, early_stopping=EarlyStopping(share=0.3, patience=4),
            second_stage=SecondStage(min_votes=1, epochs=1, lr=1e-12, starts_from=start),
        )  # fmt: skip
        train_members(
            [replace(member, recipe=recipe)], pictures, three_folds, tmp_path / start, folds=[0], work=one_worker()
        )
        kl = [float(row["inner_kl"]) for row in read_history(tmp_path / start / "convnext/fold-0")]
        assert min(kl[:4]) < kl[3] - 0.01
        assert kl[4] == pytest.approx(kl[3] if start == "final" else min(kl[:4]), rel=1e-4)


WINDOWS = replace(SMALL, recipe=Recipe(epochs=3, batch_size=4, sampling="one_each"))


@pytest.fixture(scope="module")
def windows(pictures):
    """Rows are windows of 18 recordings of one to nine windows."""
    units = np.asarray(
        [
            f"r{i}"
            for i in np.searchsorted(np.cumsum(np.tile(range(1, 10), 2)), np.arange(len(pictures.labels)), "right")
        ]
    )
    labels = replace(pictures.labels, groups=units)
    return replace(pictures, labels=labels, units_N=units)


def test_one_row_of_each_unit_is_trained_on_and_every_row_is_scored(windows, tmp_path, monkeypatch):
    """A recording of many labels counts as one of few, and what is scored is never drawn."""
    from foldstill.base_models import trainer

    plan, drawn = make_plan(windows.labels, n_folds=2, test_share=0, strategy="grouped"), []
    draw = trainer.one_of_each
    monkeypatch.setattr(trainer, "one_of_each", lambda *a, **k: drawn.append(draw(*a, **k)) or drawn[-1])
    train_members([WINDOWS], windows, plan, tmp_path, work=one_worker())
    assert len(drawn) == 2 * 3
    for fold in range(2):
        units = set(windows.units_N[plan.training(fold)])
        for rows in drawn[3 * fold : 3 * fold + 3]:
            assert sorted(windows.units_N[rows]) == sorted(units)
            assert set(rows) <= set(plan.training(fold))
        assert len({tuple(rows) for rows in drawn[3 * fold : 3 * fold + 3]}) == 3
    table, _ = collect(tmp_path, [WINDOWS], windows.labels, plan)
    assert len(table) == len(windows.labels)


def test_draws_of_units_need_units_and_are_part_of_what_a_member_is_made_from(windows, pictures, three_folds, tmp_path):
    with pytest.raises(MemberError, match=r"draws one row of each unit, and the rows of this data have no units"):
        train_members([WINDOWS], pictures, three_folds, tmp_path, work=one_worker())
    two = make_plan(windows.labels, n_folds=2, test_share=0, strategy="grouped")
    train_members([WINDOWS], windows, two, tmp_path, work=one_worker())
    other = replace(windows, units_N=windows.units_N[::-1].copy())
    with pytest.raises(ExperimentError, match="units"):
        train_members([WINDOWS], other, two, tmp_path, work=one_worker())


def first_stage_alone(folder):
    """Weights at the end of the first stage, from its checkpoint."""
    state = load_file(folder / "small/fold-0/checkpoint-1.safetensors")
    return {key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}


def test_a_stage_that_thaws_follows_one_that_trains_the_classifier_alone(pictures, three_folds, tmp_path):
    epochs = []

    def stop(progress):
        epochs.append(progress)
        if len(epochs) == 2:
            raise KeyboardInterrupt

    recipe = Recipe(epochs=2, batch_size=16, second_stage=SecondStage(min_votes=1, epochs=2, thaws=True))
    member = replace(SMALL, recipe=recipe, drop_rate=0.2)
    with pytest.raises(KeyboardInterrupt):
        train_members([member], pictures, three_folds, tmp_path, work=one_worker(stop))
    stages = first_stage_alone(tmp_path)
    train_members([member], pictures, three_folds, tmp_path, work=one_worker())
    end = load_file(tmp_path / "small/fold-0/weights.safetensors")
    once = replace(member, recipe=Recipe(epochs=1, batch_size=2, lr=1e-12, weight_decay=0, clip_norm=1e-12))
    train_members([once], pictures, three_folds, tmp_path / "first", work=one_worker())
    first = load_file(tmp_path / "first/small/fold-0/weights.safetensors")
    kernels = [key for key in first if key.startswith("body.") and first[key].ndim == 4]
    head = [key for key in first if key.startswith("body.classifier")]
    statistics = [key for key in first if key.endswith("running_mean")]
    assert kernels
    assert head
    assert statistics
    for key in kernels:
        np.testing.assert_allclose(stages[key], first[key], atol=1e-6)
        assert not np.allclose(end[key], stages[key], atol=1e-4)
    for key in head:
        assert not np.allclose(stages[key], first[key], atol=1e-4)
    assert all((stages[key] == 0).all() and (end[key] != 0).any() for key in statistics)
