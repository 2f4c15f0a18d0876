import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from foldstill.base_models.networks import InputLayer
from foldstill.distill import OnnxStudent, predict_onnx
from foldstill.distill.export import export_onnx, export_program
from foldstill.errors import DistillError
from made_up import noise_pictures

onnxruntime = pytest.importorskip("onnxruntime")
CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def images():
    return noise_pictures()


def test_the_file_agrees_with_the_student_for_any_number_of_rows(student, exported, images):
    for n in (1, 5, 48):
        np.testing.assert_allclose(predict_onnx(exported, images[:n]), student.predict(images[:n]), atol=1e-5)
    np.testing.assert_allclose(predict_onnx(exported, images, batch=7), student.predict(images), atol=1e-5)
    assert predict_onnx(exported, images[:0]).shape == (0, 3)


def test_the_file_describes_its_input_and_output(exported):
    about = OnnxStudent(exported).about
    assert about["classes"] == list(CLASSES)
    assert about["mean"] == [127.0] * 3
    assert about["resize"] == [24, 24]
    assert (about["row_shape"], about["dtype"], about["view"]) == ([16, 16, 3], "uint8", "image")
    assert about["teacher"] == "average"


def test_a_file_predicts_without_torch(exported, images, tmp_path):
    np.save(tmp_path / "rows.npy", images)
    code = (
        "import sys, numpy as np; from pathlib import Path; from foldstill.distill import predict_onnx; "
        f"p = predict_onnx(Path({str(exported)!r}), np.load({str(tmp_path / 'rows.npy')!r})); "
        "print(p.shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(48, 3) False\n"


def test_a_file_refuses_rows_of_another_shape_or_type(exported, images, tmp_path):
    with pytest.raises(DistillError, match="wants rows of shape"):
        predict_onnx(exported, images[:, :8])
    with pytest.raises(DistillError, match="wants uint8 as in training"):
        predict_onnx(exported, images.astype(np.float32) / 255)
    with pytest.raises(DistillError, match="no ONNX file"):
        predict_onnx(tmp_path / "none.onnx", images)
    (tmp_path / "text.onnx").write_text("not a graph")
    with pytest.raises(DistillError, match="is not an ONNX file"):
        predict_onnx(tmp_path / "text.onnx", images)


def test_an_export_is_refused_when_the_file_differs_from_the_network(images, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["foldstill.distill.export"], "PARITY", -1.0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(768, 3))
    with pytest.raises(DistillError, match="differs from the network"):
        export_onnx(_Floats(network), images, tmp_path / "s.onnx", classes=CLASSES)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_computes_something_else_is_refused(images, tmp_path):
    class OtherInAFile(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(768, 3)

        def forward(self, raw):
            logits = self.linear(raw.float().flatten(1) / 255)
            return logits + torch.arange(3) if torch.compiler.is_exporting() else logits

    with pytest.raises(DistillError, match=r"differs from the network by 0\.\d+"):
        export_onnx(OtherInAFile(), images, tmp_path / "s.onnx", classes=CLASSES)
    assert list(tmp_path.iterdir()) == []


def test_signals_are_exported_as_they_are_stored(rng, tmp_path):
    signals = rng.normal(size=(4, 2, 50)).astype(np.float32)
    module = nn.Sequential(nn.Conv1d(2, 4, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3))
    path = export_onnx(module, signals, tmp_path / "s.onnx", classes=CLASSES, view="eeg")
    with torch.no_grad():
        wanted = torch.softmax(module.eval()(torch.from_numpy(signals)), 1).numpy()
    np.testing.assert_allclose(predict_onnx(path, signals), wanted, atol=1e-6)


def test_a_torch_export_program_gives_the_same_scores(student, images, tmp_path):
    path = export_program(student.network, images, tmp_path / "student.pt2")
    program = torch.export.load(path)
    with torch.no_grad():
        got = program.module()(torch.from_numpy(images[:5])).numpy()
    np.testing.assert_allclose(got, student.predict(images[:5]), atol=1e-5)


class _Floats(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, raw):
        return self.inner(raw.float())


def test_a_missing_package_is_named_with_the_command_that_installs_it(exported, images, monkeypatch):
    monkeypatch.setattr("foldstill.errors.find_spec", lambda name: None)
    with pytest.raises(DistillError, match=r"needs onnxruntime, which is not installed: .*'foldstill\[onnx\]'"):
        predict_onnx(exported, images)


@pytest.mark.parametrize("resize", [None, (8, 12)])
def test_images_with_their_channels_last_are_scaled_as_the_network_scales_them(rng, resize):
    layer = InputLayer(3, resize)
    layer.mean[:], layer.std[:] = torch.tensor([10.0, 120.0, 200.0]), torch.tensor([3.0, 50.0, 70.0])
    rows = torch.from_numpy(rng.integers(0, 256, (2, 6, 9, 3)).astype(np.uint8))
    assert torch.equal(layer.of_rows(rows), layer(rows.permute(0, 3, 1, 2)))
