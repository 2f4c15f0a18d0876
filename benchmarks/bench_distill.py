"""G14 and G15: a student compared with a 15-member ensemble in the same runtime, and with eager torch.

    PYTHONPATH=src python benchmarks/bench_distill.py

Weights are random, because speed does not depend on them. Inputs are 4 x 128 x 256; one thread.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch

from foldstill.base_models.network_model import NetworkModel
from foldstill.data.row_form import RowForm
from foldstill.data.simplex import kl_divergence
from foldstill.distill import OnnxStudent, Student, StudentSettings
from harness import floor, side_by_side

MEMBERS = {"efficientnet_b0": 5, "efficientnet_b1": 5, "resnet34d": 5}
SHAPE = (128, 256, 4)
CLASSES = tuple("abcdef")


def build(network: str) -> Student:
    torch.manual_seed(0)
    spec = StudentSettings(network=network).member()
    body = spec.build([SHAPE], len(CLASSES)).eval()
    body.input.mean.fill_(127.0)
    body.input.std.fill_(60.0)
    return Student(NetworkModel(body, {"image": RowForm(SHAPE, "uint8")}, CLASSES, "float32"), "image")


def main() -> None:
    torch.set_num_threads(1)
    rows_N = np.random.default_rng(0).integers(0, 256, (16, *SHAPE)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as scratch:
        small = build("small")
        files = {
            name: OnnxStudent(
                (small if name == "small" else build(name)).export(Path(scratch) / f"{name}.onnx", rows_N)
            )
            for name in ("small", *MEMBERS)
        }

        def ensemble(rows: np.ndarray) -> np.ndarray:
            return np.mean([files[name].predict(rows) for name, folds in MEMBERS.items() for _ in range(folds)], axis=0)

        def same_shape(one: np.ndarray, other: np.ndarray) -> None:
            assert one.shape == other.shape

        for batch, repeats in ((1, 9), (16, 3)):
            few = rows_N[:batch]
            ratio = side_by_side(
                f"G14 student compared with 15 members, both in ONNX Runtime, batch {batch}",
                ours=lambda few=few: files["small"].predict(few),
                baseline=lambda few=few: ensemble(few),
                same=same_shape,
                repeats=repeats,
            )
            floor(ratio, 50)

        network = small.network.to(memory_format=torch.channels_last)
        raw = torch.from_numpy(rows_N[:1]).permute(0, 3, 1, 2)

        def eager() -> np.ndarray:
            with torch.inference_mode():
                return torch.softmax(network(raw), 1).numpy()

        def no_drift(file: np.ndarray, wanted: np.ndarray) -> None:
            drift = kl_divergence(target=wanted, proba=file)
            assert drift <= 1e-6, f"KL drift {drift:.2g}"

        ratio = side_by_side(
            "G15 student in ONNX Runtime compared with eager channels-last torch, batch 1",
            ours=lambda: files["small"].predict(rows_N[:1]),
            baseline=eager,
            same=no_drift,
            repeats=51,
        )
        floor(ratio, 1.3)


if __name__ == "__main__":
    main()
