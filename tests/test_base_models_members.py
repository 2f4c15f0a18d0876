import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from foldstill.base_models import (
    EarlyStopping,
    Progress,
    Recipe,
    SecondStage,
    TimmMember,
    collect,
    predict_members,
    train_members,
)
from foldstill.base_models.rows import inner_split, stages_of
from foldstill.data.augment import HorizontalFlip, Noise, Shift
from foldstill.data.dataset import Dataset
from foldstill.data.folds import make_plan
from foldstill.data.labels import Labels
from foldstill.data.mixing import CutMix
from foldstill.data.simplex import kl_divergence
from foldstill.errors import ExperimentError, FoldstillError, MemberError

N = 90
RECIPE = Recipe(epochs=2, batch_size=16, augment=(HorizontalFlip(), Shift(), CutMix()), ema=0.9)
# 16 pixels: the smallest side test_resnet and test_efficientnet do not shrink to nothing
SMALL = TimmMember("small", "test_efficientnet", recipe=RECIPE)
KINDS = [
    SMALL,
    TimmMember("resnet", "test_resnet", recipe=RECIPE),
    TimmMember("vit", "test_vit", image_size=32, recipe=RECIPE),
    TimmMember("convnext", "test_convnext", image_size=32, options={"patch_size": 2}, recipe=RECIPE),
]


