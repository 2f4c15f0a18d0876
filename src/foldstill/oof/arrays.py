"""A score table from arrays that are already in memory, whoever made them.

N rows, M members, C classes.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.data.folds import FoldPlan, make_plan
from foldstill.data.labels import Labels, as_strings, match_ids
from foldstill.data.simplex import ROW_SUM_TOLERANCE, softmax
from foldstill.errors import OOFError
from foldstill.oof.table import OOFTable, ScoreTable

if TYPE_CHECKING:
    import pandas as pd

Space = Literal["proba", "logit"]

ASSIGNED_FOLDS = 5
"""Folds made for the cross-fit of combiners when a table comes without."""


def oof_table(
    pred: ArrayLike | Mapping[str, Any],
    *,
    labels: Labels | None = None,
    votes: ArrayLike | None = None,
    ids: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    classes: Sequence[str] | None = None,
    folds: ArrayLike | None = None,
    members: Sequence[str] | None = None,
    families: Sequence[str] = (),
    space: Space = "proba",
    smoothing: float | None = None,
    seed: int = 0,
) -> OOFTable:
    """An OOF table from held-out predictions that are in memory.

    `pred` is (N, M, C), or member -> (N, C) as `cross_val_predict(method="predict_proba")` and AutoGluon's
    `predict_proba_oof` give them: a frame's columns are matched to the classes by name and its index to the ids.
    Members that only name a class are whole numbers, (N, M) or member -> (N,), and need `smoothing`: the probability of
    the named class. Rows are described by `labels`, or by `votes` (N, C) with `ids`, `groups` and `classes`. `folds`
    (N,) says in which fold each row was held out; without it, group folds are made from `seed` for the cross-fit of
    combiners, and the audit says that nothing proves the scores held out.

    >>> table = oof_table([[[0.9, 0.1]], [[0.2, 0.8]], [[0.3, 0.7]]], votes=[[3, 0], [1, 2], [0, 1]], folds=[0, 1, 0])
    >>> table.proba_NMC.shape, table.members
    ((3, 1, 2), ('m0',))
    """
    if labels is None:
        if votes is None:
            raise OOFError(
                "a table needs labels: give votes (rows, classes), or labels made with Labels.from_hard and the like"
            )
        labels = Labels.from_votes(votes, ids=ids, groups=groups, classes=classes)
    elif any(given is not None for given in (votes, ids, groups, classes)):
        raise OOFError(
            "labels hold votes, ids, groups and classes already: give labels alone, or the others without it"
        )
    if isinstance(pred, Mapping):
        if members is not None:
            raise OOFError("members are named by the mapping of predictions: leave members out")
        if not pred:
            raise OOFError("predictions of at least one member are needed, got none")
        members = tuple(str(name) for name in pred)
        proba = np.stack(
            [_of_member(values, str(name), labels, space, smoothing) for name, values in pred.items()], axis=1
        )
    else:
        raw = np.asarray(pred)
        if raw.ndim == 2 and raw.dtype.kind in "iu":
            proba = named_proba(raw, "predictions", len(labels.classes), smoothing)
        elif raw.ndim == 3:
            proba = as_proba(raw, "predictions", len(labels.classes), space, smoothing)
        else:
            raise OOFError(
                f"predictions must be (rows, members, classes), got {raw.dtype} of shape {raw.shape}: "
                "for one member add the axis, pred[:, None, :]"
            )
        members = tuple(f"m{i}" for i in range(proba.shape[1])) if members is None else tuple(str(m) for m in members)
    scores = ScoreTable(labels.ids, tuple(members), labels.classes, proba, tuple(families))
    return with_folds(scores, labels, folds, seed=seed)


def with_folds(
    scores: ScoreTable, labels: Labels, folds: ArrayLike | None, *, n_folds: int = ASSIGNED_FOLDS, seed: int = 0
) -> OOFTable:
    """The table of these scores with the folds given, or with group folds made from `seed` when there are none."""
    if folds is None:
        plan = make_plan(labels, n_folds=n_folds, test_share=0.0, strategy="grouped", seed=seed)
        return OOFTable(scores, labels, plan.fold_N, folds_assigned=True)
    fold = np.asarray(folds)
    if fold.dtype.kind == "f" and np.isfinite(fold).all() and (fold == np.floor(fold)).all():
        fold = fold.astype(np.int64)
    elif fold.dtype.kind in "OU":
        _, fold = np.unique(as_strings(fold, "folds"), return_inverse=True)
    return OOFTable(scores, labels, FoldPlan.from_folds(labels, fold).fold_N)


def as_proba(
    raw: NDArray[Any], what: str, n_classes: int, space: Space = "proba", smoothing: float | None = None
) -> NDArray[np.float32]:
    """Predictions (..., C) as float32 probabilities that sum to one; `what` names them in errors.

    Whole numbers are one-hot rows, which name a class and need `smoothing`.
    """
    if raw.dtype.kind not in "fiu":
        raise OOFError(f"{what} must be numbers, got {raw.dtype}: give one probability a class")
    if raw.ndim < 2 or raw.shape[-1] != n_classes:
        raise OOFError(
            f"{what} have shape {raw.shape}, wanted {n_classes} classes on the last axis: give a column a class"
        )
    if raw.dtype.kind in "iu" and space == "proba":
        if raw.size and (raw.min() < 0 or (raw.sum(axis=-1) != 1).any()):
            raise OOFError(
                f"{what} are whole numbers but not one-hot rows: give probabilities, or the number of one class a row"
            )
        return named_proba(raw.argmax(axis=-1), what, n_classes, smoothing)
    if smoothing is not None:
        raise OOFError(f"{what} are probabilities already ({raw.dtype}), smoothing would have no effect: leave it out")
    values = raw.astype(np.float64)
    broken: NDArray[np.bool_] = np.logical_not(np.isfinite(values).all(axis=-1))
    if broken.any():
        raise OOFError(
            f"{what}: {_count(broken)} hold NaN or infinity, first at {_first(broken)}: "
            "predict every row with every member, or drop the member"
        )
    if space == "logit":
        return softmax(values).astype(np.float32)
    if values.min() < -ROW_SUM_TOLERANCE or values.max() > 1 + ROW_SUM_TOLERANCE:
        raise OOFError(
            f"{what} must be probabilities in [0, 1], got values from {values.min():.4g} to {values.max():.4g}: "
            "if these are logits, say so with space='logit'"
        )
    values = np.maximum(values, 0.0)
    total = values.sum(axis=-1)
    off = np.abs(total - 1) > ROW_SUM_TOLERANCE
    if off.any():
        first = _first(off)
        raise OOFError(
            f"{what}: rows must sum to 1, {_count(off)} do not; first at {first}, sum {total[first]:.6g}: "
            "normalise them; "
            "where every class is a yes or no of its own (multi-label), import one two-class table a finding"
        )
    proba: NDArray[np.float32] = (values / total[..., None]).astype(np.float32)
    return proba


def named_proba(named: NDArray[Any], what: str, n_classes: int, smoothing: float | None) -> NDArray[np.float32]:
    """Probabilities (..., C) of members that only name a class: `smoothing` for it, the rest shared by the others."""
    if smoothing is None:
        raise OOFError(
            f"{what} only name a class, with what probability is not known: state it with smoothing, for example 0.9"
        )
    if not 1 / n_classes < smoothing < 1:
        raise OOFError(f"smoothing must be between 1/{n_classes} and 1, the named class's probability, got {smoothing}")
    if named.min() < 0 or named.max() >= n_classes:
        raise OOFError(
            f"{what} must name classes 0..{n_classes - 1}, got {named.min()} to {named.max()}: number them from 0"
        )
    other = (1 - smoothing) / (n_classes - 1)
    of_class_CC: NDArray[np.float32] = np.where(np.eye(n_classes, dtype=bool), smoothing, other).astype(np.float32)
    proba: NDArray[np.float32] = of_class_CC[named]
    return proba


def _of_member(values: Any, name: str, labels: Labels, space: Space, smoothing: float | None) -> NDArray[np.float32]:
    what = f"member {name!r}"
    if hasattr(values, "columns"):
        values = _aligned(values, what, labels)
    raw = np.asarray(values)
    n_classes = len(labels.classes)
    if raw.ndim == 1 and raw.dtype.kind in "iu":
        proba = named_proba(raw, what, n_classes, smoothing)
    else:
        proba = as_proba(raw, what, n_classes, space, smoothing)
    if proba.shape != (len(labels), n_classes):
        raise OOFError(
            f"{what} must be (rows, classes) = {(len(labels), n_classes)}, got {proba.shape}: score every row once"
        )
    return proba


def _aligned(frame: "pd.DataFrame", what: str, labels: Labels) -> "pd.DataFrame":
    """The frame with its columns in the order of the classes and its rows in the order of the ids."""
    frame = frame.rename(columns=str)
    if set(frame.columns) != set(labels.classes):
        raise OOFError(
            f"{what} has the classes {list(frame.columns)}, the labels {list(labels.classes)}: "
            "name the columns as the classes"
        )
    rows = match_ids(what, labels.ids, as_strings(frame.index.to_numpy(), f"index of {what}"))
    return frame[list(labels.classes)].iloc[rows]


def _first(wrong: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(wrong)[0])


def _count(wrong: NDArray[np.bool_]) -> str:
    return f"{int(wrong.sum())} of {wrong.size} rows"
