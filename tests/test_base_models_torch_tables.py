"""Torch modules on feature tables: the encoding, what it may see, and a student of a table as an ONNX file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import make_column_transformer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import foldstill as fs
from foldstill.base_models import EegMember, Recipe, TimmMember, TorchMember
from foldstill.base_models.feature_input import FeatureInput
from foldstill.base_models.inputs import DeviceInputs
from foldstill.commands.export import export_stage
from foldstill.data.feature_form import FeatureForm
from foldstill.data.training import FitContext, TrainingSet
from foldstill.distill import OnnxStudent
from foldstill.errors import DistillError, MemberError
from foldstill.pipeline import ExperimentFile, Run, find_run, run_all, start_run
from foldstill.testing import check_member, synthetic_dataset
from made_up import call, one_worker
from test_base_models_tables import EXPERIMENT, write_table

MODULES = """
from torch import nn


def mlp(shape, n_classes, width=16):
    return nn.Sequential(nn.Linear(*shape, width), nn.ReLU(), nn.Linear(width, n_classes))
"""

RECIPE = Recipe(epochs=4, batch_size=16, lr=0.02)


def mlp(shape: tuple[int, ...], n_classes: int, width: int = 16) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(*shape, width), torch.nn.ReLU(), torch.nn.Linear(width, n_classes))


def test_a_module_on_a_table_keeps_the_promises_of_a_member() -> None:
    check_member(TorchMember("mlp", mlp, view="features", recipe=RECIPE))


def test_the_encoding_is_that_of_scikit_learn_fitted_to_the_training_rows() -> None:
    rng = np.random.default_rng(0)
    n, rows = 200, np.arange(120)
    frame = pd.DataFrame(
        {
            "second": 1.7e9 + rng.integers(0, 1000, n),  # in float32, all of these are a few values
            "color": rng.choice(["red", "green", None], n),
            "size": np.where(rng.random(n) < 0.3, np.nan, rng.normal(5, 3, n)),
        }
    )
    frame.loc[150:, "color"] = "unseen"
    table = fs.FeatureTable.of(frame)
    form = FeatureForm.of(table[rows])
    assert form.encoded_names == ("second", "size", "size is missing", "color = green", "color = red")
    layer = FeatureInput(form)
    inputs = DeviceInputs(form.array(table, "features"))
    layer.fit(inputs, rows)
    (raw,) = inputs.batches([torch.arange(n)])

    theirs = make_column_transformer(
        (make_pipeline(StandardScaler(), SimpleImputer()), ["second", "size"]),
        (MissingIndicator(), ["size"]),
        (OneHotEncoder(categories=[["green", "red"]], handle_unknown="ignore", sparse_output=False), ["color"]),
    ).fit(frame.iloc[rows])
    np.testing.assert_allclose(layer(raw), theirs.transform(frame), atol=1e-6)


def test_a_number_that_never_differs_in_training_says_nothing_about_new_rows() -> None:
    table = fs.FeatureTable.of(pd.DataFrame({"same": [2.0, 2.0, 2.0, 900.0], "lost": [np.nan, np.nan, np.nan, 7.0]}))
    form = FeatureForm.of(table[:3])
    layer, inputs = FeatureInput(form), DeviceInputs(form.array(table, "features"))
    layer.fit(inputs, np.arange(3))
    (raw,) = inputs.batches([torch.arange(4)])
    assert layer(raw).tolist() == [[0, 0, 1]] * 3 + [[0, 0, 0]]


def test_members_of_images_refuse_a_table_in_one_sentence() -> None:
    dataset = synthetic_dataset()
    training_set = TrainingSet.from_labels(dataset.labels, dataset.views, np.arange(60))
    for member in (TimmMember("m", "test_resnet", view="features"), EegMember("m", view="features")):
        with pytest.raises(MemberError, match="'m' reads images or signals, and the view 'features' is a table"):
            member.check(training_set)
    wide = TorchMember("m", lambda shape, n_classes: torch.nn.Linear(99, n_classes), view="features")
    with pytest.raises(MemberError, match=r"fails in evaluation on a batch of shape \(2, 6\)"):
        wide.check(training_set)


@pytest.mark.parametrize(
    ("added", "message"),
    [
        (
            "uncertainty = true",
            "student 'student' reads a table of features, and uncertainty is for images and signals",
        ),
        ('features = { member = "mlp" }', "and features is for images and signals"),
        ('views = "live"', "and views is for images and signals"),
        ('recipe.augment = [{ kind = "horizontal_flip" }]', "augmentation horizontal_flip is for images and signals"),
    ],
)
def test_what_needs_images_is_refused_for_a_student_of_a_table(tmp_path: Path, added: str, message: str) -> None:
    write_table(tmp_path)
    (tmp_path / "my_models.py").write_text(MODULES, encoding="utf-8")
    text = (EXPERIMENT + STUDENT).replace('[[stacking.combiner]]\nkind = "average"\n[[stacking', "[[stacking")
    text = text.replace("recipe = { epochs = 15, batch_size = 32, lr = 0.02 }\n", "")
    with pytest.raises(fs.errors.FoldstillError, match=message):
        run_all(start_run(ExperimentFile(text + added + "\n", tmp_path), tmp_path / "run", one_worker()))
    assert not (tmp_path / "run").exists()


def test_new_rows_are_matched_by_name() -> None:
    dataset = synthetic_dataset()
    table = dataset.view("features")
    training_set = TrainingSet.from_labels(dataset.labels, {"features": table}, np.arange(60))
    model = TorchMember("mlp", mlp, view="features", recipe=RECIPE).fit(training_set, FitContext())
    frame = table.frame()  # type: ignore[union-attr]
    np.testing.assert_array_equal(model.predict({"features": frame.iloc[:, ::-1]}), model.predict(training_set.views))
    with pytest.raises(fs.errors.DataError, match=r"the rows lack \['size'\]"):
        model.predict({"features": frame.drop(columns="size")})


STUDENT = """
[[member]]
kind = "torch"
name = "mlp"
module = "my_models.py:mlp"
view = "features"
recipe = { epochs = 20, batch_size = 32, lr = 0.01, early_stopping = { patience = 5 } }
[[stacking.combiner]]
kind = "average"
[student]
kind = "torch"
module = "my_models.py:mlp"
view = "features"
options = { width = 8 }
teacher = "average"
recipe = { epochs = 15, batch_size = 32, lr = 0.02 }
seeds = 1
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of boosted trees and a module, whose average teaches a smaller module."""
    folder = tmp_path_factory.mktemp("modules")
    write_table(folder)
    (folder / "my_models.py").write_text(MODULES, encoding="utf-8")
    boosted = EXPERIMENT.split('[[member]]\nkind = "lightgbm"\nname = "stumps"')[0]
    run_all(start_run(ExperimentFile(boosted + STUDENT, folder), folder / "run", one_worker()))
    return find_run(folder / "run", work=one_worker())


def test_a_run_with_a_module_and_a_student_reaches_a_comparison(run: Run) -> None:
    scores = {arm.name: arm.kl for arm in run.comparison.arms}
    assert max(scores[name] for name in ("boosted", "mlp", "average", "student")) < 0.7  # the class prior has 0.9
    assert run.comparison["student"].cost.macs == 5 * 8 + 8 * 3  # type: ignore[union-attr]


def test_a_student_of_a_table_is_an_onnx_file_that_takes_rows_by_name(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    shipment = export_stage(run, program=True)
    assert {"student.onnx", "student.pt2"} <= set(shipment.files)
    student = OnnxStudent(run.dir.student / "student.onnx")
    assert [each["name"] for each in student.about["features"]] == ["size", "color"]
    assert student.about["encoded"][:2] == ["size", "size is missing"]
    assert "encodes them itself, as 5 numbers" in run.dir.card.read_text(encoding="utf-8")
    folder = run.dir.root.parent
    frame = pd.read_csv(folder / "d.csv")
    frame.loc[:5, "color"] = "violet"  # no row of the training had it
    frame[["color", "id", "patient", "size"]].to_csv(folder / "new.csv", index=False)
    arguments = ("predict", "--run", run.dir.root, "--data", folder / "new.csv")
    scores = []
    for name, how in (("torch", ("--arm", "student")), ("onnx", ("--onnx", student.path))):
        assert call(monkeypatch, *arguments, *how, "--out", folder / f"{name}.csv") == 0
        scores.append(pd.read_csv(folder / f"{name}.csv").iloc[:, -3:].to_numpy())
    np.testing.assert_allclose(*scores, atol=1e-5)
    with pytest.raises(DistillError, match=r"student\.onnx: the view 'features' wants the features"):
        student.predict(frame[["color"]])  # type: ignore[arg-type]
