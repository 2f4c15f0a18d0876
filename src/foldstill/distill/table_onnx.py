"""Students of feature tables that are no networks as ONNX files: LightGBM, and estimators that skl2onnx converts.

A file takes rows (N, F) of float64, with NaN for what is missing and the position of its level for a category; its
metadata name the columns and the levels. N rows, F features, C classes, E prepared columns.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from foldstill.base_models.lightgbm_member import LightGBMModel
from foldstill.base_models.member import Model
from foldstill.base_models.sklearn_member import SklearnModel
from foldstill.data.estimator_files import torch_hidden
from foldstill.data.features import FeatureTable
from foldstill.data.simplex import EPS
from foldstill.distill.export import OUTPUT, PARITY, write_model
from foldstill.distill.onnx_file import OnnxStudent
from foldstill.distill.onnx_graph import OPSETS, ROWS, Graph
from foldstill.distill.tree_onnx import tree_ensemble
from foldstill.errors import DistillError, require_package
from foldstill.files import atomic_write


def export_features(model: Model, rows: FeatureTable, path: Path, *, about: Mapping[str, Any] | None = None) -> Path:
    """Write a model of a feature table as ONNX, and compare it with the model on these rows.

    Raises DistillError for a model that cannot be converted, and where a probability differs by more than 1e-3; no file
    is left then.
    """
    graph = Graph()
    if isinstance(model, LightGBMModel):
        sums = graph.add("TreeEnsembleRegressor", ROWS, domain="ai.onnx.ml", **tree_ensemble(model.trees))
        scores = graph.add("Add", sums, graph.constant(model.start_C.astype(np.float32)))
        output = graph.add("Softmax", scores, axis=1)
    elif isinstance(model, SklearnModel):
        if model.preparation is None:
            raise DistillError("a Pipeline that prepares its features itself is not converted to ONNX")
        prepared = graph.cast(_prepared(graph, model.preparation), np.float32)
        output = _shares(graph, graph.include(_converted(model.estimator, prepared), prepared), model)
    else:
        raise DistillError(f"a {type(model).__name__} is not converted to ONNX")
    metadata = {
        "classes": list(model.classes),
        "view": model.view,
        "row_shape": list(model.form.shape),
        "dtype": "float64",
        "precision": "fp32",
        **model.form.as_json(),
        **(about or {}),
    }
    with atomic_write(path) as part:
        write_model(graph.model(output, OUTPUT, len(model.form.features), len(model.classes)), part, metadata)
        difference = float(np.abs(OnnxStudent(part).predict(rows) - model.predict({model.view: rows})).max())
        # Written so that NaN is refused as well.
        if not difference <= PARITY:
            raise DistillError(
                f"the ONNX file differs from the model by {difference:.2g} in a probability, allowed is {PARITY:g}"
            )
    return path


def _converted(estimator: Any, prepared: str) -> Any:
    """The estimator as an ONNX model with one input of float32."""
    require_package("skl2onnx", "onnx", purpose=f"exporting {type(estimator).__name__} to ONNX", error=DistillError)
    try:
        with torch_hidden(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from skl2onnx import to_onnx
            from skl2onnx.common.data_types import FloatTensorType

            options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "classes_") else None
            width = [None, estimator.n_features_in_]
            return to_onnx(
                estimator, initial_types=[(prepared, FloatTensorType(width))], options=options, target_opset=OPSETS
            )
    except Exception as error:
        cause = error.__cause__ or error
        reason = str(cause).strip().partition("\n")[0].rstrip(".") or type(cause).__name__
        raise DistillError(f"skl2onnx cannot convert {type(estimator).__name__} ({reason:.200})") from error


def _prepared(graph: Graph, preparation: Any) -> str:
    """The columns that the default preparation of `SklearnMember` makes of a row, (N, E) of float64."""
    parts = []
    for name, fitted, columns in preparation.transformers_:
        if not len(columns) or name == "remainder":
            continue
        raw = graph.columns(ROWS, np.asarray(columns, np.intp))
        parts.append(_numbers(graph, raw, *fitted) if name == "numbers" else _levels(graph, raw, fitted))
    return parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=1)


def _numbers(graph: Graph, raw: str, imputer: Any, scaler: Any) -> str:
    """Medians in place of missing numbers, columns that say what was missing, and all of them scaled."""
    missing = graph.add("IsNaN", raw)
    columns = graph.add("Where", missing, graph.constant(np.nan_to_num(imputer.statistics_).astype(np.float64)), raw)
    if len(imputer.indicator_.features_):
        flags = graph.cast(graph.columns(missing, imputer.indicator_.features_), np.float64)
        columns = graph.add("Concat", columns, flags, axis=1)
    if hasattr(scaler, "feature_range"):
        scaled = graph.add("Mul", columns, graph.constant(scaler.scale_.astype(np.float64)))
        moved = graph.add("Add", scaled, graph.constant(scaler.min_.astype(np.float64)))
        return graph.add("Clip", moved, *(graph.constant(np.asarray(end, np.float64)) for end in scaler.feature_range))
    centred = graph.add("Sub", columns, graph.constant(scaler.mean_.astype(np.float64)))
    return graph.add("Div", centred, graph.constant(scaler.scale_.astype(np.float64)))


def _levels(graph: Graph, raw: str, encoder: Any) -> str:
    """One column per level, and one for missing values where the training rows have some."""
    column_E = np.repeat(np.arange(len(encoder.categories_)), [len(codes) for codes in encoder.categories_])
    code_E = np.concatenate([np.asarray(codes, np.float64) for codes in encoder.categories_])
    repeated = graph.columns(raw, column_E)
    found = graph.add("Equal", repeated, graph.constant(code_E))
    if np.isnan(code_E).any():
        lost = graph.add("And", graph.add("IsNaN", repeated), graph.constant(np.isnan(code_E)))
        found = graph.add("Or", found, lost)
    return graph.cast(found, np.float64)


def _shares(graph: Graph, output: str, model: SklearnModel) -> str:
    """Probabilities of all C classes: of a classifier that may lack some, or the shares of a regressor."""
    classes = getattr(model.estimator, "classes_", None)
    if classes is not None:
        place_EC = np.zeros((len(classes), len(model.classes)), np.float32)
        place_EC[np.arange(len(classes)), classes] = 1
        return graph.add("MatMul", output, graph.constant(place_EC))
    positive = graph.add("Max", output, graph.constant(np.asarray(EPS, np.float32)))
    total = graph.add("ReduceSum", positive, graph.constant(np.asarray([1], np.int64)), keepdims=1)
    return graph.add("Div", positive, total)
