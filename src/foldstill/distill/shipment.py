"""Export a student in every precision that keeps its KL, and measure the size, KL and latency of each file.

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
from foldstill.data.features import View
from foldstill.data.simplex import Float, kl_divergence
from foldstill.distill.export import PARITY
from foldstill.distill.onnx_file import OnnxStudent
from foldstill.distill.quantise import OnnxPrecision, Quantised, quantise
from foldstill.errors import DistillError
from foldstill.manifest import read_done

if TYPE_CHECKING:
    from foldstill.distill.student import Student

PARITY_ROWS = 64
"""Number of rows on which the float32 file is compared with the network."""

LATENCY_ROWS = (1, 32)
"""Numbers of rows per call for which latency is measured."""


@dataclass(frozen=True)
class ExportRows:
    """The rows an export is made and checked with."""

    view_N: View
    """All rows of the student's view, as they are stored."""
    target_NC: Float
    """Vote shares of all rows."""
    taught: NDArray[np.intp]
    """Positions of the rows the student was trained on; they decide about smaller precisions."""
    held_out: NDArray[np.intp]
    """Positions of the rows that are reported on and decide nothing."""

    def kl(self, path: Path) -> float:
        """KL of an exported file on the held-out rows."""
        proba_NC = OnnxStudent(path).predict(self.view_N[self.held_out])
        return kl_divergence(target=self.target_NC[self.held_out], proba=proba_NC)


@dataclass(frozen=True)
class Shipment:
    """What `ship` wrote."""

    files: Mapping[str, str]
    """File name to a description; a refused precision has its reason here."""
    quantised: tuple[Quantised, ...]
    latencies: tuple[Latency, ...]


def ship(
    student: "Student",
    folder: Path,
    rows: ExportRows,
    *,
    precisions: Sequence[OnnxPrecision] = ("fp16", "int8"),
    threads: int = 1,
    about: Mapping[str, Any] | None = None,
) -> Shipment:
    """Write student.onnx and each smaller precision that keeps its KL, and measure each file on held-out rows.

    A precision that is refused is a sentence in the result, not an error, because the float32 file is always written.

    Parameters
    ----------
    student : Student
        The trained student.
    folder : Path
        Where the files are written.
    rows : ExportRows
        Rows that decide about smaller precisions, and held-out rows.
    precisions : sequence of {"fp16", "int8"}
        Smaller precisions to try.
    threads : int, default 1
        Number of CPU threads for latency.
    about : mapping, optional
        JSON values that are added to the metadata of the files.

    Returns
    -------
    Shipment
    """
    checked_N = rows.view_N[rows.held_out[:PARITY_ROWS]]
    source = student.export(folder / "student.onnx", checked_N, about=about)
    parity = f"within {PARITY:g} of the network on {len(checked_N)} rows"
    files = {source.name: f"ONNX, float32, {_megabytes(source)}, {parity}"}
    float_kl = rows.kl(source)
    quantised = []
    for precision in precisions:
        path = folder / f"student.{precision}.onnx"
        try:
            smaller = quantise(source, path, precision, rows.view_N, rows.target_NC, rows.taught)
        except DistillError as refusal:
            path.unlink(missing_ok=True)
            files[path.name] = f"not written: {refusal}"
            continue
        quantised.append(smaller)
        kl = rows.kl(path)
        files[path.name] = (
            f"ONNX, {precision}, {_megabytes(path)}, KL {kl:.4f} against {float_kl:.4f} in float32 on "
            f"{len(rows.held_out)} held-out rows ({kl / float_kl - 1:+z.2%}; {smaller.rise:+z.2%} on the training rows "
            f"that decided){f'; {smaller.note}' if smaller.note else ''}"
        )
    latencies = _latencies([source, *(each.path for each in quantised)], checked_N, threads)
    return Shipment(files, tuple(quantised), tuple(latencies))


def ship_features(
    student: "Student", folder: Path, rows: View, *, threads: int = 1, about: Mapping[str, Any] | None = None
) -> Shipment:
    """Write student.onnx of a student that is no network, describe its own files, and measure the latency of both.

    Its own files are LightGBM's text or a skops file, and a JSON file with classes and features. They are all there is
    where the student cannot be converted: the reason is a sentence in the result, not an error.
    """
    names = sorted(name for name in read_done(folder)["files"] if name.startswith("model."))
    files = {name: f"{_NATIVE[Path(name).suffix]}, {_megabytes(folder / name)}" for name in names}
    latencies = []
    for n in LATENCY_ROWS:
        repeated = rows[np.resize(np.arange(len(rows)), n)]
        call = partial(student.predict, repeated, device="cpu")
        latencies.append(measure_latency("model", call, n, threads=threads))
    path, checked = folder / "student.onnx", rows[: 10 * PARITY_ROWS]
    try:
        student.export(path, checked, about=about)
    except DistillError as refusal:
        path.unlink(missing_ok=True)
        return Shipment({**files, path.name: f"not written: {refusal}"}, (), tuple(latencies))
    files[path.name] = f"ONNX, float32, {_megabytes(path)}, within {PARITY:g} of the model on {len(checked)} rows"
    return Shipment(files, (), (*latencies, *_latencies([path], checked, threads)))


_NATIVE = {
    ".txt": "the trees in LightGBM's text format",
    ".skops": "the estimator in the skops format",
    ".json": "classes and features",
}
"""What the files of a student that is no network are, by their suffix."""


def _latencies(paths: Sequence[Path], rows_N: View, threads: int) -> list[Latency]:
    latencies = []
    for path in paths:
        runner = OnnxStudent(path, threads)
        for n in LATENCY_ROWS:
            repeated_N = rows_N[np.resize(np.arange(len(rows_N)), n)]
            latencies.append(measure_latency(path.name, partial(runner.predict, repeated_N), n, threads=threads))
    return latencies


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.2f} MB"
