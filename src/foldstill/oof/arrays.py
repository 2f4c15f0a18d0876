"""A score table from arrays that are already in memory.

N samples (rows), M members, C classes.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.arguments import require_types
from foldstill.data.classes import positional_names
from foldstill.data.folds import FoldPlan, make_plan
from foldstill.data.labels import Labels, Strings, as_strings, match_ids
from foldstill.data.simplex import ROW_SUM_TOLERANCE, rounding_tolerance, softmax
from foldstill.data.text import as_array, is_whole
from foldstill.errors import FoldError, FoldstillWarning, OOFError
from foldstill.oof.one_probability import both_classes
from foldstill.oof.table import OOFTable, ScoreTable
from foldstill.oof.unscored import scored_rows

if TYPE_CHECKING:
    import pandas as pd

Space = Literal["proba", "logit"]

ASSIGNED_FOLDS = 5
"""Number of folds made for the cross-fit of combiners when a table comes without folds."""


# Long: most lines document the parameters.
def oof_table(
    scores: ArrayLike | Mapping[str, Any],
    labels: Labels | ArrayLike | None = None,
    *,
    votes: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    folds: ArrayLike | None = None,
    members: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    space: Space = "proba",
) -> OOFTable:
    """An OOF table from held-out predictions in memory.

    Parameters
    ----------
    scores : array, shape (N, M, C), or mapping of str to array, shape (N, C)
        Held-out predictions, or member name to predictions as `cross_val_predict(method="predict_proba")` and
        AutoGluon's `predict_proba_oof` return them. The columns of a pandas or polars frame are matched to the classes
        by name, and the index of a pandas frame to the ids. Rows of NaN for every member, as time-ordered folds leave
        them, are left out with a warning. For members that only name a class, see `smooth_labels`. Of two classes, one
        probability per row is enough: (N, M, 1), or (N,), (N, 1) or a Series per member. It is the probability of the
        class that the Series is named after, else of 1 where the classes are 0 and 1, or of True.
    labels : Labels or array, shape (N,) or (N, C)
        Labels, one class per sample, or vote counts. Ids, strata and sample weights need a `Labels` value.
    votes : array, shape (N, C)
        Vote counts, in place of `labels`.
    groups : array, shape (N,), optional
        What must not be split between folds; each sample is its own group by default.
    folds : array, shape (N,), optional
        Fold in which each sample was held out. By default group folds are made to cross-fit combiners, and the audit
        warns that nothing proves the scores held out.
    members : sequence of str, optional
        Names of the members of an array; m0, m1, ... by default.
    classes : sequence of str, optional
        Names of the classes, in the order of the last axis.
    space : {"proba", "logit"}
        Whether the scores are probabilities or logits.

    Returns
    -------
    OOFTable

    Raises
    ------
    OOFError
        If scores are not finite, not probabilities, or of other rows or classes than the labels.
    DataError
        If the labels contradict themselves.
    FoldError
        If a group is in two folds.

    Examples
    --------
    >>> scores = [[[0.9, 0.1]], [[0.2, 0.8]], [[0.3, 0.7]]]
    >>> table = oof_table(scores, votes=[[3, 0], [1, 2], [0, 1]], folds=[0, 1, 0])
    >>> table.proba_NMC.shape, table.members
    ((3, 1, 2), ('m0',))
    >>> oof_table({"net": [0.125, 0.75, 0.5]}, [0, 1, 1]).proba_NMC[:, 0].tolist()
    [[0.875, 0.125], [0.25, 0.75], [0.5, 0.5]]
    """
    require_types(oof_table, locals())
    table_labels = _labels(labels, votes, groups, classes, scores)
    n_classes = len(table_labels.classes)
    if isinstance(scores, Mapping):
        if members is not None:
            raise OOFError(
                f"members are named by the mapping of scores, got members = {list(members)} too: leave it out"
            )
        if not scores:
            raise OOFError("scores of at least one member are needed, got an empty mapping: add a member")
        names = tuple(str(name) for name in scores)
        proba = np.stack(
            [_member_proba(values, str(name), table_labels, space) for name, values in scores.items()], axis=1
        )
    else:
        raw = as_array(scores, "scores")
        if raw.ndim in (1, 2) and raw.dtype.kind in "iu":
            raise OOFError(_ONLY_NAMES.format(name="scores"))
        if raw.ndim == 1 or (raw.ndim in (2, 3) and raw.shape[-1] == 1):
            # One probability per row and member.
            columns_NM = raw.reshape(len(raw), -1)
            raw = both_classes(columns_NM, "scores", table_labels.classes, logits=space == "logit")
        if raw.ndim != 3:
            raise OOFError(
                f"scores must be (rows, members, classes), got {raw.dtype} of shape {raw.shape}: "
                "for one member add the axis, scores[:, None, :]; where each column is one member's probability of one "
                "of two classes, scores[:, :, None]"
            )
        proba = as_proba(raw, "scores", n_classes, space, unscored=True)
        names = tuple(f"m{i}" for i in range(proba.shape[1])) if members is None else tuple(str(m) for m in members)
    if len(proba) != len(table_labels) or not np.isnan(proba).any():
        return with_folds(ScoreTable(table_labels.ids, names, table_labels.classes, proba), table_labels, folds)
    scored_N = scored_rows(proba, names, table_labels.ids)
    labels = table_labels.take(scored_N)
    fold_N = None if folds is None else as_array(folds, "folds")[scored_N]
    table = with_folds(ScoreTable(labels.ids, names, labels.classes, proba[scored_N]), labels, fold_N)
    return replace(table, n_unscored=int((~scored_N).sum()))


def _labels(
    labels: Labels | ArrayLike | None,
    votes: ArrayLike | None,
    groups: ArrayLike | None,
    classes: Sequence[str] | None,
    scores: ArrayLike | Mapping[str, Any],
) -> Labels:
    if labels is not None and votes is not None:
        raise OOFError("labels and votes both describe the rows, got both: give one of them")
    if isinstance(labels, Labels):
        if groups is not None or classes is not None:
            raise OOFError(
                "a Labels value holds groups and classes already: give labels alone, without groups and classes"
            )
        return labels
    values = votes if labels is None else labels
    if values is None:
        raise OOFError("a table needs labels: give votes (rows, classes), one class per row, or a Labels value")
    if classes is None and hasattr(values, "columns"):
        classes = tuple(map(str, values.columns))
    if votes is None and as_array(values, "labels").ndim == 1:
        first = next(iter(scores.values()), ()) if isinstance(scores, Mapping) else scores
        n_columns = as_array(first, "scores").shape[-1] if as_array(first, "scores").ndim > 1 else 1
        if classes is None and n_columns > 1 and hasattr(first, "columns"):
            classes = tuple(map(str, first.columns))
        elif classes is None and n_columns > 1:
            classes = positional_names(values, n_columns)
        return Labels.from_hard(values, groups=groups, classes=classes)
    return Labels.from_votes(values, groups=groups, classes=classes)


def with_folds(
    scores: ScoreTable, labels: Labels, folds: ArrayLike | None, *, n_folds: int = ASSIGNED_FOLDS, seed: int = 0
) -> OOFTable:
    """The table of these scores with these folds; without folds, group folds are made from `seed`."""
    if folds is None:
        plan = make_plan(labels, n_folds=n_folds, test_share=0.0, strategy="grouped", seed=seed)
        return OOFTable(scores, labels, plan.fold_N, folds_assigned=True)
    fold = as_array(folds, "folds")
    if fold.dtype.kind == "f" and (np.abs(fold) < 2**53).all() and (fold == np.floor(fold)).all():
        fold = fold.astype(np.int64)
    elif fold.dtype.kind in "OU":
        fold = _fold_numbers(as_strings(fold, "folds"))
    return OOFTable(scores, labels, FoldPlan.from_folds(labels, fold).fold_N)


def _fold_numbers(names: Strings) -> NDArray[np.int64]:
    """Folds by their names: whole numbers stay what they are, other names are numbered in order."""
    different, index_N = np.unique(names, return_inverse=True)
    if all(map(is_whole, different.tolist())):
        return different.astype(np.int64)[index_N]
    if "-1" in different.tolist():
        raise FoldError(
            f"folds hold -1, which stands for locked test rows, beside names such as {different[-1]!r}: "
            "number the folds from 0, or drop the test rows"
        )
    return index_N.astype(np.int64)


_ONLY_NAMES = (
    "{name} only name a class, so the probability of that class is not known: state it, with "
    "smooth_labels(scores, n_classes, 0.9) in Python or --smoothing 0.9 on the command line"
)


def as_proba(
    raw: NDArray[Any],
    name: str,
    n_classes: int,
    space: Space = "proba",
    smoothing: float | None = None,
    *,
    unscored: bool = False,
) -> NDArray[np.float32]:
    """Predictions (..., C) as float32 probabilities that sum to 1; `name` says in errors whose they are.

    Whole numbers are one-hot rows, which name a class and need `smoothing`, see `smooth_labels`. Where rows may be
    `unscored`, those of NaN stay so.
    """
    empty = np.isnan(raw).all(axis=-1) if unscored and raw.dtype.kind == "f" and raw.ndim else np.zeros(0, bool)
    if empty.any() and raw.shape[-1] == n_classes:
        # A prediction without rounding stands in for them, so that errors about other rows give their positions.
        filled = np.where(empty[..., None], np.eye(1, n_classes, dtype=raw.dtype), raw)
        proba = as_proba(filled, name, n_classes, space, smoothing)
        proba[empty] = np.nan
        return proba
    if raw.dtype.kind not in "fiu":
        raise OOFError(f"{name} must be numbers, got {raw.dtype}: give one probability per class")
    if raw.ndim < 2 or raw.shape[-1] != n_classes:
        raise OOFError(
            f"{name} have shape {raw.shape}, wanted {n_classes} classes on the last axis: give one column per class"
        )
    if not raw.size:
        raise OOFError(f"{name} have no rows, shape {raw.shape}: score at least one row with at least one member")
    if raw.dtype.kind in "iu" and space == "proba":
        if raw.min() < 0 or (raw.sum(axis=-1) != 1).any():
            raise OOFError(
                f"{name} are whole numbers but not one-hot rows: give probabilities, or the index of one class per row"
            )
        return smoothed_proba(raw.argmax(axis=-1), name, n_classes, smoothing)
    if smoothing is not None:
        raise OOFError(f"{name} are probabilities already ({raw.dtype}), smoothing would have no effect: leave it out")
    values = raw.astype(np.float64)
    broken: NDArray[np.bool_] = np.logical_not(np.isfinite(values).all(axis=-1))
    if broken.any():
        raise OOFError(
            f"{name}: {_count(broken)} hold NaN or infinity, first at {_first(broken)}: "
            "predict every row with every member, or drop the member"
        )
    if space == "logit":
        return softmax(values).astype(np.float32)
    if values.min() < -ROW_SUM_TOLERANCE or values.max() > 1 + ROW_SUM_TOLERANCE:
        raise OOFError(
            f"{name} must be probabilities in [0, 1], got values from {values.min():.4g} to {values.max():.4g}: "
            "if these are logits, say so with space='logit'"
        )
    return _divided_by_sum(np.maximum(values, 0.0), raw, name)


def _divided_by_sum(values: NDArray[np.float64], raw: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Rows divided by their sum, which is 1 within the rounding of `raw`; a warning says where they are rounded."""
    total = values.sum(axis=-1)
    off = np.abs(total - 1) > ROW_SUM_TOLERANCE
    if off.any() and (np.abs(total - 1) <= rounding_tolerance(raw) + 1e-9).all():
        warnings.warn(
            f"{name}: {_count(off)} sum to {total.min():.4g} to {total.max():.4g} because they are rounded; "
            "all rows were divided by their sum",
            FoldstillWarning,
            stacklevel=2,
        )
    elif off.any():
        first = _first(off)
        raise OOFError(
            f"{name}: rows must sum to 1, {_count(off)} do not; first at {first}, sum {total[first]:.6g}: "
            "normalise them; where every class is a yes or no of its own (multi-label), "
            "import one two-class table per finding; where each column is a member's probability of one class, "
            "give --scores with {member} in place of the member's name"
        )
    normal: NDArray[np.float32] = (values / total[..., None]).astype(np.float32)
    return normal


