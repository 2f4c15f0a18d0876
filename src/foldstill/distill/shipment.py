"""Everything a student is shipped as: its file in each precision that keeps its KL, what each costs, and how fast it is.

N rows, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foldstill.cost.measure import Latency, measure_latency
from foldstill.data.simplex import Float, kl_divergence
from foldstill.distill.export import PARITY
from foldstill.distill.onnx_file import OnnxStudent
from foldstill.distill.quantise import Precision, Quantised, quantise
from foldstill.errors import DistillError

if TYPE_CHECKING:
    from foldstill.distill.student import Student

PARITY_ROWS = 64


@dataclass(frozen=True)
class Shipment:
    """What `ship` wrote: one line a file, refused precisions with their reason, and how fast the files are."""

    files: Mapping[str, str]
    quantised: tuple[Quantised, ...]
    latencies: tuple[Latency, ...]


def ship(
    student: "Student",
    folder: Path,
    array: NDArray[Any],
    target_NC: Float,
    *,
    taught: NDArray[np.intp],
    held_out: NDArray[np.intp],
    precisions: Sequence[Precision] = ("fp16", "int8"),
    threads: int = 1,
    about: Mapping[str, Any] | None = None,
) -> Shipment:
    """Write student.onnx and each smaller precision that keeps its KL, and measure each file on held-out rows.

    `array` and `target_NC` are of a whole view; rows the student was `taught` scale and decide, `held_out` rows are only
    reported on. A precision that is refused is a sentence in the result, not an error: the float32 file is there either
    way.
    """
    held_out_N, held_out_NC = array[held_out], target_NC[held_out]
    source = student.export(folder / "student.onnx", held_out_N[:PARITY_ROWS], about=about)
    files = {
        source.name: f"ONNX, float32, {_megabytes(source)}, within {PARITY:g} of the network on {len(held_out_N[:PARITY_ROWS])} rows"
    }
    whole_kl = kl_divergence(target=held_out_NC, proba=OnnxStudent(source).predict(held_out_N))
    made = []
    for precision in precisions:
        path = folder / f"student.{precision}.onnx"
        try:
            small = quantise(source, path, precision, array, target_NC, taught)
        except DistillError as refused:
            path.unlink(missing_ok=True)
            files[path.name] = f"not written: {refused}"
            continue
        made.append(small)
        kl = kl_divergence(target=held_out_NC, proba=OnnxStudent(path).predict(held_out_N))
        kept = f"; {small.note}" if small.note else ""
        files[path.name] = (
            f"ONNX, {precision}, {_megabytes(path)}, KL {kl:.4f} against {whole_kl:.4f} in float32 on {len(held_out_N)} held-out rows "
            f"({kl / whole_kl - 1:+.2%}; {small.rise:+.2%} on the training rows that decided){kept}"
        )
    latencies = []
    for path in (source, *(q.path for q in made)):
        runner = OnnxStudent(path, threads)
        for rows in (1, 32):
            few = np.resize(held_out_N, (rows, *held_out_N.shape[1:]))
            latencies.append(measure_latency(path.name, partial(runner.predict, few), rows, threads=threads))
    return Shipment(files, tuple(made), tuple(latencies))


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.2f} MB"
