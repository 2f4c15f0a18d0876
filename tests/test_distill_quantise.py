import shutil
import sys

import numpy as np
import pytest

from foldstill.distill import OnnxStudent, predict_onnx
from foldstill.distill.quantise import quantise
from foldstill.distill.shipment import ExportRows, ship
from foldstill.errors import DistillError
from made_up import noise_pictures

pytest.importorskip("onnxruntime")
TAUGHT, LOCKED = np.arange(36), np.arange(36, 48)


@pytest.fixture(scope="module")
def images():
    return noise_pictures()


@pytest.fixture(scope="module")
def finished(exported):
    """A student whose export is there already."""

    class Finished:
        def export(self, path, rows_N, *, about=None):
            path.parent.mkdir(parents=True)
            return shutil.copy(exported, path)

    return Finished()


@pytest.fixture(scope="module")
def target(student, images):
    return student.predict(images) * 0.5 + 0.5 / 3


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_smaller_precision_is_smaller_nearly_the_same_and_measured(
    student, exported, images, target, tmp_path, precision
):
    made = quantise(exported, tmp_path / "small.onnx", precision, images, target, TAUGHT)
    assert made.bytes == made.path.stat().st_size < exported.stat().st_size
    assert made.rise <= 0.01
    assert OnnxStudent(made.path).about["precision"] == precision
    assert np.abs(predict_onnx(made.path, images) - student.predict(images)).max() < 0.05


def test_a_precision_that_costs_too_much_is_refused_and_leaves_no_file(exported, images, tmp_path):
    # Against the float student's own scores every change is a loss.
    target = predict_onnx(exported, images) + 1e-6
    target = target / target.sum(1, keepdims=True)
    with pytest.raises(DistillError, match=r"int8 is refused: KL on 18 training rows rises"):
        quantise(exported, tmp_path / "q.onnx", "int8", images, target, TAUGHT)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DistillError, match="got 3: give 4 or more"):
        quantise(exported, tmp_path / "q.onnx", "int8", images, target, TAUGHT[:3])


def test_rows_that_are_reported_on_decide_nothing(finished, images, target, tmp_path):
    shipped = ship(finished, tmp_path / "a", ExportRows(images, target, TAUGHT, LOCKED), precisions=("int8",))
    pixels, votes = images.copy(), target.copy()
    pixels[LOCKED], votes[LOCKED] = 255 - pixels[LOCKED], np.eye(3)[np.zeros(len(LOCKED), int)]
    other = ship(finished, tmp_path / "b", ExportRows(pixels, votes, TAUGHT, LOCKED), precisions=("int8",))
    (one,), (two,) = shipped.quantised, other.quantised
    assert (one.kl_before, one.kl_after) == (two.kl_before, two.kl_after)
    np.testing.assert_array_equal(predict_onnx(one.path, images), predict_onnx(two.path, images))
    assert shipped.files[one.path.name] != other.files[two.path.name]
    assert "on 12 held-out rows" in shipped.files[one.path.name]


def test_a_shipment_names_every_file_and_every_refusal(finished, images, target, tmp_path, monkeypatch):
    rows = ExportRows(images, target, TAUGHT, LOCKED)
    shipped = ship(finished, tmp_path / "a", rows)
    assert list(shipped.files) == ["student.onnx", "student.fp16.onnx", "student.int8.onnx"]
    assert [q.precision for q in shipped.quantised] == ["fp16", "int8"]
    assert [(line.name, line.rows) for line in shipped.latencies[:2]] == [("student.onnx", 1), ("student.onnx", 32)]
    monkeypatch.setattr(sys.modules["foldstill.distill.quantise"], "ALLOWED_RISE", -1.0)
    refused = ship(finished, tmp_path / "b", rows, precisions=("int8",))
    assert "refused" in refused.files["student.int8.onnx"]
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["student.onnx"]
