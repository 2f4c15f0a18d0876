"""Predictions as float32 probabilities that sum to 1.

C classes.
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.data.simplex import ROW_SUM_TOLERANCE, rounding_tolerance, row_blocks, row_sum, softmax
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
    overwrite: bool = False,
) -> NDArray[np.float32]:
    """Predictions (..., C) as float32 probabilities that sum to 1; `name` says in errors whose they are.

    Whole numbers are one-hot rows, which name a class and need `smoothing`, see `smooth_labels`. Where rows may be
    `unscored`, those of NaN stay so. With `overwrite` the result may take the place of `raw`.
    """
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
    # Block by block, because float64 copies of a whole table would take several times its memory.
    found = _survey(raw, unscored=unscored)
    if found.broken:
        raise OOFError(
            f"{name}: {found.broken} of {found.rows} rows hold NaN or infinity, first at {found.first_broken}: "
            "predict every row with every member, or drop the member"
        )
    if space == "proba":
        _require_proba(found, raw, name, unscored=unscored)
    own = overwrite and raw.dtype == np.float32 and raw.flags.writeable
    proba: NDArray[np.float32] = raw if own else np.empty(raw.shape, np.float32)
    for part, values, empty in _filled_blocks(raw, unscored=unscored):
        if space == "logit":
            values = softmax(values)
        else:
            np.maximum(values, 0.0, out=values)
            values /= values.sum(axis=-1)[..., None]
        values[empty] = np.nan
        proba[part] = values
    return proba


def _filled_blocks(
    raw: NDArray[Any], *, unscored: bool
) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.bool_]]]:
    """Blocks of rows: where each is, its values, and its unscored rows, for which a plain prediction stands in."""
    for part in row_blocks(len(raw), math.prod(raw.shape[1:])):
        values = raw[part].astype(np.float64)
        empty = np.zeros(values.shape[:-1], bool)
        if unscored:
            np.isnan(values).all(axis=-1, out=empty)
        if empty.any():
            values[empty] = np.eye(1, raw.shape[-1])
        yield part, values, empty


@dataclass
class _Survey:
    """What is wrong with predictions, and how far their values and the sums of their rows reach."""

    rows: int
    broken: int = 0
    first_broken: tuple[int, ...] = ()
    low: float = math.inf
    high: float = -math.inf
    sums: tuple[float, float] = (math.inf, -math.inf)
    """Lowest and highest sum of a row."""
    totals: tuple[float, float] = (math.inf, -math.inf)
    """The same where negative values count as zero."""
    off: int = 0
    """Rows whose total is not 1."""
    first_off: tuple[int, ...] = ()
    off_total: float = 1.0


def _survey(raw: NDArray[Any], *, unscored: bool) -> _Survey:
    found = _Survey(math.prod(raw.shape[:-1]))
    for part, values, _ in _filled_blocks(raw, unscored=unscored):
        sums = row_sum(values)
        broken = np.logical_not(np.isfinite(sums))
        if broken.any():
            found.first_broken = found.first_broken or _place(broken, part)
            found.broken += int(broken.sum())
            continue
        found.low, found.high = min(found.low, float(values.min())), max(found.high, float(values.max()))
        total = np.maximum(values, 0.0, out=values).sum(axis=-1)
        off = np.abs(total - 1) > ROW_SUM_TOLERANCE
        if off.any() and not found.off:
            found.first_off, found.off_total = _place(off, part), float(total[off][0])
        found.off += int(off.sum())
        found.sums, found.totals = _wider(found.sums, sums), _wider(found.totals, total)
    return found


def _wider(reach: tuple[float, float], values: NDArray[np.float64]) -> tuple[float, float]:
    return min(reach[0], float(values.min())), max(reach[1], float(values.max()))


def _require_proba(found: _Survey, raw: NDArray[Any], name: str, *, unscored: bool) -> None:
    """Raise OOFError unless rows are probabilities that sum to 1 within their rounding; warn of rounded rows."""
    if found.low < -ROW_SUM_TOLERANCE or found.high > 1 + ROW_SUM_TOLERANCE:
        percent = max(abs(total - 100) for total in found.sums) <= 1
        raise OOFError(
            f"{name} must be probabilities in [0, 1], got values from {found.low:.4g} to {found.high:.4g}: "
            + (PERCENTAGES if percent else LOGITS)
        )
    if not found.off:
        return
    tolerance = min(
        rounding_tolerance(values.astype(raw.dtype)) for _, values, _ in _filled_blocks(raw, unscored=unscored)
    )
    if max(abs(total - 1) for total in found.totals) > tolerance + 1e-9:
        raise OOFError(
            f"{name}: rows must sum to 1, {found.off} of {found.rows} rows do not; first at {found.first_off}, sum "
            f"{found.off_total:.6g}: "
            "normalise them; where every class is a yes or no of its own (multi-label), "
            "import one two-class table per finding; where each column is a member's probability of one class, "
            "give --scores with {member} in place of the member's name"
        )
    low, high = found.totals
    warnings.warn(
        f"{name}: {found.off} of {found.rows} rows sum to {low:.4g} to {high:.4g} because they are rounded; "
        "all rows were divided by their sum",
        FoldstillWarning,
        stacklevel=2,
    )


def _place(wrong: NDArray[np.bool_], part: slice) -> tuple[int, ...]:
    """Position of the first wrong row among all rows."""
    first, *within = (int(i) for i in np.argwhere(wrong)[0])
    return part.start + first, *within


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
