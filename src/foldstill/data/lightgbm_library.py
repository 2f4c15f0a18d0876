"""LightGBM through its C interface, which is documented and stable.

The Python package of LightGBM imports scikit-learn and pandas, which takes longer than training on a small table.
N samples (rows), C classes, F features.
"""

import ctypes
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.errors import FoldstillError

Matrix = NDArray[np.float64]

_FLOAT32, _FLOAT64 = 0, 1
"""Types of numbers in the C interface."""
_RAW_SCORE = 1
"""Kind of prediction: the sum of the trees, without a softmax."""
_ALL_ROUNDS = -1


@cache
def _library() -> Any:
    """The library that the Python package of LightGBM contains."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        # On some systems OpenMP must be loaded by scikit-learn first, and LightGBM takes care of that.
        import lightgbm  # noqa: F401
    package = find_spec("lightgbm")
    if package is None or package.origin is None:
        raise FoldstillError("LightGBM is not installed: pip install lightgbm")
    # This file of LightGBM finds the library on every system, and imports nothing else.
    spec = spec_from_file_location("foldstill_lightgbm_library", Path(package.origin).with_name("libpath.py"))
    assert spec is not None, "the path is that of a Python file"
    assert spec.loader is not None, "the path is that of a Python file"
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    # 4.5 finds the library in this file and loads it elsewhere.
    library = getattr(module, "_LIB", None) or ctypes.cdll.LoadLibrary(module.find_lib_path()[0])
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    return library


def _call(function: str, *arguments: Any) -> None:
    """Call a function of the library; raise FoldstillError with the library's own message where it fails."""
    library = _library()
    if getattr(library, function)(*arguments) != 0:
        raise FoldstillError(f"LightGBM: {library.LGBM_GetLastError().decode('utf-8')}")


def _pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


def _text(parameters: Mapping[str, Any]) -> bytes:
    """Parameters in the form of the C interface."""

    def one(value: Any) -> str:
        return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

    return " ".join(f"{name}={one(value)}" for name, value in parameters.items()).encode()


class _Handle(ctypes.c_void_p):
    """An object of the library, which is freed with this one."""

    free = ""

    def __del__(self) -> None:
        if self and self.free:
            getattr(_library(), self.free)(self)


class _Dataset(_Handle):
    free = "LGBM_DatasetFree"


class _Booster(_Handle):
    free = "LGBM_BoosterFree"


def _matrix(features_NF: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Features by rows, and the type of their numbers."""
    if features_NF.dtype == np.float32:
        return np.ascontiguousarray(features_NF), _FLOAT32
    return np.ascontiguousarray(features_NF, np.float64), _FLOAT64


def _dataset(features_NF: NDArray[Any], start_NC: Matrix, parameters: bytes, like: _Dataset | None) -> _Dataset:
    """Rows with the scores that training starts at; the bins are those of `like` if it is given."""
    dataset = _Dataset()
    values, dtype = _matrix(features_NF)
    n_rows, n_features = values.shape
    shape = ctypes.c_int32(n_rows), ctypes.c_int32(n_features)
    _call("LGBM_DatasetCreateFromMat", _pointer(values), dtype, *shape, 1, parameters, like, ctypes.byref(dataset))
    # The label is not used with a custom objective, but a data set must have one.
    label = np.zeros(n_rows, np.float32)
    start = np.asarray(start_NC, np.float64).ravel(order="F")
    _call("LGBM_DatasetSetField", dataset, b"label", _pointer(label), ctypes.c_int(len(label)), _FLOAT32)
    _call("LGBM_DatasetSetField", dataset, b"init_score", _pointer(start), ctypes.c_int(len(start)), _FLOAT64)
    return dataset


class Booster:
    """Trees that grow round by round by a custom objective, on top of the scores at which the rows start.

    `features_NF` and `start_NC` are the rows to learn from, `valid` those that judge the rounds. Columns in
    `categories` contain levels.
    """

    def __init__(
        self,
        features_NF: NDArray[Any],
        start_NC: Matrix,
        parameters: Mapping[str, Any],
        *,
        categories: Sequence[int] = (),
        valid: tuple[NDArray[Any], Matrix] | None = None,
    ) -> None:
        named = dict(parameters) | ({"categorical_column": tuple(sorted(categories))} if categories else {})
        text = _text(named)
        train = _dataset(features_NF, start_NC, text, None)
        # The library does not copy its data sets.
        self._datasets = [train] if valid is None else [train, _dataset(*valid, text, train)]
        self._score = [np.empty(start_NC.size)] + ([] if valid is None else [np.empty(valid[1].size)])
        self._n_classes = start_NC.shape[1]
        self._handle = _Booster()
        _call("LGBM_BoosterCreate", train, text, ctypes.byref(self._handle))
        for dataset in self._datasets[1:]:
            _call("LGBM_BoosterAddValidData", self._handle, dataset)

    def update(self, objective: Callable[[Matrix], tuple[Matrix, Matrix]]) -> bool:
        """Add a round by the gradient and Hessian of the objective; return whether no tree found a split."""
        gradient, hessian = (part.ravel(order="F").astype(np.float32) for part in objective(self.scores(0)))
        finished = ctypes.c_int(0)
        _call(
            "LGBM_BoosterUpdateOneIterCustom",
            self._handle,
            _pointer(gradient),
            _pointer(hessian),
            ctypes.byref(finished),
        )
        return finished.value == 1

    def scores(self, rows: int) -> Matrix:
        """The scores (N, C) of the rows to learn from (0) or of those that judge (1); the next call replaces them."""
        score = self._score[rows]
        length = ctypes.c_int64(0)
        _call("LGBM_BoosterGetPredict", self._handle, rows, ctypes.byref(length), _pointer(score))
        return score.reshape(-1, self._n_classes, order="F")

    def text(self, rounds: int) -> str:
        """The trees of the first rounds in LightGBM's text format, as its Python package writes it."""
        length = ctypes.c_int64(1 << 20)
        while True:
            buffer = ctypes.create_string_buffer(length.value)
            room = length.value
            _call(
                "LGBM_BoosterSaveModelToString",
                self._handle,
                0,
                rounds,
                0,
                ctypes.c_int64(room),
                ctypes.byref(length),
                buffer,
            )
            if length.value <= room:
                return buffer.value.decode("utf-8") + "\npandas_categorical:null\n"


class SavedTrees:
    """Trees that are read from a text, for prediction."""

    def __init__(self, text: str) -> None:
        self._source = text
        self._handle = _Booster()
        rounds = ctypes.c_int(0)
        _call("LGBM_BoosterLoadModelFromString", text.encode("utf-8"), ctypes.byref(rounds), ctypes.byref(self._handle))

    def __reduce__(self) -> tuple[type["SavedTrees"], tuple[str]]:
        # Another process has objects of its own in the library.
        return SavedTrees, (self._source,)

    def scores(self, features_NF: NDArray[Any], n_classes: int) -> Matrix:
        """The sum of the trees, (N, C)."""
        values, dtype = _matrix(features_NF)
        shape = ctypes.c_int32(values.shape[0]), ctypes.c_int32(values.shape[1])
        score = np.empty((len(values), n_classes))
        length = ctypes.c_int64(0)
        _call(
            "LGBM_BoosterPredictForMat",
            self._handle,
            _pointer(values),
            dtype,
            *shape,
            1,
            _RAW_SCORE,
            0,
            _ALL_ROUNDS,
            b"num_threads=1",
            ctypes.byref(length),
            _pointer(score),
        )
        if length.value != score.size:
            raise FoldstillError(f"the trees give {length.value} scores for {len(values)} rows x {n_classes} classes")
        return score
