"""A score table from arrays that are already in memory, whoever made them.

N rows, M members, C classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.data.folds import given_folds, make_plan
from foldstill.data.labels import Labels
from foldstill.data.simplex import ROW_SUM_TOLERANCE, softmax
from foldstill.errors import OOFError
from foldstill.oof.table import OOFTable, ScoreTable

Space = Literal["proba", "logit"]

ASSIGNED_FOLDS = 5
"""Folds made for the cross-fit of combiners when a table comes without."""


def oof_table(
    pred: ArrayLike | Mapping[str, Any],
    labels: Labels,
    *,
    folds: ArrayLike | None = None,
    members: Sequence[str] | None = None,
    families: Sequence[str] = (),
    space: Space = "proba",
    smoothing: float | None = None,
    seed: int = 0,
) -> OOFTable:
    """An OOF table from held-out predictions in the labels' row order.

    `pred` is (N, M, C), or member -> (N, C) as `cross_val_predict(method="predict_proba")` and AutoGluon's
    `predict_proba_oof` give them (a frame's columns are matched to the classes by name, its index to the ids when it
    holds them). Members that only name a class are integers, (N, M) or member -> (N,), and need `smoothing`: the
    probability of the named class. `folds` (N,) says in which fold each row was held out; without it, group folds are
    made for the cross-fit of combiners from `seed`, and the audit says that nothing proves the scores held out.
    """
    if isinstance(pred, Mapping):
        if members is not None:
            raise OOFError("members are named by the mapping of predictions: leave members out")
        members = tuple(str(name) for name in pred)
        columns = [_member_proba(values, name, labels, space, smoothing) for name, values in pred.items()]
        if not columns:
            raise OOFError("predictions of at least one member are needed, got none")
        proba = np.stack(columns, axis=1)
    else:
        raw = np.asarray(pred)
        if raw.ndim == 2 and raw.dtype.kind not in "iu":
            raise OOFError(
                f"predictions must be (rows, members, classes), got shape {raw.shape}: "
                "for one member add the axis, pred[:, None, :]; classes named by number must be integers"
            )
        proba = as_proba(raw, "predictions", len(labels.classes), space, smoothing)
        members = tuple(f"m{i}" for i in range(proba.shape[1])) if members is None else tuple(str(m) for m in members)
    scores = ScoreTable(labels.ids, tuple(members), labels.classes, proba, tuple(families))
    return with_folds(scores, labels, folds, seed=seed)


def with_folds(
    scores: ScoreTable, labels: Labels, folds: ArrayLike | None, *, n_folds: int = ASSIGNED_FOLDS, seed: int = 0
) -> OOFTable:
    """The table of these scores with the folds given, or with group folds made from `seed` when there are none."""
    if folds is not None:
        plan = given_folds(labels, folds)
        return OOFTable(scores, labels, plan.fold_N)
    plan = make_plan(labels, n_folds=n_folds, test_share=0.0, strategy="grouped", seed=seed)
    return OOFTable(scores, labels, plan.fold_N, folds_assigned=True)


def as_proba(
    raw: NDArray[Any], name: str, n_classes: int, space: Space = "proba", smoothing: float | None = None
) -> NDArray[np.float32]:
    """Predictions as float32 (..., C) that sum to one, from probabilities, logits or numbers of named classes (...)."""
    if raw.dtype.kind in "iu" and not (raw.ndim and raw.shape[-1] == n_classes and _one_hot(raw)):
        return _smoothed(raw, name, n_classes, smoothing)
    if smoothing is not None:
        raise OOFError(f"{name} are not class numbers but {raw.dtype}, so smoothing would have no effect: leave it out")
    if raw.dtype.kind not in "fiub":
        raise OOFError(f"{name} must be numbers, got {raw.dtype}: give probabilities or class numbers")
    if raw.shape[-1] != n_classes:
        raise OOFError(f"{name} have {raw.shape[-1]} classes, the labels {n_classes}: name the classes of both alike")
    values = raw.astype(np.float64)
    finite = np.isfinite(values).all(axis=-1)
    if not finite.all():
        first = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise OOFError(
            f"{name}: {int((~finite).sum())} of {finite.size} rows hold NaN or infinity, first at {first}: "
            "predict every row with every member, or drop the member"
        )
    if space == "logit":
        return softmax(values).astype(np.float32)
    total = values.sum(axis=-1, keepdims=True)
    outside = values.min() < 0 or values.max() > 1 + ROW_SUM_TOLERANCE
    if outside:
        raise OOFError(
            f"{name} must be probabilities, got values from {values.min():.4g} to {values.max():.4g}: "
            'if these are logits say so with space="logit"'
        )
    off = np.abs(total[..., 0] - 1) > ROW_SUM_TOLERANCE
    if off.any():
        first = tuple(int(i) for i in np.argwhere(off)[0])
        raise OOFError(
            f"{name}: rows must sum to 1, {int(off.sum())} of {off.size} do not; first at {first}, "
            f"sum {total[first][0]:.6g}: normalise them; where each class is a yes or no of its own (multi-label), "
            "make one two-class table a finding"
        )
    proba: NDArray[np.float32] = (values / total).astype(np.float32)
    return proba


def _one_hot(raw: NDArray[Any]) -> bool:
    return bool(raw.min() >= 0 and (raw.sum(axis=-1) == 1).all())


def _smoothed(raw: NDArray[Any], name: str, n_classes: int, smoothing: float | None) -> NDArray[np.float32]:
    if smoothing is None:
        raise OOFError(
            f"{name} are class numbers ({raw.dtype}), whose probability is not known: "
            "state it with smoothing, for example 0.9 for the named class"
        )
    if not 1 / n_classes < smoothing < 1:
        raise OOFError(
            f"smoothing must be between 1/{n_classes} and 1, the probability of the named class, got {smoothing}"
        )
    if raw.min() < 0 or raw.max() >= n_classes:
        raise OOFError(
            f"{name} must name classes 0..{n_classes - 1}, got {raw.min()} to {raw.max()}: number them from 0"
        )
    other = (1 - smoothing) / (n_classes - 1)
    of_class_CC: NDArray[np.float32] = np.where(np.eye(n_classes, dtype=bool), smoothing, other).astype(np.float32)
    named: NDArray[np.float32] = of_class_CC[raw]
    return named


def _member_proba(values: Any, name: str, labels: Labels, space: Space, smoothing: float | None) -> NDArray[np.float32]:
    raw = np.asarray(values)
    proba = as_proba(raw, f"member {name!r}", len(labels.classes), space, smoothing)
    if proba.shape != (len(labels), len(labels.classes)):
        raise OOFError(
            f"member {name!r} must be (rows, classes) = {(len(labels), len(labels.classes))}, got {proba.shape}"
        )
    return proba
