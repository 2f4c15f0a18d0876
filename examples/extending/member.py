"""A member without torch: `Linear` holds the settings of a linear regression, and `fit` returns a `LinearModel`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from foldstill.cost import Cost
from foldstill.data.training import FitContext, FitProgress, TrainingSet
from foldstill.settings import KindWithExample


@dataclass(frozen=True)
class LinearModel:
    classes: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]
    weight_FC: np.ndarray
    facts: ClassVar[dict[str, float]] = {}

    def predict(self, views: Any, rows: Any = None, *, device: str = "auto") -> np.ndarray:
        (view,) = (views[name] if rows is None else views[name][rows] for name in self.shapes)
        share_NC = np.clip(view.reshape(len(view), -1) @ self.weight_FC, 1e-3, None)
        return np.asarray(share_NC / share_NC.sum(axis=1, keepdims=True), np.float32)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "linear.npz", weight=self.weight_FC, classes=self.classes, shapes=list(self.shapes.values()))

    def cost(self, views: Any) -> Cost:
        return Cost(parameters=self.weight_FC.size, macs=self.weight_FC.size)


@dataclass(frozen=True)
class Linear(KindWithExample, kind="linear", title="Linear regression"):
    """A linear regression of the vote shares on the values of one view."""

    parts: ClassVar[tuple[()]] = ()
    epochs: ClassVar[int] = 1
    uses_device: ClassVar[bool] = False
    name: str = "linear"
    family: str = "linear"
    views: tuple[str] = ("image",)

    def check(self, training_set: TrainingSet) -> float:
        return float(training_set.with_views(self.views).views[self.views[0]][0].size)

    def fit(self, training_set: TrainingSet, context: FitContext) -> LinearModel:
        rows, view = training_set.rows, training_set.views[self.views[0]]
        x_NF, y_NC = view[rows].reshape(len(rows), -1), training_set.target_NC[rows]
        context.report(FitProgress(done=1, total=1, loss=0.0))
        return LinearModel(training_set.classes, {self.views[0]: view.shape[1:]}, np.linalg.lstsq(x_NF, y_NC, 0.03)[0])

    def load(self, folder: Path) -> LinearModel:
        with np.load(folder / "linear.npz", allow_pickle=False) as file:
            return LinearModel(tuple(file["classes"]), {self.views[0]: tuple(file["shapes"][0])}, file["weight"])
