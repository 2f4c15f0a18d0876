"""A student as one file that runs elsewhere: ONNX in three precisions, each checked on real rows, or torch.export.

Scaling, resizing and softmax are inside the file, so that it takes rows of a view exactly as they lie in the data set.
N rows, C classes.
"""

import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import Float, kl_divergence
from foldstill.distill.cost import Latency, measure_latency
from foldstill.distill.onnx_file import METADATA_KEY, OnnxStudent
from foldstill.errors import DistillError
from foldstill.files import whole

if TYPE_CHECKING:
    from torch import nn

    from foldstill.distill.student import Student

Precision = Literal["fp16", "int8"]

PARITY = 1e-3
"""Largest difference of a probability between the file and the network it was made from."""
ALLOWED_RISE = 0.01
"""Largest relative rise of KL that a smaller precision may cost on held-out rows."""
CALIBRATION_ROWS = 512
PARITY_ROWS = 64
INPUT, OUTPUT = "raw_rows", "proba"


@dataclass(frozen=True)
class Quantised:
    """A smaller file and what it costs: KL to the targets of the same held-out rows before and after."""

    path: Path
    precision: Precision
    bytes: int
    kl_before: float
    kl_after: float
    note: str = ""

    @property
    def rise(self) -> float:
        """Relative change of KL; 0.01 is one percent worse."""
        return self.kl_after / self.kl_before - 1


