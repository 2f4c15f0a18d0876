"""An exported student in fp16 or int8, refused where its KL rises by more than one percent.

The decision is made on rows that the student was trained on, so that the locked rows that are reported decide nothing.
N rows, C classes.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.features import View
from foldstill.data.simplex import Float, kl_divergence
from foldstill.distill.export import INPUT, write_model
from foldstill.distill.onnx_file import OnnxStudent
from foldstill.errors import DistillError
from foldstill.files import atomic_write

OnnxPrecision = Literal["fp16", "int8"]
"""Number format of a smaller ONNX file."""

ALLOWED_RISE = 0.01
"""Largest allowed relative rise of KL on the rows that decide."""
CALIBRATION_ROWS, DECIDING_ROWS = 512, 2048
_SEED = 0
_HEAVY = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class Quantised:
    """A smaller file, with the KL of the deciding rows before and after."""

    path: Path
    precision: OnnxPrecision
    bytes: int
    kl_before: float
    kl_after: float
    note: str = ""

    @property
    def rise(self) -> float:
        """Relative change of KL; 0.01 is one percent worse."""
        return self.kl_after / self.kl_before - 1


def quantise(
    source: Path, path: Path, precision: OnnxPrecision, rows_N: View, target_NC: Float, taught: NDArray[np.intp]
) -> Quantised:
    """Write a float32 export in fp16 or static int8, and refuse it when it costs more than 1 % of KL.

    `rows_N` and `target_NC` hold all rows of the view, `taught` the positions of those the student was trained on. int8
    is per channel, calibrated on up to 512 of these; up to 2,048 others decide. When int8 costs too much, it is tried
    again with the first convolution and the classifier in float. Raises DistillError with the figures, and leaves no
    file, when that costs too much as well.
    """
    if len(taught) < 4:
        raise DistillError(
            f"{precision} is calibrated and judged on different training rows, got {len(taught)}: give 4 or more"
        )
    shuffled = np.random.default_rng(_SEED).permutation(taught)
    n_calibration = min(CALIBRATION_ROWS, len(taught) // 2)
    calibration_N = OnnxStudent(source).array(rows_N[np.sort(shuffled[:n_calibration])])
    deciding = np.sort(shuffled[n_calibration:][:DECIDING_ROWS])
    deciding_N = rows_N[deciding]

    def kl_of(file: Path) -> float:
        return kl_divergence(target=target_NC[deciding], proba=OnnxStudent(file).predict(deciding_N))

    before, after = kl_of(source), float("inf")
    # Leaving out the ends is the usual second try: they hold few weights and lose most.
    attempts = ["", "first convolution and classifier kept in float"] if precision == "int8" else [""]
    with TemporaryDirectory() as scratch:
        trial = Path(scratch) / "trial.onnx"
        for note in attempts:
            if precision == "int8":
                _write_int8(source, trial, calibration_N, keep_ends=bool(note))
            else:
                _write_fp16(source, trial)
            after = kl_of(trial)
            if after <= before * (1 + ALLOWED_RISE):
                with atomic_write(path) as part:
                    shutil.copyfile(trial, part)
                return Quantised(path, precision, path.stat().st_size, before, after, note)
    raise DistillError(
        f"{precision} is refused: KL on {len(deciding)} training rows rises from {before:.4f} to {after:.4f} "
        f"({after / before - 1:+z.1%}, allowed is {ALLOWED_RISE:+z.0%}): use float32, or train another network"
    )


def _write_int8(source: Path, path: Path, calibration_N: NDArray[Any], *, keep_ends: bool) -> None:
    """Static int8, QDQ form, per channel; scales by minimum and maximum over the calibration rows."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class CalibrationBatches(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter(np.array_split(calibration_N, max(1, len(calibration_N) // 64)))

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            rows = next(self.batches, None)
            return None if rows is None else {INPUT: rows}

    model = onnx.load(source)
    # The exporter leaves shape records that are out of date; quantisation fails on them.
    model.graph.ClearField("value_info")
    prepared = path.with_suffix(".prepared.onnx")
    onnx.save(model, prepared)
    quant_pre_process(prepared, prepared, skip_symbolic_shape=True)
    heavy = [n.name for n in onnx.load(prepared).graph.node if n.op_type in _HEAVY]
    quantize_static(
        prepared,
        path,
        CalibrationBatches(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=[*_HEAVY, "Add", "Mul", "Relu", "ReduceMean", "GlobalAveragePool"],
        nodes_to_exclude=[heavy[0], heavy[-1]] if keep_ends else [],
    )
    write_model(onnx.load(path), path, {**OnnxStudent(source).about, "precision": "int8"})


def _write_fp16(source: Path, path: Path) -> None:
    """Weights and activations in float16, except the scaling of raw values, which is out of the range of float16."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(source)
    model.graph.ClearField("value_info")
    kinds = [n.op_type for n in model.graph.node]
    scaling = [n.name for n in model.graph.node[: next(i for i, kind in enumerate(kinds) if kind in _HEAVY)]]
    smaller = convert_float_to_float16(model, keep_io_types=True, node_block_list=scaling)
    # The converter adds the same cast once per reader of a value; a second one with the same name is invalid.
    by_name = {node.name: node for node in smaller.graph.node}
    del smaller.graph.node[:]
    smaller.graph.node.extend(by_name.values())
    write_model(smaller, path, {**OnnxStudent(source).about, "precision": "fp16"})
