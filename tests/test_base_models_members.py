"""Members trained over folds: what the loop leaves on disk, what may not move it, and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from foldstill.base_models import Recipe, TimmMember, collect, predict_members, train_members
from foldstill.data.dataset import Dataset
from foldstill.data.folds import make_plan
from foldstill.data.labels import Labels
from foldstill.data.simplex import kl_divergence
from foldstill.errors import ExperimentError, FoldstillError, FoldstillWarning, MemberError
from foldstill.oof.store import read_scores
from foldstill.workers import Work
from made_up import EVERYTHING, RECIPE, SMALL, bright_pictures, folds_of, one_worker, read_history, weights

KINDS = [
    SMALL,
    TimmMember("resnet", "test_resnet", recipe=RECIPE),
    TimmMember("vit", "test_vit", image_size=32, recipe=RECIPE),
    TimmMember("convnext", "test_convnext", image_size=32, options={"patch_size": 2}, recipe=RECIPE),
]


@pytest.fixture(scope="module")
def trained(pictures, three_folds, tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    received = []
    ends = train_members([SMALL], pictures, three_folds, folder, work=one_worker(received.append))
    return folder, received, ends


@pytest.mark.parametrize("member", KINDS, ids=lambda m: m.name)
def test_every_member_gives_whole_tables_and_the_same_scores_again(member, pictures, tmp_path):
    plan = folds_of(pictures, 2)
    train_members([member], pictures, plan, tmp_path, work=one_worker())
    table, test = collect(tmp_path, [member], pictures.labels, plan)
    assert table.members == (member.name,)
    assert table.scores.families == (member.network,)
    assert np.array_equal(table.labels.ids, pictures.labels.ids[plan.oof_rows])
    assert np.array_equal(table.fold_N, plan.fold_N[plan.oof_rows])
    assert table.plan_digest == plan.digest
    assert test.proba_KNMC.shape == (2, len(plan.test_rows), 1, 3)
    again = predict_members(
        tmp_path, [member], {"image": pictures.views["image"][plan.test_rows]}, pictures.labels.classes
    )
    np.testing.assert_allclose(again.proba_KNMC, test.proba_KNMC, atol=1e-6)


def test_the_folder_holds_what_a_reader_needs(trained, pictures, three_folds):
    folder, *_ = trained
    place = folder / "small" / "fold-1"
    assert sorted(p.name for p in place.iterdir()) == [
        "done.json",
        "history.csv",
        "oof.parquet",
        "test.parquet",
        "weights.safetensors",
    ]
    done = json.loads((place / "done.json").read_text())
    assert done["inputs"]["plan"] == three_folds.digest
    assert done["inputs"]["member.recipe.epochs"] == 2
    assert done["parameters"] > 1000
    history = read_history(place)
    assert [row["epoch"] for row in history] == ["0", "1"]
    oof = read_scores(place / "oof.parquet")
    assert (oof.members, oof.classes) == (("small",), pictures.labels.classes)
    assert oof.ids.tolist() == pictures.labels.ids[three_folds.held_out(1)].tolist()


def test_progress_tells_epochs_and_at_the_end_the_held_out_score(trained):
    """The last epoch of a model counts when its held-out rows are scored."""
    _, received, ends = trained
    assert [p.done for p in received] == [1, 1, 2, 3, 3, 4, 5, 5, 6]
    assert all(p.task == "small" and p.total == 6 for p in received)
    assert received[0].note.startswith("training loss ")
    mean = np.mean([end.held_out_kl for end in ends])
    assert received[-1].note == f"held-out KL {mean:.4f} over 3 of 3 folds"
    assert [(end.folds, end.epoch, end.epochs) for end in ends] == [((fold,), 2, 2) for fold in range(3)]


def test_a_finished_job_is_skipped_and_still_reported(trained, pictures, three_folds):
    folder, _, ends = trained
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    received = []
    again = train_members([SMALL], pictures, three_folds, folder, work=one_worker(received.append))
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before
    assert again == ends
    assert [p.done for p in received] == [2, 4, 6]


def test_changed_inputs_are_named_and_force_redoes_them(pictures, three_folds, tmp_path):
    member = replace(SMALL, recipe=Recipe(epochs=1, batch_size=16))
    train_members([member], pictures, three_folds, tmp_path, work=one_worker())
    first = weights(tmp_path)
    other = replace(member, recipe=replace(member.recipe, lr=1e-3))
    with pytest.raises(ExperimentError, match=r"member.recipe.lr was 0.003, is 0.001"):
        train_members([other], pictures, three_folds, tmp_path, work=one_worker())
    with pytest.raises(ExperimentError, match="seed"):
        train_members([member], pictures, three_folds, tmp_path, seed=1, work=one_worker())
    changed = Dataset(pictures.labels, {"image": 255 - pictures.views["image"]})
    with pytest.raises(ExperimentError, match="data"):
        train_members([member], changed, three_folds, tmp_path, work=one_worker())
    assert weights(tmp_path) == first
    with pytest.warns(FoldstillWarning, match="as --force says: small/fold-0, small/fold-1, small/fold-2$"):
        train_members([other], pictures, three_folds, tmp_path, work=one_worker(force=True))
    assert weights(tmp_path) != first
    # What is finished and of these inputs is kept also with force, and no note says otherwise.
    train_members([other], pictures, three_folds, tmp_path, work=one_worker(force=True))


def test_another_member_beside_it_does_not_move_a_member(trained, pictures, three_folds, tmp_path):
    folder, *_ = trained
    other = TimmMember("other", "test_resnet", recipe=Recipe(epochs=1, batch_size=16))
    train_members([other, SMALL], pictures, three_folds, tmp_path, work=one_worker())
    assert weights(tmp_path) == weights(folder)


def test_a_memorising_member_scores_at_chance_in_the_oof_table(tmp_path):
    """Noise with random labels: the training rows can be learnt by heart, held-out rows cannot.

    The reference meta-model was fitted to members of which four in five had seen each row.
    """
    rng = np.random.default_rng(1)
    labels = Labels.from_hard(rng.integers(0, 3, 60), classes=["a", "b", "c"])
    data = Dataset(labels, {"image": rng.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)})
    plan = make_plan(labels, n_folds=2, test_share=0)
    member = TimmMember("rote", "test_resnet", recipe=Recipe(epochs=20, batch_size=10, weight_decay=0))
    train_members([member], data, plan, tmp_path, work=one_worker())
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


def test_labels_and_images_of_held_out_and_test_rows_do_not_move_a_fold(pictures, three_folds, trained, tmp_path):
    """Early stopping is on in one recipe: every reference project chose its epochs on the rows it then reported."""
    folder, *_ = trained
    hidden = np.concatenate([three_folds.held_out(0), three_folds.test_rows])
    votes, images = pictures.labels.votes_NC.copy(), pictures.views["image"].copy()
    votes[hidden] = votes[hidden][:, ::-1] + 3
    images[hidden] = 255 - images[hidden]
    other = Dataset(replace(pictures.labels, votes_NC=votes), {"image": images})
    for recipe, reference in ((RECIPE, folder), (replace(EVERYTHING, row_weight="log1p"), None)):
        member = replace(SMALL, recipe=recipe)
        if reference is None:
            reference = tmp_path / "reference"
            train_members([member], pictures, three_folds, reference, folds=(0, 1), work=one_worker())
        place = tmp_path / f"other-{recipe.epochs}"
        train_members([member], other, three_folds, place, folds=(0, 1), work=one_worker())
        assert weights(place) == weights(reference)
        assert weights(place, fold=1) != weights(reference, fold=1)


@pytest.mark.parametrize("member", KINDS[:2], ids=lambda m: m.network)
def test_a_member_is_the_network_that_its_record_names(member, pictures, three_folds, tmp_path):
    """A reference project's labels said B2 and B4 where B0 had been trained."""
    import timm

    train_members(
        [replace(member, recipe=Recipe(epochs=1, batch_size=16))],
        pictures,
        three_folds,
        tmp_path,
        folds=[0],
        work=one_worker(),
    )
    place = tmp_path / member.name / "fold-0"
    done = json.loads((place / "done.json").read_text())
    named = timm.create_model(done["inputs"]["member.network"], in_chans=3, num_classes=3)
    stored = {key: value.shape for key, value in load_file(place / "weights.safetensors").items()}
    assert {f"body.{key}": tuple(v.shape) for key, v in named.state_dict().items()}.items() <= stored.items()
    assert done["parameters"] == sum(p.numel() for p in named.parameters())


