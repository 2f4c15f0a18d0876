"""What models of feature tables share: the rows as they were in training, and the cost of a prediction.

N rows, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from foldstill.cost import Cost
from foldstill.cost.measure import measure_latency
from foldstill.data.features import FeatureForm, FeatureTable, View
from foldstill.data.training import Rows, TrainingSet
from foldstill.errors import DataError, MemberError

BATCH = 32
"""Number of rows of the batch whose latency is measured."""


def training_table(training_set: TrainingSet, view: str, member: str) -> FeatureTable:
    """The features that a member reads, of all rows; raises MemberError for a view of images or signals."""
    table = training_set.with_views([view]).views[view]
    if not isinstance(table, FeatureTable):
        raise MemberError(
            f"member {member!r} reads a feature table (rows, features), and the view {view!r} has rows of shape "
            f"{table.shape[1:]}: name a view of features"
        )
    return table


def rows_like(form: FeatureForm, views: Mapping[str, View], view: str, rows: Rows | None) -> FeatureTable:
    """Rows of a view with the features of the training; raises MemberError where a view or a feature is missing."""
    if view not in views:
        raise MemberError(f"the model reads the view {view!r}, got {sorted(views)}: give the view it was trained on")
    table = FeatureTable.of(views[view])
    try:
        return (table if rows is None else table[rows]).aligned(form.features, f"the view {view!r}")
    except DataError as error:
        raise MemberError(str(error)) from None


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
