"""Predictions as float32 probabilities that sum to 1.

C classes.
"""

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.data.simplex import ROW_SUM_TOLERANCE, rounding_tolerance, row_sum, softmax
from foldstill.errors import FoldstillWarning, OOFError

Space = Literal["proba", "logit"]

ONLY_NAMES = (
    "{name}: predictions only name a class, so the probability of that class is not known: state it, with "
    "smooth_labels(scores, n_classes, 0.9) in Python or --smoothing 0.9 on the command line"
)

PERCENTAGES = "if these are percentages, divide them by 100"
LOGITS = "if these are logits, say so with space='logit' in Python or --space logit on the command line"


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
        raise OOFError(
            f"{name} holds probabilities already ({raw.dtype}), smoothing would have no effect: leave it out"
        )
    values = raw.astype(np.float64)
    broken: NDArray[np.bool_] = np.logical_not(np.isfinite(row_sum(values)))
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
            + (PERCENTAGES if np.abs(row_sum(values) - 100).max() <= 1 else LOGITS)
        )
    return _divided_by_sum(np.maximum(values, 0.0, out=values), raw, name)


def _divided_by_sum(values: NDArray[np.float64], raw: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Rows divided by their sum, which must be 1 within the rounding of `raw`; warns of rounded rows."""
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
    normal: NDArray[np.float32] = np.divide(values, total[..., None], out=values).astype(np.float32)
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
        raise OOFError(ONLY_NAMES.format(name=name))
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


def _first(wrong: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(wrong)[0])


def _count(wrong: NDArray[np.bool_]) -> str:
    return f"{int(wrong.sum())} of {wrong.size} rows"