def test_normalisation_constants_come_from_the_training_rows_of_the_fold(trained, pictures, three_folds):
    folder, *_ = trained
    for fold in range(3):
        stored = load_file(folder / "small" / f"fold-{fold}" / "weights.safetensors")
        values = pictures.views["image"][three_folds.training(fold)].reshape(-1, 3).astype(np.float64)
        np.testing.assert_allclose(stored["input.mean"], values.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(stored["input.std"], values.std(axis=0), rtol=1e-5)


def test_a_nan_loss_names_member_fold_epoch_and_step(pictures, three_folds, tmp_path):
    wild = replace(
        SMALL,
        recipe=Recipe(epochs=3, batch_size=16, optimizer="sgd", lr=1e30, schedule="constant", warmup=0, clip_norm=0),
    )
    with pytest.raises(MemberError, match=r"member small, fold 0: the loss became nan in epoch \d, step \d of 3"):
        train_members([wild], pictures, three_folds, tmp_path, work=one_worker())


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([], "at least one member"),
        ([SMALL, SMALL], "must differ"),
        ([replace(SMALL, network="resnet1")], "did you mean"),
        ([replace(SMALL, view="eeg")], "no view 'eeg'"),
        (
            [replace(SMALL, recipe=Recipe(precision="bfloat16"))],
            r'precision = "bfloat16" needs a CUDA GPU and the .* cpu',
        ),
    ],
)
def test_members_that_cannot_be_trained_are_refused_before_anything_is_written(
    members, said, pictures, three_folds, tmp_path
):
    with pytest.raises(FoldstillError, match=said):
        train_members(members, pictures, three_folds, tmp_path, work=one_worker())
    assert not list(tmp_path.iterdir())