def make_data(n=N, seed=0):
    """Images whose brightness tells the class; three rows a group, some with many votes."""
    rng = np.random.default_rng(seed)
    shown = rng.integers(0, 3, n)
    images = (rng.normal(60, 20, (n, 16, 16, 3)) + 60 * shown[:, None, None, None]).clip(0, 255).astype(np.uint8)
    votes = np.eye(3)[shown] * rng.integers(1, 12, n)[:, None] + rng.integers(0, 2, (n, 3))
    return Dataset(Labels.from_votes(votes, groups=np.arange(n) // 3), {"image": images})


def make_two_folds(data):
    return make_plan(data.labels, n_folds=2, strategy="grouped")


@pytest.fixture(scope="module")
def data():
    return make_data()


@pytest.fixture(scope="module")
def plan(data):
    return make_plan(data.labels, n_folds=3, strategy="grouped")


@pytest.fixture(scope="module")
def trained(data, plan, tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    heard = []
    train_members([SMALL], data, plan, folder, jobs=1, on_progress=heard.append)
    return folder, heard


def read_history(place):
    return list(csv.DictReader((place / "history.csv").read_text().splitlines()))


def weights(folder, member="small", fold=0):
    return (folder / member / f"fold-{fold}" / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("member", KINDS, ids=lambda m: m.name)
def test_every_member_gives_whole_tables_and_the_same_scores_again(member, data, plan, tmp_path):
    train_members([member], data, plan, tmp_path, jobs=1)
    table, test = collect(tmp_path, [member], data.labels, plan)
    assert table.members == (member.name,)
    assert table.scores.families == (member.network,)
    assert np.array_equal(table.labels.ids, data.labels.ids[plan.oof_rows])
    assert np.array_equal(table.fold_N, plan.fold_N[plan.oof_rows])
    assert table.plan_digest == plan.digest
    assert test.proba_KNMC.shape == (3, len(plan.test_rows), 1, 3)
    again = predict_members(tmp_path, [member], {"image": data.views["image"][plan.test_rows]}, data.labels.classes)
    np.testing.assert_allclose(again.proba_KNMC, test.proba_KNMC, atol=1e-6)


def test_the_folder_holds_what_a_reader_needs(trained, data, plan):
    folder, _ = trained
    place = folder / "small" / "fold-1"
    assert sorted(p.name for p in place.iterdir()) == [
        "done.json",
        "history.csv",
        "oof.parquet",
        "test.parquet",
        "weights.safetensors",
    ]
    done = json.loads((place / "done.json").read_text())
    assert done["inputs"]["plan"] == plan.digest
    assert done["inputs"]["member.recipe.epochs"] == 2
    assert done["parameters"] > 1000
    history = read_history(place)
    assert [row["epoch"] for row in history] == ["0", "1"]
    oof = pq.read_table(place / "oof.parquet")
    assert oof.column_names == ["id", *data.labels.classes]
    assert oof["id"].to_pylist() == data.labels.ids[plan.held_out(1)].tolist()


def test_progress_tells_epochs_and_at_the_end_the_held_out_score(trained):
    _, heard = trained
    assert [p.epoch for p in heard if p.folds == (0,)] == [1, 2, 2]
    ends = [p for p in heard if p.held_out_kl is not None]
    assert sorted(p.folds for p in ends) == [(0,), (1,), (2,)]
    assert all(isinstance(p, Progress) and p.epochs == 2 for p in heard)


def test_a_finished_job_is_skipped_and_still_reported(trained, data, plan):
    folder, heard = trained
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    again = []
    train_members([SMALL], data, plan, folder, jobs=1, on_progress=again.append)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before
    assert [p.held_out_kl for p in again] == [p.held_out_kl for p in heard if p.held_out_kl is not None]


def test_changed_inputs_are_named_and_force_redoes_them(data, plan, tmp_path):
    member = replace(SMALL, recipe=Recipe(epochs=1, batch_size=16))
    train_members([member], data, plan, tmp_path, jobs=1)
    first = weights(tmp_path)
    other = replace(member, recipe=replace(member.recipe, lr=1e-3))
    with pytest.raises(ExperimentError, match=r"member.recipe.lr \(was 0.003, is 0.001\)"):
        train_members([other], data, plan, tmp_path, jobs=1)
    with pytest.raises(ExperimentError, match="seed"):
        train_members([member], data, plan, tmp_path, jobs=1, seed=1)
    changed = Dataset(data.labels, {"image": 255 - data.views["image"]})
    with pytest.raises(ExperimentError, match="data"):
        train_members([member], changed, plan, tmp_path, jobs=1)
    assert weights(tmp_path) == first
    train_members([other], data, plan, tmp_path, jobs=1, force=True)
    assert weights(tmp_path) != first


def test_processes_give_the_same_bytes_as_one_process(trained, data, plan, tmp_path):
    folder, _ = trained
    heard = []
    train_members([SMALL], data, plan, tmp_path, jobs=2, on_progress=heard.append)
    for fold in range(3):
        assert weights(tmp_path, fold=fold) == weights(folder, fold=fold)
    assert sorted(p.folds for p in heard if p.held_out_kl is not None) == [(0,), (1,), (2,)]
    assert not list(tmp_path.rglob("progress.json"))


def test_another_member_beside_it_does_not_move_a_member(trained, data, plan, tmp_path):
    folder, _ = trained
    other = TimmMember("other", "test_resnet", recipe=Recipe(epochs=1, batch_size=16))
    train_members([other, SMALL], data, plan, tmp_path, jobs=1)
    assert weights(tmp_path) == weights(folder)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_base_models_members import SLOW, make_data, make_two_folds
from foldstill.base_models import train_members
data = make_data()
tell = lambda p: print(*p.folds, p.epoch, flush=True)
train_members([SLOW], data, make_two_folds(data), Path(sys.argv[1]), jobs=1, on_progress=tell)
"""
SLOW = replace(
    SMALL,
    recipe=Recipe(
        epochs=3, batch_size=16, ema=0.9, schedule="plateau", sampling="balanced", augment=(Noise(), CutMix()),
        early_stopping=EarlyStopping(share=0.2, patience=3), second_stage=SecondStage(min_votes=5, epochs=1),
    ),
    drop_rate=0.2,
)  # fmt: skip


@pytest.fixture(scope="module")
def unbroken(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    train_members([SLOW], data, make_two_folds(data), folder, jobs=1)
    return folder


def assert_same_files(one, two):
    for fold in range(2):
        for name in ("weights.safetensors", "history.csv", "oof.parquet", "test.parquet"):
            place = f"small/fold-{fold}/{name}"
            assert (one / place).read_bytes() == (two / place).read_bytes(), place
    assert not list(two.rglob("checkpoint-*"))


def test_a_killed_training_goes_on_to_the_same_bytes(data, unbroken, tmp_path):
    """SIGKILL in the middle of an epoch of the second fold; everything a recipe can keep state of is on."""
    command = [sys.executable, "-c", KILLED, str(tmp_path), os.path.dirname(__file__)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line == "1 2\n":
                time.sleep(0.02)  # into the next epoch
                process.send_signal(signal.SIGKILL)
                break
    assert (tmp_path / "small/fold-0/done.json").exists()
    assert not (tmp_path / "small/fold-1/done.json").exists()
    assert list((tmp_path / "small/fold-1").glob("checkpoint-*"))
    heard = []
    train_members([SLOW], data, make_two_folds(data), tmp_path, jobs=1, on_progress=heard.append)
    assert next(p.epoch for p in heard if p.folds == (1,)) > 2
    assert_same_files(unbroken, tmp_path)


def test_a_training_interrupted_after_every_epoch_ends_with_the_same_bytes(data, unbroken, tmp_path):
    def stop(progress):
        if progress.held_out_kl is None:
            raise KeyboardInterrupt

    stops = 0
    while True:
        try:
            train_members([SLOW], data, make_two_folds(data), tmp_path, jobs=1, on_progress=stop)
        except KeyboardInterrupt:
            stops += 1
        else:
            break
    assert stops == 2 * (3 + 1)
    assert_same_files(unbroken, tmp_path)


def test_a_checkpoint_of_other_inputs_is_refused_by_name(data, plan, tmp_path):
    seen = []

    def stop(progress):
        seen.append(progress)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_members([SMALL], data, plan, tmp_path, jobs=1, on_progress=stop)
    other = replace(SMALL, recipe=replace(RECIPE, weight_decay=0.5))
    with pytest.raises(MemberError, match=r"fold 0: .*member.recipe.weight_decay was 0.02, is 0.5"):
        train_members([other], data, plan, tmp_path, jobs=1)
    train_members([other], data, plan, tmp_path, jobs=1, force=True)


def test_a_memorising_member_scores_at_chance_in_the_oof_table(tmp_path):
    """Noise with random labels: the training rows can be learnt by heart, held-out rows cannot.

    The reference meta-model was fitted to members of which four in five had seen each row.
    """
    rng = np.random.default_rng(1)
    labels = Labels.from_hard(rng.integers(0, 3, 60), classes=["a", "b", "c"])
    data = Dataset(labels, {"image": rng.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)})
    plan = make_plan(labels, n_folds=2, test_share=0)
    member = TimmMember("rote", "test_resnet", recipe=Recipe(epochs=20, batch_size=10, weight_decay=0))
    train_members([member], data, plan, tmp_path, jobs=1)
    table, test = collect(tmp_path, [member], labels, plan)
    assert test is None
    hit = (table.proba_NMC[:, 0].argmax(axis=1) == labels.votes_NC.argmax(axis=1)).mean()
    seen = predict_members(tmp_path, [member], data.views, labels.classes)
    by_heart = [
        (
            seen.proba_KNMC[k, plan.training(k), 0].argmax(axis=1) == labels.votes_NC[plan.training(k)].argmax(axis=1)
        ).mean()
        for k in range(2)
    ]
    assert min(by_heart) > 0.9
    assert hit < 0.6
    assert kl_divergence(target=labels.target_NC, proba=table.proba_NMC[:, 0]) > np.log(3)


def test_labels_and_images_of_held_out_and_test_rows_do_not_move_a_fold(data, plan, trained, tmp_path):
    """Early stopping is on in one recipe: every reference project chose its epochs on the rows it then reported."""
    folder, _ = trained
    hidden = np.concatenate([plan.held_out(0), plan.test_rows])
    votes, images = data.labels.votes_NC.copy(), data.views["image"].copy()
    votes[hidden] = votes[hidden][:, ::-1] + 3
    images[hidden] = 255 - images[hidden]
    other = Dataset(replace(data.labels, votes_NC=votes), {"image": images})
    for recipe, reference in ((RECIPE, folder), (replace(SLOW.recipe, row_weight="log1p"), None)):
        member = replace(SMALL, recipe=recipe)
        if reference is None:
            reference = tmp_path / "reference"
            train_members([member], data, plan, reference, jobs=1)
        place = tmp_path / f"other-{recipe.epochs}"
        train_members([member], other, plan, place, jobs=1)
        assert weights(place) == weights(reference)
        assert weights(place, fold=1) != weights(reference, fold=1)


@pytest.mark.parametrize("member", KINDS[:2], ids=lambda m: m.network)
def test_a_member_is_the_network_that_its_record_names(member, data, plan, tmp_path):
    """A reference project's labels said B2 and B4 where B0 had been trained."""
    import timm

    train_members([replace(member, recipe=Recipe(epochs=1, batch_size=16))], data, plan, tmp_path, jobs=1, folds=[0])
    place = tmp_path / member.name / "fold-0"
    done = json.loads((place / "done.json").read_text())
    named = timm.create_model(done["inputs"]["member.network"], in_chans=3, num_classes=3)
    stored = {key: value.shape for key, value in load_file(place / "weights.safetensors").items()}
    assert {f"body.{key}": tuple(v.shape) for key, v in named.state_dict().items()}.items() <= stored.items()
    assert done["parameters"] == sum(p.numel() for p in named.parameters())


def test_normalisation_constants_come_from_the_training_rows_of_the_fold(trained, data, plan):
    folder, _ = trained
    for fold in range(3):
        stored = load_file(folder / "small" / f"fold-{fold}" / "weights.safetensors")
        values = data.views["image"][plan.training(fold)].reshape(-1, 3).astype(np.float64)
        np.testing.assert_allclose(stored["input.mean"], values.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(stored["input.std"], values.std(axis=0), rtol=1e-5)


def test_the_second_stage_sees_rows_with_many_votes_only(data, plan, tmp_path):
    recipe = Recipe(epochs=1, batch_size=16, second_stage=SecondStage(min_votes=8, epochs=2, lr=1e-3))
    member = replace(SMALL, recipe=recipe)
    train_members([member], data, plan, tmp_path / "one", jobs=1)
    history = read_history(tmp_path / "one/small/fold-0")
    assert [row["stage"] for row in history] == ["1", "2", "2"]
    assert max(float(row["lr"]) for row in history[1:]) <= 1e-3
    none = replace(member, recipe=replace(recipe, second_stage=SecondStage(min_votes=100)))
    with pytest.raises(MemberError, match=r"member small, fold 0: training needs 2 rows or more, got 0"):
        train_members([none], data, plan, tmp_path / "none", jobs=1)


def test_each_stage_trains_on_its_rows_and_is_judged_on_rows_of_the_fold_it_may_see(data, plan):
    """Few votes, then many; held-out and test rows are in no stage, and in none of those that choose an epoch."""
    recipe = Recipe(
        epochs=2, early_stopping=EarlyStopping(share=0.3),
        second_stage=SecondStage(min_votes=8, first_max_votes=4, epochs=1, starts_from="best"),
    )  # fmt: skip
    labels = data.labels
    train, valid = inner_split(plan.training(0), labels, recipe.early_stopping, 0)
    (_, few, all_judges), (_, many, judges_of_many) = stages_of(recipe, train, valid, labels)
    assert (labels.total_N[few] <= 4).all()
    assert (labels.total_N[many] >= 8).all()
    assert (labels.total_N[judges_of_many] >= 8).all()
    assert len(judges_of_many) < len(all_judges)
    seen = np.concatenate([few, many, all_judges, judges_of_many])
    assert not set(seen) & {*plan.held_out(0), *plan.test_rows}
    assert not set(labels.groups[all_judges]) & set(labels.groups[np.concatenate([few, many])])
    with pytest.raises(MemberError, match="judged by 'stage' has no row to judge on"):
        stages_of(replace(recipe, second_stage=SecondStage(min_votes=100)), train, valid, labels)


def test_rows_on_the_edge_go_to_the_stage_that_their_agreement_earns():
    """As published for HMS: rows of four votes are noisy where experts disagree, and good where they do not."""
    votes = np.array([[3, 0], [2, 2], [4, 0], [3, 1], [5, 0], [3, 2], [1, 0]])
    labels, rows = Labels.from_votes(votes), np.arange(7)
    stage = SecondStage(min_votes=5, min_votes_unanimous=4, first_max_votes=4)
    (_, noisy, _), (_, good, _) = stages_of(Recipe(second_stage=stage), rows, None, labels)
    assert noisy.tolist() == [0, 1, 3, 6]
    assert good.tolist() == [2, 4, 5]
    (_, everything, _), (_, good, _) = stages_of(
        Recipe(second_stage=replace(stage, first_max_votes=None)), rows, None, labels
    )
    assert everything.tolist() == rows.tolist()
    assert good.tolist() == [2, 4, 5]


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
    labels, rows = Labels.from_votes([[1, 0], [9, 0], [10, 0], [28, 0], [8, 1], [2, 0]]), np.arange(6)
    recipe = Recipe(early_stopping=EarlyStopping(judged_by=judged_by), second_stage=SecondStage(min_votes=9))
    assert [judges.tolist() for _, _, judges in stages_of(recipe, rows, rows, labels)] == [first, second]
    ((_, _, judges),) = stages_of(replace(recipe, second_stage=None), rows, rows, labels)
    assert judges.tolist() == first


def test_the_epoch_whose_weights_are_kept_is_the_one_its_judges_like_best(tmp_path):
    """Rows of few votes are labelled at random here: the longer a network learns, the worse it is on those alone."""
    data = make_data(240)
    votes, few = data.labels.votes_NC, data.labels.total_N < 10
    votes = np.where(few[:, None], np.random.default_rng(0).permutation(votes[few])[np.cumsum(few) - 1], votes)
    data = replace(data, labels=Labels.from_votes(votes, groups=data.labels.groups))
    plan = make_two_folds(data)
    best, ends = {}, {}
    for judged_by in ("few", "many"):
        recipe = Recipe(
            epochs=4, batch_size=16, schedule="constant", row_weight="clamp",
            early_stopping=EarlyStopping(share=0.4, patience=4, judged_by=judged_by),
        )  # fmt: skip
        member = TimmMember("small", "test_resnet", recipe=recipe)
        train_members([member], data, plan, tmp_path / judged_by, jobs=1, folds=[0])
        history = read_history(tmp_path / judged_by / "small/fold-0")
        kl = [float(row["inner_kl"]) for row in history]
        best[judged_by] = kl.index(min(kl))
        ends[judged_by] = weights(tmp_path / judged_by)
    assert best["few"] < best["many"]
    assert ends["few"] != ends["many"]


def test_a_second_stage_starts_from_the_weights_it_is_told_to(data, plan, tmp_path):
    """With a rate that moves nothing and no running statistics it ends where it began, as the inner split can tell."""
    member = next(m for m in KINDS if m.name == "convnext")
    for start in ("final", "best"):
        recipe = Recipe(
            epochs=4, batch_size=16, schedule="constant", lr=0.03, early_stopping=EarlyStopping(share=0.3, patience=4),
            second_stage=SecondStage(min_votes=1, epochs=1, lr=1e-12, starts_from=start),
        )  # fmt: skip
        train_members([replace(member, recipe=recipe)], data, plan, tmp_path / start, jobs=1, folds=[0])
        kl = [float(row["inner_kl"]) for row in read_history(tmp_path / start / "convnext/fold-0")]
        assert min(kl[:4]) < kl[3] - 0.01
        assert kl[4] == pytest.approx(kl[3] if start == "final" else min(kl[:4]), rel=1e-4)


def test_a_nan_loss_names_member_fold_epoch_and_step(data, plan, tmp_path):
    wild = replace(
        SMALL,
        recipe=Recipe(epochs=3, batch_size=16, optimizer="sgd", lr=1e30, schedule="constant", warmup=0, clip_norm=0),
    )
    with pytest.raises(MemberError, match=r"member small, fold 0: the loss became nan in epoch \d, step \d of 3"):
        train_members([wild], data, plan, tmp_path, jobs=1)


def test_a_mistake_in_a_worker_arrives_as_its_sentence(data, plan, tmp_path):
    wrong = replace(SMALL, recipe=replace(RECIPE, second_stage=SecondStage(min_votes=100)))
    with pytest.raises(MemberError, match=r"member small, fold .: training needs 2 rows"):
        train_members([wrong], data, plan, tmp_path, jobs=2)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([], "at least one member"),
        ([SMALL, SMALL], "must differ"),
        ([replace(SMALL, network="resnet1")], "did you mean"),
        ([replace(SMALL, view="eeg")], "no view 'eeg'"),
    ],
)
def test_members_that_cannot_be_trained_are_refused_before_anything_is_written(members, said, data, plan, tmp_path):
    with pytest.raises(FoldstillError, match=said):
        train_members(members, data, plan, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_plan_of_other_rows_is_refused(data, tmp_path):
    other = make_plan(make_data(60).labels, n_folds=3)
    with pytest.raises(MemberError, match="same ids"):
        train_members([SMALL], data, other, tmp_path)


def test_a_missing_device_is_one_sentence(data, plan, tmp_path):
    with pytest.raises(MemberError, match="device must be auto"):
        train_members([SMALL], data, plan, tmp_path, device="gpu")


def test_collecting_names_what_is_missing_or_foreign(trained, data, plan, tmp_path):
    folder, _ = trained
    with pytest.raises(MemberError, match="member resnet, fold 0 is not trained"):
        collect(folder, [SMALL, KINDS[1]], data.labels, plan)
    other = make_plan(data.labels, n_folds=3, strategy="grouped", seed=5)
    with pytest.raises(MemberError, match="other labels or folds"):
        collect(folder, [SMALL], data.labels, other)


def test_new_rows_must_look_like_the_trained_ones(trained, data):
    folder, _ = trained
    classes = data.labels.classes
    with pytest.raises(MemberError, match=r"shape \[16, 16, 3\].*got \[8, 8, 3\]"):
        predict_members(folder, [SMALL], {"image": np.zeros((2, 8, 8, 3), np.uint8)}, classes)
    with pytest.raises(MemberError, match=r"read the views \['image'\]"):
        predict_members(folder, [SMALL], {"eeg": np.zeros((2, 8, 8, 3), np.uint8)}, classes)
    with pytest.raises(MemberError, match="no trained fold"):
        predict_members(folder, [KINDS[1]], {"image": data.views["image"]}, classes)


WINDOWS = replace(SMALL, recipe=Recipe(epochs=3, batch_size=4, sampling="one_each"))


@pytest.fixture(scope="module")
def windows(data):
    """Rows are windows of 18 recordings of one to nine windows."""
    units = np.asarray([f"r{i}" for i in np.searchsorted(np.cumsum(np.tile(range(1, 10), 2)), np.arange(N), "right")])
    labels = replace(data.labels, groups=units)
    return replace(data, labels=labels, units_N=units)


def test_one_row_of_each_unit_is_trained_on_and_every_row_is_scored(windows, tmp_path, monkeypatch):
    """A recording of many labels counts as one of few, and what is scored is never drawn."""
    from foldstill.base_models import engine

    plan, drawn = make_plan(windows.labels, n_folds=2, test_share=0, strategy="grouped"), []
    draw = engine.one_of_each
    monkeypatch.setattr(engine, "one_of_each", lambda *a, **k: drawn.append(draw(*a, **k)) or drawn[-1])
    train_members([WINDOWS], windows, plan, tmp_path, jobs=1)
    assert len(drawn) == 2 * 3
    for fold in range(2):
        units = set(windows.units_N[plan.training(fold)])
        for rows in drawn[3 * fold : 3 * fold + 3]:
            assert sorted(windows.units_N[rows]) == sorted(units)
            assert set(rows) <= set(plan.training(fold))
        assert len({tuple(rows) for rows in drawn[3 * fold : 3 * fold + 3]}) == 3
    table, _ = collect(tmp_path, [WINDOWS], windows.labels, plan)
    assert len(table) == N


def test_draws_of_units_need_units_and_are_part_of_what_a_member_is_made_from(windows, data, plan, tmp_path):
    with pytest.raises(MemberError, match=r"\['small'\] take one row of each unit, the data has none"):
        train_members([WINDOWS], data, plan, tmp_path, jobs=1)
    two = make_plan(windows.labels, n_folds=2, test_share=0, strategy="grouped")
    train_members([WINDOWS], windows, two, tmp_path, jobs=1)
    other = replace(windows, units_N=windows.units_N[::-1].copy())
    with pytest.raises(ExperimentError, match="units"):
        train_members([WINDOWS], other, two, tmp_path, jobs=1)


def first_stage_alone(folder):
    """Weights at the end of the first stage, from its checkpoint."""
    state = load_file(folder / "small/fold-0/checkpoint-1.safetensors")
    return {key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}


def test_a_stage_that_thaws_follows_one_that_trains_the_classifier_alone(data, plan, tmp_path):
    def stop(progress):
        if progress.epoch == 2:
            raise KeyboardInterrupt

    recipe = Recipe(epochs=2, batch_size=16, second_stage=SecondStage(min_votes=1, epochs=2, thaws=True))
    member = replace(SMALL, recipe=recipe, drop_rate=0.2)
    with pytest.raises(KeyboardInterrupt):
        train_members([member], data, plan, tmp_path, jobs=1, on_progress=stop)
    stages = first_stage_alone(tmp_path)
    train_members([member], data, plan, tmp_path, jobs=1)
    end = load_file(tmp_path / "small/fold-0/weights.safetensors")
    once = replace(member, recipe=Recipe(epochs=1, batch_size=2, lr=1e-12, weight_decay=0, clip_norm=1e-12))
    train_members([once], data, plan, tmp_path / "first", jobs=1)
    first = load_file(tmp_path / "first/small/fold-0/weights.safetensors")
    kernels = [key for key in first if key.startswith("body.") and first[key].ndim == 4]
    head = [key for key in first if key.startswith("body.classifier")]
    statistics = [key for key in first if key.endswith("running_mean")]
    for key in kernels:
        np.testing.assert_allclose(stages[key], first[key], atol=1e-6)
        assert not np.allclose(end[key], stages[key], atol=1e-4)
    for key in head:
        assert not np.allclose(stages[key], first[key], atol=1e-4)
    assert all((stages[key] == 0).all() and (end[key] != 0).any() for key in statistics)