def smooth_labels(named: ArrayLike, n_classes: int, probability: float) -> NDArray[np.float32]:
    """Probabilities of members that only name a class; the other classes share the rest.

    Parameters
    ----------
    named : array of int, any shape
        Index of the named class, 0..C-1.
    n_classes : int
        Number of classes C.
    probability : float
        Probability of the named class, between 1/C and 1.

    Returns
    -------
    array of float32, shape (..., C)

    Raises
    ------
    OOFError
        If the probability or an index is out of range.

    Examples
    --------
    >>> print(smooth_labels([0, 2], 3, 0.8))
    [[0.8 0.1 0.1]
     [0.1 0.1 0.8]]
    """
    return smoothed_proba(np.asarray(named), "scores", n_classes, probability)


def smoothed_proba(named: NDArray[Any], name: str, n_classes: int, smoothing: float | None) -> NDArray[np.float32]:
    """As `smooth_labels`; `name` says in errors whose predictions they are, and `smoothing` None is an error."""
    if smoothing is None:
        raise OOFError(_ONLY_NAMES.format(name=name))
    if not 1 / n_classes < smoothing < 1:
        raise OOFError(
            f"smoothing must be between 1/{n_classes} and 1, got {smoothing}: it is the probability of the named class"
        )
    if named.min() < 0 or named.max() >= n_classes:
        raise OOFError(
            f"{name} must name classes 0..{n_classes - 1}, got {named.min()} to {named.max()}: number them from 0"
        )
    other = (1 - smoothing) / (n_classes - 1)
    row_CC: NDArray[np.float32] = np.where(np.eye(n_classes, dtype=bool), smoothing, other).astype(np.float32)
    proba: NDArray[np.float32] = row_CC[named]
    return proba


