"""Probabilities per row: checks, clipping, softmax and KL divergence.

N samples (rows), C classes. This is the lowest module of the package, so that fitting, auditing and scoring use one
definition.
"""

import math
from collections.abc import Iterator
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.arguments import require_types
from foldstill.data.text import as_array, as_numbers
from foldstill.errors import DataError

Float = NDArray[np.floating[Any]]

EPS = 1e-7
"""The smallest probability of which foldstill takes a logarithm, in fitting, in scoring and in export."""

ROW_SUM_TOLERANCE = 1e-3
"""How far the sum of a row may be from 1: float16 files and six-digit CSVs stay inside it, logits do not."""


_TINY = float(np.finfo(np.float64).tiny)

BLOCK = 2**20
"""Numbers that are worked on at a time where a copy of a whole table would not fit into memory."""

_FEW_CLASSES = 16
"""Up to so many classes, one pass per class is faster than NumPy's reduction of each row."""


def row_sum(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over the last axis.

    NumPy reduces short rows one by one, which takes longer than the logarithms beside it; a product with ones does not.
    """
    total: NDArray[np.float64] = values @ np.ones(values.shape[-1])
    return total


def row_max(values: Float) -> Float:
    """Maximum over the last axis, class by class where there are few."""
    if values.shape[-1] > _FEW_CLASSES:
        largest: Float = values.max(axis=-1)
        return largest
    return reduce(np.maximum, np.moveaxis(values, -1, 0))


def row_blocks(n_rows: int, width: int) -> Iterator[slice]:
    """Parts of the rows, each with about a million numbers where a row has `width`; one part for a small table.

    >>> list(row_blocks(5, 2**19))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, BLOCK // max(width, 1))
    return (slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step))


def check_rows(proba: ArrayLike, name: str) -> Float:
    """`proba` as floats of shape (..., C); raises DataError when a row is not a distribution.

    `name` says in the message which array is wrong.
    """
    array = as_array(proba, name)
    if array.dtype.kind != "f":
        array = as_numbers(array, name)
    if array.ndim < 2:
        raise DataError(
            f"{name} must be at least two-dimensional (rows, classes), got shape {array.shape}: add the missing axis"
        )
    lowest, highest = math.inf, -math.inf
    n_off, first, first_sum = 0, (0,), 1.0
    for part in row_blocks(len(array), math.prod(array.shape[1:])):
        block = array[part]
        # A product with ones sums short rows several times faster than a reduction, and NaN or infinity shows in it.
        total = block @ np.ones(block.shape[-1], dtype=np.result_type(block, np.float32))
        if not np.isfinite(total).all():
            row = part.start + int(np.argwhere(~np.isfinite(total))[0, 0])
            raise DataError(f"{name} must be finite, row {row} holds NaN or infinity: drop or repair such rows first")
        if block.size:
            lowest, highest = min(lowest, float(block.min())), max(highest, float(block.max()))
        off = np.abs(total - 1) > ROW_SUM_TOLERANCE
        if off.any() and not n_off:
            within = tuple(int(i) for i in np.argwhere(off)[0])
            first, first_sum = (part.start + within[0], *within[1:]), float(total[within])
        n_off += int(off.sum())
    if lowest < -ROW_SUM_TOLERANCE or highest > 1 + ROW_SUM_TOLERANCE:
        raise DataError(
            f"{name} must be probabilities in [0, 1], got values from {lowest:.4g} to {highest:.4g}: "
            "these look like logits or counts; apply softmax, or divide votes by their total"
        )
    if n_off:
        raise DataError(
            f"{name}: rows must sum to 1, {n_off} of {math.prod(array.shape[:-1])} do not; first at {first}, "
            f"sum {first_sum:.6g}: normalise them, or check that every class has a column"
        )
    return array


