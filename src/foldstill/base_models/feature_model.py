"""What models of feature tables share: the rows as they were in training, and the cost of a prediction.

N rows, C classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.member import CURE
from foldstill.cost import Cost
from foldstill.cost.measure import measure_latency
from foldstill.data.feature_form import FeatureForm
from foldstill.data.features import FeatureTable, View
from foldstill.data.training import Rows, TrainingSet
from foldstill.digests import file_digest
from foldstill.errors import DataError, MemberError
from foldstill.json_files import read_json, write_json

ABOUT = "model.json"
_SHAPE = {"classes": list, "view": str, "form": dict, "model": str}
BATCH = 32
"""Number of rows of the batch whose latency is measured."""


@dataclass(frozen=True, eq=False)
class FeatureModel(ABC):
    """Base of models that read one feature table, matched by name."""

    classes: tuple[str, ...]
    view: str
    form: FeatureForm
    facts: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    @property
    def forms(self) -> Mapping[str, FeatureForm]:
        """What the rows of the view must look like."""
        return {self.view: self.form}

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {self.view: self.form.shape}

    @abstractmethod
    def proba(self, table: FeatureTable) -> NDArray[np.floating]:
        """Probabilities (N, C) of rows that have the features of the training."""

    def predict(
        self, views: Mapping[str, View], rows: Rows | None = None, *, device: str = "auto"
    ) -> NDArray[np.float32]:
        """Probabilities (rows, C) of rows of the view; features are matched by name."""
        return self.proba(self.table(views, rows)).astype(np.float32)

    def table(self, views: Mapping[str, View], rows: Rows | None) -> FeatureTable:
        """Rows of the view with the features of the training; raises MemberError where a view or feature is missing."""
        if self.view not in views:
            raise MemberError(
                f"the model reads the view {self.view!r}, got {sorted(views)}: give the view it was trained on"
            )
        table = FeatureTable.of(views[self.view])
        try:
            return (table if rows is None else table[rows]).aligned(self.form.features, f"the view {self.view!r}")
        except DataError as error:
            raise MemberError(str(error)) from None

    def write_about(self, folder: Path, model: str, **more: Any) -> None:
        """Write `model.json`: classes, view, features, the digest of the file that is named `model`, and `more`."""
        about = {"classes": list(self.classes), "view": self.view, "form": self.form.as_json()}
        write_json(folder / ABOUT, about | {"model": file_digest(folder / model)} | more, sealed=True)


def read_about(folder: Path, model: str) -> tuple[tuple[tuple[str, ...], str, FeatureForm], dict[str, Any]]:
    """What `write_about` wrote: the fields of a FeatureModel, and everything in the file.

    Raises MemberError if one of the two files is missing or damaged; nothing of the model is read before that.
    """
    for path in (folder / ABOUT, folder / model):
        if not path.is_file():
            raise MemberError(f"no file {path}: {CURE}")
    about: dict[str, Any] = read_json(folder / ABOUT, _SHAPE, error=MemberError, cure=CURE)
    if file_digest(folder / model) != about["model"]:
        raise MemberError(f"{folder / model} was damaged or changed after it was written: {CURE}")
    return (tuple(about["classes"]), about["view"], FeatureForm.from_json(about["form"])), about


def training_table(training_set: TrainingSet, view: str, member: str) -> FeatureTable:
    """The features that a member reads, of all rows; raises MemberError for a view of images or signals."""
    table = training_set.with_views([view]).views[view]
    if not isinstance(table, FeatureTable):
        raise MemberError(
            f"member {member!r} reads a feature table (rows, features), and the view {view!r} has rows of shape "
            f"{table.shape[1:]}: name a view of features"
        )
    return table


def prediction_cost(predict: Callable[[Rows], Any], *, parameters: int, size: int) -> Cost:
    """The cost of a model that predicts rows by their index, measured on one thread; `size` is that of its files."""
    one, batch = np.zeros(1, np.intp), np.zeros(BATCH, np.intp)
    single = measure_latency("model", lambda: predict(one), 1, threads=1)
    many = measure_latency("model", lambda: predict(batch), BATCH, threads=1)
    return Cost(
        parameters=parameters,
        latency_1_ms=single.p50_ms,
        latency_1_p95_ms=single.p95_ms,
        latency_batch_ms=many.p50_ms,
        latency_batch_p95_ms=many.p95_ms,
        batch=BATCH,
        threads=1,
        processor=single.processor,
        bytes=size,
    )