def _member_proba(values: Any, member: str, labels: Labels, space: Space) -> NDArray[np.float32]:
    name = f"scores of member {member!r}"
    raw = as_array(values, name)
    if raw.ndim == 1 or raw.shape[1:] == (1,):
        return _one_probability(values, raw.reshape(-1), name, labels, space)
    if hasattr(values, "columns"):
        raw = as_array(_aligned(values, name, labels), name)
    return as_proba(_of_rows(raw, name, labels), name, len(labels.classes), space, unscored=True)


def _one_probability(values: Any, raw_N: NDArray[Any], name: str, labels: Labels, space: Space) -> NDArray[np.float32]:
    """Scores of both classes from those of one: an array, or a Series or a frame, which may be named like its class."""
    if raw_N.dtype.kind in "iu":
        raise OOFError(_ONLY_NAMES.format(name=name))
    column = str(values.columns[0]) if hasattr(values, "columns") else str(getattr(values, "name", ""))
    if hasattr(values, "iloc"):
        raw_N = raw_N[match_ids(name, labels.ids, as_strings(values.index.to_numpy(), f"index of the {name}"))]
    named = column if column in labels.classes else ""
    pair_N2 = both_classes(raw_N, name, labels.classes, named=named, logits=space == "logit")
    return as_proba(_of_rows(pair_N2, name, labels), name, 2, space, unscored=True)