def rounding_tolerance(proba: Float) -> float:
    """How far the sum of a row may be from 1 because of rounding: C / 2 units of the last of 2 to 6 digits written.

    Never less than `ROW_SUM_TOLERANCE`, which also holds for numbers that were not rounded.

    >>> rounding_tolerance(np.array([[0.33, 0.33, 0.33]])), rounding_tolerance(np.array([[0.33, 0.33, 0.1234567]]))
    (0.015, 0.001)
    """
    error = 1e-9 if proba.dtype == np.float64 else 1e-7
    for digits in range(2, 7):
        if np.abs(proba - np.round(proba, digits)).max(initial=0.0) <= error:
            return float(max(ROW_SUM_TOLERANCE, proba.shape[-1] / 2 * 10.0**-digits))
    return ROW_SUM_TOLERANCE


def finite_log(share: Float) -> NDArray[np.float64]:
    """Logarithm that is finite where a share is 0, so that 0 times it is 0."""
    # To replace zeros by `np.where` takes longer than the logarithm.
    logarithm: NDArray[np.float64] = np.log(np.maximum(share, _TINY, dtype=np.float64))
    return logarithm


def clip_rows(proba: Float) -> NDArray[np.float64]:
    """`proba` with every entry at least EPS and rows that sum to 1 again, as float64; its logarithm is finite."""
    clipped: NDArray[np.float64] = np.clip(proba, EPS, None, dtype=np.float64)
    clipped /= row_sum(clipped)[..., None]
    return clipped


def softmax(logits: Float) -> NDArray[np.float64]:
    """Softmax over the last axis, in float64."""
    out: NDArray[np.float64] = np.exp(logits - row_max(logits)[..., None], dtype=np.float64)
    out /= row_sum(out)[..., None]
    return out


def row_kl(*, target: Float, proba: Float) -> NDArray[np.float64]:
    """KL(target || proba) per row in nats, without checks; the result has the shape of `proba` without its last axis.

    The sum of y log(y / p) over entries with y > 0. Only inside the logarithm is p at least EPS, so that a perfect
    prediction scores exactly 0.
    """
    target = np.asarray(target, dtype=np.float64)
    ratio = finite_log(target) - np.log(np.maximum(proba, EPS, dtype=np.float64))
    ratio *= target
    return row_sum(ratio)


def kl_divergence(*, target: ArrayLike, proba: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Mean Kullback-Leibler divergence KL(target || proba) over samples, in nats.

    Both arguments are keyword only: in the wrong order they give another number that looks plausible.

    Parameters
    ----------
    target : array, shape (N, C)
        Vote shares; rows sum to 1.
    proba : array, shape (N, C)
        Predicted probabilities; rows sum to 1. Logits are refused.
    weight : array, shape (N,), optional
        Weight of each sample in the mean; equal by default.

    Returns
    -------
    float
        0 for a perfect prediction, larger for a worse one.

    Raises
    ------
    DataError
        If a row is not a distribution, or the shapes differ.

    References
    ----------
    S. Kullback and R. A. Leibler, "On Information and Sufficiency", Annals of Mathematical Statistics 22 (1951).

    Examples
    --------
    >>> round(kl_divergence(target=[[0.5, 0.5]], proba=[[0.9, 0.1]]), 4)
    0.5108
    """
    require_types(kl_divergence, locals())
    target_NC, proba_NC = check_rows(target, "target"), check_rows(proba, "proba")
    if target_NC.shape != proba_NC.shape:
        raise DataError(
            f"target {target_NC.shape} and proba {proba_NC.shape} must have the same shape: align the rows by id"
        )
    if not len(target_NC):
        raise DataError(
            f"target and proba must have rows, got shape {target_NC.shape}: the mean of nothing is no number"
        )
    kl = row_kl(target=target_NC, proba=proba_NC)
    weights = np.ones(kl.shape) if weight is None else as_numbers(weight, "weight")
    if weights.shape != kl.shape or not np.isfinite(weights).all() or not (weights >= 0).all() or not weights.any():
        raise DataError(
            f"weight must be one finite number per row ({len(kl)}), not negative and not all zero, got shape "
            f"{weights.shape}: leave it out to weigh all rows alike"
        )
    return float(np.average(kl, weights=weights))