def serving(network: "nn.Module") -> "nn.Module":
    """A network over rows as they lie (images channels-last) that gives probabilities instead of logits."""
    import torch

    class Serving(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            raw = rows.permute(0, 3, 1, 2) if rows.ndim == 4 else rows
            return torch.softmax(self.network(raw).float(), dim=1)

    return Serving().eval()


def export_onnx(
    network: "nn.Module",
    rows_N: NDArray[Any],
    path: Path,
    *,
    classes: Sequence[str],
    view: str = "image",
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write a network as ONNX in float32 with a free number of rows, and compare it with the network on `rows_N`.

    `network` takes (B, channels, ...) raw values and gives logits; `rows_N` (at least two, 64 are plenty) are real
    rows of the view. `about` (JSON values) joins the metadata beside classes, view, shape and dtype. Raises
    DistillError, and leaves no file, when a probability differs by more than 1e-3.
    """
    import onnx
    import torch

    if len(rows_N) < 2:
        raise DistillError(f"an export is checked on real rows, got {len(rows_N)}: give 2 or more, 64 are plenty")
    was = network.training
    served = serving(network.cpu().eval())
    example = torch.from_numpy(np.array(rows_N[:2]))
    try:
        with warnings.catch_warnings():
            # The exporter speaks of its own internals, nothing a user could change.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                served,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("rows")},),
                input_names=[INPUT],
                output_names=[OUTPUT],
                verbose=False,
            )
            with torch.inference_mode():
                wanted = served(torch.from_numpy(np.array(rows_N))).numpy()
    except Exception as error:
        told = str(error).partition("\n")[0]
        raise DistillError(
            f"this network cannot be exported to ONNX by torch {torch.__version__} ({told}): "
            "choose another student, or a newer torch"
        ) from error
    finally:
        network.train(was)
    said = {
        "classes": list(classes),
        "view": view,
        "row_shape": list(rows_N.shape[1:]),
        "dtype": rows_N.dtype.name,
        "precision": "fp32",
        "torch": torch.__version__,
        **_scaling(network),
        **(about or {}),
    }
    assert program is not None
    with whole(path) as part:
        program.save(part)
        _write(onnx.load(part), part, said)
        got = OnnxStudent(part).predict(rows_N)
        apart = float(np.abs(got - wanted).max())
        if not apart <= PARITY:
            raise DistillError(
                f"the ONNX file differs from the network by {apart:.2g} in a probability, allowed is {PARITY:g}: "
                "choose another student, or export with torch.export"
            )
    return path


def quantise(
    source: Path,
    path: Path,
    precision: Precision,
    *,
    calibration_N: NDArray[Any],
    held_out_N: NDArray[Any],
    target_NC: Float,
) -> Quantised:
    """Write a float32 export in fp16 or static int8, and refuse it when it costs more than 1 % of KL on held-out rows.

    int8 is per channel, scaled on up to 512 rows of `calibration_N` (rows the student was trained on will do; held-out
    rows may not set what is measured on them). When that fails the check, the first convolution and the classifier stay
    in float. Raises DistillError with the figures, and leaves no file, when it still fails.
    """
    before = kl_divergence(target=target_NC, proba=OnnxStudent(source).predict(held_out_N))
    # Without the ends is the usual second try: they hold few weights and lose most.
    attempts = ["", "first convolution and classifier kept in float"] if precision == "int8" else [""]
    after = float("inf")
    with TemporaryDirectory() as scratch:
        trial = Path(scratch) / "trial.onnx"
        for note in attempts:
            if precision == "int8":
                _write_int8(source, trial, calibration_N[:CALIBRATION_ROWS], keep_ends=bool(note))
            else:
                _write_fp16(source, trial)
            after = kl_divergence(target=target_NC, proba=OnnxStudent(trial).predict(held_out_N))
            if after <= before * (1 + ALLOWED_RISE):
                with whole(path) as part:
                    shutil.copyfile(trial, part)
                return Quantised(path, precision, path.stat().st_size, before, after, note)
    raise DistillError(
        f"{precision} is refused: KL on {len(held_out_N)} held-out rows rises from {before:.4f} to {after:.4f} "
        f"({after / before - 1:+.1%}, allowed is {ALLOWED_RISE:+.0%}): ship float32, or teach another network"
    )


@dataclass(frozen=True)
class Shipment:
    """What `ship` wrote: one line a file, refused precisions with their reason, and how fast the files are."""

    files: Mapping[str, str]
    quantised: tuple[Quantised, ...]
    latencies: tuple[Latency, ...]


def ship(
    student: "Student",
    folder: Path,
    *,
    calibration_N: NDArray[Any],
    held_out_N: NDArray[Any],
    target_NC: Float,
    precisions: Sequence[Precision] = ("fp16", "int8"),
    threads: int = 1,
    about: Mapping[str, Any] | None = None,
) -> Shipment:
    """Write student.onnx and each smaller precision that keeps its KL, and measure the latency of each file.

    `calibration_N` are training rows, `held_out_N` with `target_NC` rows no fit ever saw. A precision that is
    refused is a sentence in the result, not an error: the float32 file is there either way.
    """
    source = student.export(folder / "student.onnx", held_out_N[:PARITY_ROWS], about=about)
    files = {source.name: f"ONNX, float32, within {PARITY:g} of the network on {len(held_out_N[:PARITY_ROWS])} rows"}
    made = []
    for precision in precisions:
        path = folder / f"student.{precision}.onnx"
        try:
            small = quantise(
                source, path, precision, calibration_N=calibration_N, held_out_N=held_out_N, target_NC=target_NC
            )
        except DistillError as refused:
            path.unlink(missing_ok=True)
            files[path.name] = f"not written: {refused}"
            continue
        made.append(small)
        kept = f"; {small.note}" if small.note else ""
        files[path.name] = (
            f"ONNX, {precision}, KL {small.kl_after:.4f} against {small.kl_before:.4f} in float32 "
            f"({small.rise:+.2%}){kept}"
        )
    latencies = []
    for path in (source, *(q.path for q in made)):
        runner = OnnxStudent(path, threads)
        for rows in (1, 32):
            few = np.resize(held_out_N, (rows, *held_out_N.shape[1:]))
            latencies.append(measure_latency(path.name, partial(runner.predict, few), rows, threads=threads))
    return Shipment(files, tuple(made), tuple(latencies))


def export_program(network: "nn.Module", rows_N: NDArray[Any], path: Path) -> Path:
    """Write a network as a torch.export program (.pt2), rows in and probabilities out as in the ONNX file."""
    import torch

    served = serving(network.cpu().eval())
    example = torch.from_numpy(np.array(rows_N[:2]))
    program = torch.export.export(served, (example,), dynamic_shapes=({0: torch.export.Dim("rows")},))
    with whole(path) as part, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, part)
    return path


def _write_int8(source: Path, path: Path, calibration_N: NDArray[Any], *, keep_ends: bool) -> None:
    """Static int8, QDQ form, per channel; scales by minimum and maximum over the calibration rows."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Rows(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(np.array_split(calibration_N, max(1, len(calibration_N) // 64)))

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            rows = next(self.left, None)
            return None if rows is None else {INPUT: np.ascontiguousarray(rows)}

    model = onnx.load(source)
    # The exporter leaves shape records that no longer hold; quantising fails on them.
    model.graph.ClearField("value_info")
    prepared = path.with_suffix(".prepared.onnx")
    onnx.save(model, prepared)
    quant_pre_process(prepared, prepared, skip_symbolic_shape=True)
    heavy = [n.name for n in onnx.load(prepared).graph.node if n.op_type in _HEAVY]
    quantize_static(
        prepared,
        path,
        Rows(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=[*_HEAVY, "Add", "Mul", "Relu", "ReduceMean", "GlobalAveragePool"],
        nodes_to_exclude=[heavy[0], heavy[-1]] if keep_ends else [],
    )
    _write(onnx.load(path), path, {**_about(model), "precision": "int8"})


def _write_fp16(source: Path, path: Path) -> None:
    """Weights and activations in float16, except the scaling of raw values, which float16 could not hold."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(source)
    about = _about(model)
    model.graph.ClearField("value_info")
    kinds = [n.op_type for n in model.graph.node]
    scaling = [n.name for n in model.graph.node[: next(i for i, kind in enumerate(kinds) if kind in _HEAVY)]]
    smaller = convert_float_to_float16(model, keep_io_types=True, node_block_list=scaling)
    # The converter adds one and the same cast once a reader of a value; the second is no valid node.
    once = {node.name: node for node in smaller.graph.node}
    del smaller.graph.node[:]
    smaller.graph.node.extend(once.values())
    _write(smaller, path, {**about, "precision": "fp16"})


_HEAVY = ("Conv", "Gemm", "MatMul")


def _write(model: Any, path: Path, about: Mapping[str, Any]) -> None:
    import onnx

    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(about, sort_keys=True))
    onnx.save(model, path)


def _about(model: Any) -> dict[str, Any]:
    about: dict[str, Any] = json.loads(next(p.value for p in model.metadata_props if p.key == METADATA_KEY))
    return about


def _scaling(network: "nn.Module") -> dict[str, Any]:
    """The preprocessing constants inside the file, for readers of its metadata."""
    layer = getattr(network, "input", None)
    if layer is None:
        return {}
    resize = None if layer.resize is None else list(layer.resize)
    return {"mean": layer.mean.tolist(), "std": layer.std.tolist(), "resize": resize}