def test_a_plan_of_other_rows_is_refused(pictures, tmp_path):
    other = make_plan(bright_pictures(60).labels, n_folds=3)
    with pytest.raises(MemberError, match="same ids"):
        train_members([SMALL], pictures, other, tmp_path)


def test_a_missing_device_is_one_sentence(pictures, three_folds, tmp_path):
    with pytest.raises(MemberError, match="device must be auto"):
        train_members([SMALL], pictures, three_folds, tmp_path, work=Work(device="gpu"))


def test_collecting_names_what_is_missing_or_foreign(trained, pictures, three_folds, tmp_path):
    folder, *_ = trained
    with pytest.raises(MemberError, match="member resnet, fold 0 is not trained"):
        collect(folder, [SMALL, KINDS[1]], pictures.labels, three_folds)
    other = make_plan(pictures.labels, n_folds=3, strategy="grouped", seed=5)
    with pytest.raises(MemberError, match="other labels or folds"):
        collect(folder, [SMALL], pictures.labels, other)


def test_new_rows_must_look_like_the_trained_ones(trained, pictures):
    folder, *_ = trained
    classes = pictures.labels.classes
    with pytest.raises(MemberError, match=r"shape \(16, 16, 3\).*got \(8, 8, 3\)"):
        predict_members(folder, [SMALL], {"image": np.zeros((2, 8, 8, 3), np.uint8)}, classes)
    with pytest.raises(MemberError, match=r"read the views \['image'\]"):
        predict_members(folder, [SMALL], {"eeg": np.zeros((2, 8, 8, 3), np.uint8)}, classes)
    with pytest.raises(MemberError, match="no trained fold"):
        predict_members(folder, [KINDS[1]], {"image": pictures.views["image"]}, classes)
