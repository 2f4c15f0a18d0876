"""New rows that are not like the training rows are refused, by every model, before anything is predicted."""

import json
from pathlib import Path

import numpy as np
import pytest

import foldstill as fs
from foldstill.base_models.member import Model
from foldstill.base_models.members import predict_members, train_members
from foldstill.base_models.network_model import NetworkModel
from foldstill.data.dataset import Dataset, Inputs
from foldstill.data.folds import make_plan
from foldstill.data.labels import Labels
from foldstill.data.npz import NpzData
from foldstill.data.row_form import RowForm
from foldstill.distill.export import export_onnx
from foldstill.distill.onnx_file import OnnxStudent
from foldstill.errors import DataError, DistillError, FoldstillError, MemberError
from foldstill.workers import Work

RECIPE = {"size": [16, 16], "scaling": "black 0, white 255"}
RECIPE_CHANGED = {"size": [24, 16], "scaling": "black 0, white 255"}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def members(images, tmp_path_factory) -> Path:
    """Two fold models of one member on uint8 images, with the recipe of its rows."""
    folder = tmp_path_factory.mktemp("members")
    labels = Labels.from_hard(np.arange(24) % 2)
    dataset = Dataset(labels, {"image": images}, recipes={"image": RECIPE})
    train_members(MEMBERS, dataset, make_plan(labels, n_folds=2), folder, work=Work(workers=1, device="cpu"))
    return folder


MEMBERS = [fs.TimmMember(name="small", network="test_vit", recipe=fs.Recipe(epochs=1, batch_size=8))]

WRONG = {
    "scaled": (lambda x: (x / 255).astype(np.float32), "wants uint8 as in training, got float32: give unscaled rows"),
    "wider": (lambda x: x.astype(np.int64), "wants uint8 as in training, got int64"),
    "deeper": (lambda x: x.astype(np.uint16) * 257, "wants uint8 as in training, got uint16"),
    "gray": (lambda x: x[..., :1], r"wants rows of shape \(16, 16, 3\), got \(16, 16, 1\)"),
    "smaller": (lambda x: x[:, ::2, ::2], r"wants rows of shape \(16, 16, 3\), got \(8, 8, 3\)"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_member_refuses_rows_of_another_form(members, images, wrong):
    change, message = WRONG[wrong]
    with pytest.raises(MemberError, match=f"member small: the view 'image' {message}"):
        predict_members(members, MEMBERS, {"image": change(images)}, ("0", "1"), "cpu")
    model: Model = MEMBERS[0].load(members / "small" / "fold-0")
    with pytest.raises(FoldstillError, match=message):
        model.predict({"image": change(images)})


@pytest.fixture(scope="module")
def exported(members, images, tmp_path_factory) -> Path:
    pytest.importorskip("onnxruntime")
    model = MEMBERS[0].load(members / "small" / "fold-0")
    assert isinstance(model, NetworkModel)
    path = tmp_path_factory.mktemp("onnx") / "m.onnx"
    export_onnx(model.network, images, path, classes=("0", "1"), about={"recipe": RECIPE})
    assert OnnxStudent(path).form == model.forms["image"] == RowForm((16, 16, 3), "uint8", RECIPE)
    return path


@pytest.mark.parametrize("wrong", WRONG)
def test_an_exported_network_refuses_rows_of_another_form(exported, images, wrong):
    change, message = WRONG[wrong]
    with pytest.raises(DistillError, match=rf"m\.onnx: the view 'image' {message}"):
        OnnxStudent(exported).predict(change(images))


@pytest.fixture(scope="module")
def student(images):
    votes = np.eye(2)[np.arange(24) % 2]
    settings = fs.StudentSettings(network="test_vit", recipe=fs.Recipe(epochs=1, batch_size=8))
    return fs.distill(0.8 * votes + 0.1, images, votes, settings, work=Work(workers=1, device="cpu"))


@pytest.mark.parametrize("wrong", [name for name in WRONG if name != "gray"])
def test_a_student_refuses_rows_of_another_form(student, images, wrong):
    change, message = WRONG[wrong]
    assert student.predict(images, device="cpu").shape == (24, 2)
    with pytest.raises(DistillError, match=f"the student: the view 'image' {message}"):
        student.predict(change(images), device="cpu")


def test_rows_known_to_be_prepared_otherwise_are_refused(members, images):
    def predict(recipes):
        return predict_members(members, MEMBERS, {"image": images}, ("0", "1"), "cpu", recipes=recipes)

    assert np.array_equal(predict({}).proba_KNMC, predict({"image": RECIPE}).proba_KNMC)
    with pytest.raises(MemberError, match=r"small: the view 'image' wants rows prepared .*: size\.0 was 16, is 24"):
        predict({"image": RECIPE_CHANGED})


def test_floats_of_another_precision_mean_the_same():
    form = RowForm((2, 8), "float32")
    form.check(np.zeros((3, 2, 8), np.float64), "eeg")
    form.check(np.zeros((3, 2, 8), np.float16), "eeg")
    # Integers were accepted by ONNX files of floats, and are 255 times as large.
    with pytest.raises(DataError, match="wants float32 as in training, got uint8"):
        form.check(np.zeros((3, 2, 8), np.uint8), "eeg")


def test_the_form_is_kept_with_the_weights(members):
    from safetensors import safe_open

    with safe_open(members / "small" / "fold-1" / "weights.safetensors", framework="np") as stream:
        about = json.loads(stream.metadata()["foldstill"])
    assert about["views"] == [{"name": "image", "shape": [16, 16, 3], "dtype": "uint8", "recipe": RECIPE}]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_found_before_training(value):
    array = np.zeros((600, 2, 8), np.float32)
    array[[3, 300, 599], 1, 5] = value
    labels = Labels.from_hard(np.arange(600) % 2, ids=[f"id{i}" for i in range(600)])
    message = r"view 'eeg' must be finite, 3 of 600 rows hold NaN or infinity; first: \['id3', 'id300', 'id599'\]"
    with pytest.raises(DataError, match=message):
        Dataset(labels, {"image": np.zeros((600, 2, 2, 1), np.uint8), "eeg": array})
    with pytest.raises(DataError, match=message):
        Inputs(labels.ids, {"eeg": array.astype(np.float16)})


def test_float_images_of_another_scale_than_in_training_are_refused(tmp_path, images):
    data = NpzData(path="unit.npz", images="x", labels="y")
    unit, byte, one_dark = images / 255, images.astype(np.float32), images[:1] / 255 / 100
    for name, array in {"unit": unit, "byte": byte, "dark": one_dark, "ints": images}.items():
        np.savez(tmp_path / f"{name}.npz", x=array, y=np.arange(len(array)) % 2)
    recipes = {name: data.inputs(tmp_path / f"{name}.npz").recipes for name in ("unit", "byte", "dark", "ints")}
    assert recipes["dark"] == recipes["ints"] == {}
    dataset = data.load(tmp_path)
    form = RowForm.of(dataset.view("image"), dataset.recipes["image"])
    form.check(unit[:3], "image", recipes["unit"]["image"])
    form.check(one_dark, "image", recipes["dark"].get("image"))
    with pytest.raises(DataError, match='scaling was "black 0, white 1", is "black 0, white 255": prepare them again'):
        form.check(byte, "image", recipes["byte"]["image"])
