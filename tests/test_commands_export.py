"""A student with everything turned on, from the experiment file to a file that runs elsewhere."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from foldstill.base_models import predict_members
from foldstill.commands.export import export_stage
from foldstill.data.dataset import Dataset
from foldstill.distill import predict_onnx
from foldstill.errors import FoldstillError
from foldstill.oof import read_scores
from foldstill.pipeline import ExperimentFile, Run, compare_stage, start_run
from foldstill.pipeline.distill import distill_stage
from foldstill.pipeline.stack import stack_stage
from foldstill.pipeline.train import oof_stage, train_stage
from foldstill.workers import Work
from made_up import DIGITS, timm_table

pytestmark = pytest.mark.slow  # eight fold models, two students, an export

MEMBERS = "".join(timm_table(f"m{i}", "test_efficientnet") for i in range(4))
TEXT = f"""
name = "small"
{DIGITS}[folds]
n_folds = 2
test_share = 0.3
[recipe]
epochs = 1
batch_size = 32
{MEMBERS}
[[stacking.combiner]]
kind = "average"
[student]
network = "test_efficientnet"
teacher = "average"
seeds = 1
views = "bank"
bank_views = 1
uncertainty = true
foreign = "foreign.npz"
features = {{ member = "m1", weight = 0.5 }}
"""
# Four members are the fewest whose spread a precision head is fitted to.


def taught(run: Run) -> Run:
    train_stage(run)
    oof_stage(run)
    stack_stage(run)
    distill_stage(run)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "small"
    # Stripes instead of digits, as wide as they are.
    stripes = np.tile(np.asarray([0, 255], np.uint8), (40, 16, 8))[..., None]
    np.savez(folder.parent / "foreign.npz", image=stripes)
    return taught(start_run(ExperimentFile(TEXT, folder.parent, "small"), folder, Work(1, "cpu")))


def test_a_student_keeps_the_spread_of_its_members_and_says_what_that_is_worth(run: Run) -> None:
    assert (run.dir.student / "precision.safetensors").exists()
    worth = json.loads((run.dir.student / "uncertainty.json").read_text())
    worth = {part: worth[part] for part in ("total", "data", "knowledge")}
    assert all(-1.5 <= each["prediction_rejection_ratio"] <= 1 for each in worth.values())
    for each in worth.values():
        assert set(each["auroc"]) == {"noise", "saturation", "foreign (foreign)"}  # one channel: none to lose
        assert all(0 <= auroc <= 1 for auroc in each["auroc"].values())
        assert set(each["auroc_of_ensemble"]) == set(each["auroc"])
        assert -1 <= each["rank_correlation_with_ensemble"] <= 1
    with np.load(run.root / "foreign.npz") as file:
        scores = predict_members(
            run.dir.members, run.experiment.member, {"image": file["image"]}, run.dataset.labels.classes
        )
    assert run.test is not None
    proba = [each.mean().proba_NMC.mean(axis=1, dtype=np.float64) for each in (run.test, scores)]
    entropy = np.concatenate([-(each * np.log(each)).sum(axis=1) for each in proba])
    is_foreign = np.repeat([False, True], [len(each) for each in proba])
    right = roc_auc_score(is_foreign, entropy)
    np.testing.assert_allclose(worth["total"]["auroc_of_ensemble"]["foreign (foreign)"], right, atol=1e-9)
    assert not (run.dir.student_without_teacher / "precision.safetensors").exists()
    comparison = compare_stage(run)
    assert "foreign (foreign) " in comparison["student"].note
    assert comparison["student without teacher"].note == ""


def test_foreign_inputs_named_later_are_asked_without_training_again(run: Run, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(run.dir.root, tmp_path / "run")
    shutil.copy(run.dir.root.parent / "foreign.npz", tmp_path / "other.npz")
    text = TEXT.replace("foreign.npz", "other.npz")
    again = start_run(ExperimentFile(text, tmp_path, "small"), tmp_path / "run", Work(1, "cpu"))
    weights = again.dir.student / "weights.safetensors"
    made = weights.stat().st_mtime_ns
    distill_stage(again)
    worth = json.loads((again.dir.student / "uncertainty.json").read_text())
    assert set(worth["total"]["auroc"]) == {"noise", "saturation", "foreign (other)"}
    assert weights.stat().st_mtime_ns == made
    np.savez(tmp_path / "third.npz", image=np.zeros((3, 8, 8, 1), np.uint8))
    text = TEXT.replace("foreign.npz", "third.npz")
    with pytest.raises(FoldstillError, match="prepare them as the training data were"):
        distill_stage(start_run(ExperimentFile(text, tmp_path, "small"), tmp_path / "run", Work(1, "cpu")))


def test_an_exported_student_gives_the_scores_of_the_run_and_a_card_that_names_its_rows(run: Run) -> None:
    compare_stage(run)
    shipment = export_stage(run, ("fp16",), program=True)
    assert list(shipment.files) == ["student.onnx", "student.fp16.onnx", "student.pt2"]
    assert (run.dir.student / "student.pt2").exists()
    rows = run.dataset.view("image")[run.plan.test_rows]
    scored = read_scores(run.dir.student / "test.parquet").proba_NMC[:, 0]
    np.testing.assert_allclose(predict_onnx(run.dir.student / "student.onnx", rows), scored, atol=1e-5)
    card = run.dir.card.read_text()
    assert f"On {len(rows)} locked" in card
    assert "KL minus that of the plain average" in card
    assert "\nTaught by average: the teacher has 50% of every target, as asked" in card
    assert "; uncertainty by entropy / by knowledge: " in card


def test_what_locked_rows_hold_reaches_neither_student_nor_precision_head_nor_int8(run: Run, tmp_path: Path) -> None:
    locked, labels = run.plan.test_rows, run.dataset.labels
    image, votes_NC = run.dataset.view("image").copy(), labels.votes_NC.copy()
    image[locked], votes_NC[locked] = 255 - image[locked], votes_NC[locked][:, ::-1]
    other = start_run(ExperimentFile(TEXT, run.root, "small"), tmp_path / "other", Work(1, "cpu"))
    other.__dict__["plan"] = run.plan
    other.__dict__["dataset"] = Dataset(
        replace(labels, votes_NC=votes_NC), {"image": image}, recipes=run.dataset.recipes
    )
    taught(other)
    for one in (run, other):
        compare_stage(one)
        export_stage(one, ("int8",))
    for name in ("weights.safetensors", "precision.safetensors", "student.int8.onnx"):
        ours, theirs = run.dir.student / name, other.dir.student / name
        assert ours.exists() == theirs.exists()
        if ours.exists():
            assert ours.read_bytes() == theirs.read_bytes(), name
    ours, theirs = (read_scores(one.dir.student / "test.parquet").proba_NMC for one in (run, other))
    assert (ours != theirs).any()


def test_a_run_without_a_student_has_nothing_to_export(run: Run, tmp_path: Path) -> None:
    alone = TEXT.split("[student]", maxsplit=1)[0]
    opened = start_run(ExperimentFile(alone, Path(), "alone"), tmp_path / "alone", Work(1, "cpu"))
    with pytest.raises(FoldstillError, match=r"no \[student\] to export"):
        export_stage(opened)
