"""G14 and G15: students compared with a 15-member ensemble in the same runtime, and with eager torch.

    PYTHONPATH=src python benchmarks/bench_student.py [repeats] [student ...]

For each named size and for a dense network of a fiftieth, or for those that are named, it prints the share of the
ensemble's multiply-accumulates, and the ratio of the times in ONNX Runtime, in float32 and in int8: of one row in a
stream of rows, of one row between two calls of the ensemble, which leave nothing of the student in the processor's
caches, and of 32 rows. Weights are random, because speed does not depend on them; whether int8 costs more than 1 % of
KL is decided by `foldstill export` on the weights that it is given. Inputs are 4 x 128 x 256; one thread.
"""

import harness  # noqa: I001  (pins threads before numpy is loaded)

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from foldstill.base_models.network_model import NetworkModel
from foldstill.cost.measure import count_macs
from foldstill.data.row_form import RowForm
from foldstill.data.simplex import kl_divergence
from foldstill.distill import OnnxStudent, Student, StudentSettings
from foldstill.distill.quantise import quantise
from foldstill.distill.settings import SIZES

MEMBERS = {"efficientnet_b0": 5, "efficientnet_b1": 5, "resnet34d": 5}
SHAPE = (128, 256, 4)
CLASSES = tuple("abcdef")
STUDENTS = {size: StudentSettings(network=size) for size in SIZES} | {
    "dense": StudentSettings(
        network="resnet18", stem_stride=4, options={"layers": [3, 1, 1, 1], "channels": [96, 112, 160, 192]}
    )
}
"""Wide convolutions of all channels, most of them in the first stage, are what int8 makes fastest."""
STREAM = 20
"""Number of calls in a row of one row each."""
WAYS = {"one row in a stream": (1, STREAM), "one row between two ensembles": (1, 1), "32 rows": (32, 1)}
"""Number of rows, and of calls in a row."""


def build(settings: StudentSettings) -> Student:
    torch.manual_seed(0)
    body = settings.member().build([SHAPE], len(CLASSES)).eval()
    body.input.mean.fill_(127.0)
    body.input.std.fill_(60.0)
    return Student(NetworkModel(body, {"image": RowForm(SHAPE, "uint8")}, CLASSES), "image")


def macs(student: Student) -> int:
    return count_macs(student.network, torch.zeros(1, SHAPE[2], *SHAPE[:2]))


def in_int8(file: OnnxStudent, path: Path, rows_N: NDArray[np.uint8]) -> OnnxStudent:
    target_NC = np.random.default_rng(1).dirichlet(np.ones(len(CLASSES)), len(rows_N))
    return OnnxStudent(quantise(file.path, path, "int8", rows_N, target_NC, np.arange(len(rows_N))).path)


def compare_with_ensemble(folder: Path, rows_N: NDArray[np.uint8], repeats: int, names: list[str]) -> None:
    """Time these students beside the fifteen networks, and exit with 1 below the floor of the default size."""
    members = {name: build(StudentSettings(network=name)) for name in MEMBERS}
    files = {name: OnnxStudent(one.export(folder / f"{name}.onnx", rows_N)) for name, one in members.items()}
    ensemble_macs = sum(macs(members[name]) * folds for name, folds in MEMBERS.items())

    def ensemble(rows_N: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.mean([files[name].predict(rows_N) for name, folds in MEMBERS.items() for _ in range(folds)], axis=0)

    def same_shape(one: np.ndarray, other: np.ndarray) -> None:
        assert one.shape == other.shape

    for size in names:
        student = build(STUDENTS[size])
        share = macs(student) / ensemble_macs
        print(f"{size}: {macs(student) / 1e6:.0f} M multiply-accumulates, 1/{1 / share:.0f} of the ensemble's")
        precise = OnnxStudent(student.export(folder / f"{size}.onnx", rows_N))
        for precision, file in ("float32", precise), ("int8", in_int8(precise, folder / f"{size}-int8.onnx", rows_N)):
            for way, (batch, calls) in WAYS.items():
                few_N = rows_N[:batch]
                ratio = harness.side_by_side(
                    f"G14 {size} in {precision} compared with 15 members, {way}",
                    ours=lambda file=file, few_N=few_N: file.predict(few_N),
                    baseline=lambda few_N=few_N: ensemble(few_N),
                    same=same_shape,
                    repeats=repeats if batch == 1 else max(1, repeats // 3),
                    calls=calls,
                )
                if size == "small" and precision == "float32":
                    harness.floor(ratio, 50)


def compare_with_eager(folder: Path, rows_N: NDArray[np.uint8], repeats: int) -> None:
    small = build(STUDENTS["small"])
    file = OnnxStudent(small.export(folder / "eager.onnx", rows_N))
    network = small.network.to(memory_format=torch.channels_last)
    raw = torch.from_numpy(rows_N[:1]).permute(0, 3, 1, 2)

    def eager() -> NDArray[np.float32]:
        with torch.inference_mode():
            return torch.softmax(network(raw), 1).numpy()

    def no_drift(file: np.ndarray, wanted: np.ndarray) -> None:
        drift = kl_divergence(target=wanted, proba=file)
        assert drift <= 1e-6, f"KL drift {drift:.2g}"

    ratio = harness.side_by_side(
        "G15 student in ONNX Runtime compared with eager channels-last torch, batch 1",
        ours=lambda: file.predict(rows_N[:1]),
        baseline=eager,
        same=no_drift,
        repeats=5 * repeats,
    )
    harness.floor(ratio, 1.3)


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    torch.set_num_threads(1)
    rows_N = np.random.default_rng(0).integers(0, 256, (32, *SHAPE)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        compare_with_ensemble(Path(folder), rows_N, repeats, sys.argv[2:] or list(STUDENTS))
        compare_with_eager(Path(folder), rows_N, repeats)


if __name__ == "__main__":
    main()
