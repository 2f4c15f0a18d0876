"""An exported student: rows of a view as they are stored in the data set in, probabilities out. Needs no torch.

N rows, C classes.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.feature_form import Form, array_in, form_from_json
from foldstill.data.features import View
from foldstill.data.row_form import RowForm
from foldstill.errors import DataError, DistillError, lacks_memory, require_package
from foldstill.seals import SEAL, check_seal

METADATA_KEY = "foldstill"
_CURE = "restore it from a copy, or export the student again"


@dataclass(frozen=True)
class OnnxStudent:
    """An exported student, an ONNX file that predicts on the CPU.

    Parameters
    ----------
    path : str or Path
        File written by `foldstill export` or `Student.export`.
    threads : int, default 1
        Number of CPU threads.

    Examples
    --------
    >>> import torch
    >>> from foldstill.distill.export import export_onnx
    >>> _ = torch.manual_seed(0)
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(20, 2))
    >>> signals = np.random.default_rng(0).normal(size=(8, 2, 10)).astype(np.float32)
    >>> path = getfixture("tmp_path") / "student.onnx"
    >>> student = OnnxStudent(export_onnx(network, signals, path, classes=("quiet", "seizure"), view="eeg"))
    >>> print(student.classes, student.predict(signals).shape)
    ('quiet', 'seizure') (8, 2)
    """

    path: Path | str
    threads: int = 1

    @property
    def _file(self) -> Path:
        return Path(self.path)

    @cached_property
    def session(self) -> Any:
        """The open ONNX Runtime session."""
        require_package("onnxruntime", "onnx", purpose=f"reading {self.path}", error=DistillError)
        import onnxruntime

        if not self._file.exists():
            raise DistillError(f"no ONNX file at {self._file}: make one with `foldstill export`")
        check_seal(self._file, error=DistillError, cure=_CURE, required=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(self._file, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            if lacks_memory(error):
                raise
            raise DistillError(f"{self._file} is not an ONNX file that this ONNX Runtime can read: {error}") from error

    @cached_property
    def about(self) -> dict[str, Any]:
        """Metadata of the file: classes, view, form and recipe of a row, precision, constants of the scaling."""
        metadata = self.session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if metadata is None:
            raise DistillError(
                f"{self._file} was not written by foldstill, its metadata name no classes: export the student again"
            )
        check_seal(self._file, error=DistillError, cure=_CURE)
        about: dict[str, Any] = json.loads(metadata)
        del about[SEAL]
        return about

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the probabilities."""
        return tuple(self.about["classes"])

    @property
    def form(self) -> Form:
        """What the rows must look like, and how they were prepared in training."""
        about = self.about
        if "features" in about:
            return form_from_json(about)
        return RowForm(tuple(about["row_shape"]), about["dtype"], about.get("recipe", {}))

    def array(self, rows_N: View) -> NDArray[Any]:
        """The rows as the file takes them: of the columns, the order and the type that its metadata name.

        Raises DistillError for rows of another shape or type, or with other features, than in training.
        """
        about = self.about
        try:
            array = array_in(self.form, rows_N, about["view"])
        except DataError as error:
            raise DistillError(f"{self._file.name}: {error}") from None
        return np.ascontiguousarray(array, dtype=about["dtype"])

    def predict(self, rows_N: View, *, batch: int = 256) -> NDArray[np.float32]:
        """Predict probabilities, (N, C).

        Parameters
        ----------
        rows_N : array of shape (N, H, W, channels) or (N, channels, T), or feature table
            Images or signals as they were stored in training, not scaled; or features, as a frame or a `FeatureTable`.
        batch : int, default 256
            Number of rows per batch.

        Raises
        ------
        DistillError
            For rows of another shape or type than in training.
        """
        return self.predict_array(self.array(rows_N), batch=batch)

    def predict_array(self, array: NDArray[Any], *, batch: int = 256) -> NDArray[np.float32]:
        """The same for rows that are as `array` gives them."""
        name = self.session.get_inputs()[0].name
        parts = [self.session.run(None, {name: array[i : i + batch]})[0] for i in range(0, len(array), batch)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.classes)), np.float32)


def predict_onnx(path: Path | str, rows_N: View, *, batch: int = 256, threads: int = 1) -> NDArray[np.float32]:
    """Predict with an exported student, without torch.

    Parameters
    ----------
    path : str or Path
        File written by `foldstill export` or `Student.export`.
    rows_N : array of shape (N, H, W, channels) or (N, channels, T), or feature table
        Images or signals as they were stored in training, not scaled; or features, as a frame or a `FeatureTable`.
    batch : int, default 256
        Number of rows per batch.
    threads : int, default 1
        Number of CPU threads.

    Returns
    -------
    array of shape (N, C)
        Probabilities, classes in the order of `OnnxStudent(path).classes`.

    Raises
    ------
    DistillError
        When the file is missing or not an exported student, and for rows of another shape or type than in training.

    Examples
    --------
    >>> import torch
    >>> from foldstill.distill.export import export_onnx
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(20, 2))
    >>> rows_N = np.zeros((4, 2, 10), np.float32)
    >>> path = export_onnx(network, rows_N, getfixture("tmp_path") / "student.onnx", classes=("quiet", "seizure"))
    >>> proba_NC = predict_onnx(path, rows_N)
    >>> print(proba_NC.shape, round(float(proba_NC[0].sum()), 3))
    (4, 2) 1.0
    """
    return OnnxStudent(path, threads).predict(rows_N, batch=batch)
