"""The metrics that a comparison can decide by, by their names, and metrics from functions that users write.

N rows, C classes.
"""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.metrics import KL, Accuracy, Auroc, Better, Brier, LogLoss, Metric
from foldstill.compare.predictions import Predictions
from foldstill.compare.ranked import AveragePrecision, top_k
from foldstill.compare.summed import BalancedAccuracy, MacroF1, OrdinalRMSE, QuadraticKappa
from foldstill.errors import CompareError

Floats = NDArray[np.float64]

MetricFunction = Callable[[Floats, Floats, Floats], float]
"""A metric as a function of vote shares (N, C), probabilities (N, C) and weights (N,)."""

CHOICES: tuple[type[Metric], ...] = (
    KL,
    LogLoss,
    Brier,
    Accuracy,
    BalancedAccuracy,
    MacroF1,
    Auroc,
    AveragePrecision,
    QuadraticKappa,
    OrdinalRMSE,
)
"""The metrics that a comparison can decide by; besides them there is `top_<k>` for every k."""


def located(value: Any, root: Path) -> Any:
    """A metric as it is named in a file in `root`: the relative path of a Python file starts there."""
    return str(root / value) if _is_file(value) else value


def require_metric(value: Any) -> None:
    """Raise CompareError for what is no metric. A Python file is not run: reading settings must not run code."""
    if not _is_file(value):
        metric_of(value)


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and value.rpartition(":")[0].endswith(".py")


def metric_of(value: str | Metric | MetricFunction) -> Metric:
    """A metric by its name, from a function, or as it is.

    A name is that of one of `CHOICES`, `top_<k>`, or `path/to/file.py:function`.

    >>> metric_of("macro_f1").title, metric_of("top_3").title
    ('macro F1', 'top-3 accuracy')
    """
    if callable(value) and not isinstance(value, type):
        return function_metric(value)
    if not isinstance(value, str) and hasattr(value, "score") and not isinstance(value, type):
        return value
    text = value if isinstance(value, str) else ""
    chosen = {metric.name: metric for metric in CHOICES}.get(text)
    if chosen is not None:
        return chosen()
    if (of_k := re.fullmatch(r"top_(\d+)", text)) is not None:
        return top_k(int(of_k[1]))
    path, _, name = text.rpartition(":")
    if path.endswith(".py"):
        return function_metric(_function(Path(path), name))
    raise CompareError(
        f"metric must be one of {[metric.name for metric in CHOICES]}, top_<k>, or path/to/file.py:function, got "
        f"{value!r}: name one of these"
    )


def function_metric(function: MetricFunction, *, better: Better | None = None, title: str = "") -> Metric:
    """A metric from a function of vote shares (N, C), probabilities (N, C) and weights (N,) that returns one number.

    Parameters
    ----------
    function : callable
        Called as `function(target_NC, proba_NC, weight_N)`.
    better : {"high", "low"}, optional
        Which values are better; the function's attribute `better`, or "high".
    title : str, optional
        Name in reports; the name of the function by default.

    Examples
    --------
    >>> def cost(target_NC, proba_NC, weight_N):
    ...     return float(weight_N @ abs(target_NC - proba_NC).sum(axis=1) / weight_N.sum())
    >>> metric = function_metric(cost, better="low")
    >>> round(metric.score(Predictions.checked(target=[[1, 0]], proba=[[0.75, 0.25]])), 2)
    0.5
    """
    label = title or getattr(function, "__name__", type(function).__name__)
    direction: Better = better if better is not None else getattr(function, "better", "high")
    if direction not in get_args(Better)[:2]:
        raise CompareError(f"better of metric {label!r} must be 'low' or 'high', got {direction!r}: name one of these")
    documented = (getattr(function, "__doc__", None) or "").strip().split("\n")[0]

    class OfFunction(Metric):
        name: ClassVar[str] = label
        title: ClassVar[str] = label
        better: ClassVar[Better] = direction
        summary: ClassVar[str] = documented or f"what the function {label} returns"

        def score(self, predictions: Predictions) -> float | None:
            value: Any = function(predictions.target_NC, predictions.proba_NC, predictions.weight_N)
            if np.ndim(value) or not isinstance(value, float | int | np.number) or not np.isfinite(value):
                raise CompareError(
                    f"metric {label!r} must return one finite number for {len(predictions)} rows, got {value!r}: "
                    "correct the function"
                )
            return float(value)

    return OfFunction()


def _function(path: Path, name: str) -> MetricFunction:
    """The function in a Python file of the user's, which is run."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise CompareError(f"no file {path}, which the metric names: correct the path")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise CompareError(f"{path} cannot be run ({type(error).__name__}: {error}): correct the file") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise CompareError(f"{path} has no function {name!r}: correct the name after the colon")
    return function  # type: ignore[no-any-return]