def _of_rows(raw: NDArray[Any], name: str, labels: Labels) -> NDArray[Any]:
    """The scores of one member; raises OOFError unless they are of as many rows as the labels."""
    wanted = (len(labels), len(labels.classes))
    if raw.shape[-1:] == wanted[1:] and raw.shape != wanted:
        raise OOFError(f"{name} must be (rows, classes) = {wanted}, got {raw.shape}: score every row once")
    return raw


def _aligned(frame: "pd.DataFrame", name: str, labels: Labels) -> "pd.DataFrame":
    """The frame with its columns in the order of the classes and its rows in the order of the ids.

    A polars frame has no index: its rows are in the order of the labels.
    """
    is_polars = not hasattr(frame, "index")
    frame = frame.to_pandas() if is_polars else frame.rename(columns=str)  # type: ignore[operator]
    if set(frame.columns) != set(labels.classes):
        raise OOFError(
            f"{name} have the classes {list(frame.columns)}, the labels {list(labels.classes)}: "
            "name the columns like the classes"
        )
    if is_polars:
        return frame[list(labels.classes)]
    rows = match_ids(name, labels.ids, as_strings(frame.index.to_numpy(), f"index of the {name}"))
    return frame[list(labels.classes)].iloc[rows]


def _first(wrong: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(wrong)[0])


def _count(wrong: NDArray[np.bool_]) -> str:
    return f"{int(wrong.sum())} of {wrong.size} rows"
