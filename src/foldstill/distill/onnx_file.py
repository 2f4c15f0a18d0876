"""An exported student: it takes rows of a view as they lie in the data set and gives probabilities. Needs no torch.

N rows, C classes.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.errors import DistillError

METADATA_KEY = "foldstill"


@dataclass(frozen=True)
class OnnxStudent:
    """An ONNX file made by `export_onnx`, open for prediction on `threads` threads of a CPU."""

    path: Path
    threads: int = 1

    @cached_property
    def session(self) -> Any:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise DistillError("ONNX Runtime is not installed: install foldstill[onnx]") from error
        if not self.path.exists():
            raise DistillError(f"no ONNX file at {self.path}: make one with `foldstill export`")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise DistillError(f"{self.path} is not an ONNX file this ONNX Runtime reads: {error}") from error

    @cached_property
    def about(self) -> dict[str, Any]:
        """What the file says of itself: classes, view, shape and dtype of a row, precision, preprocessing constants."""
        said = self.session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if said is None:
            raise DistillError(f"{self.path} was not made by foldstill: it does not name its classes and its input")
        about: dict[str, Any] = json.loads(said)
        return about

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.about["classes"])

    def predict(self, rows_N: NDArray[Any], *, batch: int = 256) -> NDArray[np.float32]:
        """Probabilities (N, C) of images (N, H, W, channels) or signals (N, channels, T), unscaled."""
        shape, dtype = tuple(self.about["row_shape"]), np.dtype(self.about["dtype"])
        if rows_N.shape[1:] != shape:
            raise DistillError(
                f"{self.path.name} wants rows of shape {shape}, got {rows_N.shape[1:]}: give the view as it lies"
            )
        if rows_N.dtype != dtype and not np.can_cast(rows_N.dtype, dtype, "same_kind"):
            raise DistillError(
                f"{self.path.name} wants {dtype} as in training, got {rows_N.dtype}: the scaling inside the file "
                "depends on it"
            )
        name = self.session.get_inputs()[0].name
        parts = [
            self.session.run(None, {name: np.ascontiguousarray(rows_N[i : i + batch], dtype=dtype)})[0]
            for i in range(0, len(rows_N), batch)
        ]
        return np.concatenate(parts) if parts else np.empty((0, len(self.classes)), np.float32)


def predict_onnx(path: Path, rows_N: NDArray[Any], *, batch: int = 256, threads: int = 1) -> NDArray[np.float32]:
    """Probabilities (N, C) of an exported student for rows of its view; no torch is imported."""
    return OnnxStudent(path, threads).predict(rows_N, batch=batch)
