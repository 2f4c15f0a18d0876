"""Rows unlike those of the data: recombined ones, to which a precision head is fitted, and corrupted ones, to test it.

No kind is in both. Corrupted rows have noise, saturated sensors or lost channels.

N rows. Images (N, H, W, channels) and signals (N, channels, T) come back in their own type.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

NOISE = 2.0
"""Standard deviation of added noise, and of line noise, in standard deviations of the row."""
SATURATION = 0.5
"""Where a saturated amplifier clips: distance from the mean, in standard deviations of the row."""

LINE_PERIOD = 4.0
"""Samples per period of line noise, which is the same in all channels: 50 Hz at 200 Hz."""

SOURCE_ROWS = 512
"""Largest number of rows that are recombined; each comes back in every kind."""
PATCHES = (4, 8, 16)
"""Patches along the shorter side of an image, or along a signal, that are put in another order."""


def recombined(rows_N: NDArray[Any], fold_N: NDArray[Any], *, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Make rows of parts of others, and say which fold held out all of these parts.

    Patches in another order, in three sizes; the mean of two rows; and half of one row beside half of another. Two rows
    that meet are of one fold, so that there are models that saw neither.
    """
    random = np.random.default_rng(seed)
    chosen = np.sort(random.permutation(len(rows_N))[:SOURCE_ROWS])
    rows, fold = np.array(rows_N[chosen]), np.asarray(fold_N)[chosen]
    partner = np.arange(len(rows))
    for each in np.unique(fold):
        of_fold = random.permutation(np.flatnonzero(fold == each))
        partner[of_fold] = np.roll(of_fold, 1)
    other = rows[partner]
    mean = _in_type((rows.astype(np.float32) + other.astype(np.float32)) / 2, rows.dtype)
    # Images are divided along their height, signals along time.
    axis = 2 if rows.ndim == 3 else 1
    at_other = np.arange(rows.shape[axis]) >= rows.shape[axis] // 2
    beside = np.where(np.expand_dims(at_other, [i for i in range(rows.ndim) if i != axis]), other, rows)
    kinds = [*(_shuffled(rows, n, random) for n in PATCHES), mean, beside]
    return np.concatenate(kinds), np.tile(fold, len(kinds))


def _shuffled(rows: NDArray[Any], n: int, random: np.random.Generator) -> NDArray[Any]:
    """The rows with their patches in another order; what is left of a side beyond whole patches stays."""
    axes = (2,) if rows.ndim == 3 else (1, 2)
    side = max(1, min(rows.shape[axis] for axis in axes) // n)
    starts = [np.arange(0, rows.shape[axis] - side + 1, side) for axis in axes]
    corners = np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, len(axes))
    result = rows.copy()
    for one, source in zip(result, rows, strict=True):
        for to, start in zip(corners, corners[random.permutation(len(corners))], strict=True):
            one[_patch(to, side, rows.ndim)] = source[_patch(start, side, rows.ndim)]
    return result


def _patch(corner: NDArray[Any], side: int, ndim: int) -> tuple[slice, ...]:
    """Where a patch lies in one row."""
    slices = tuple(slice(start, start + side) for start in corner)
    return (slice(None), *slices) if ndim == 3 else slices


def corrupted(rows_N: NDArray[Any], *, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Corrupt rows in several ways: noise, saturation, line noise for signals, and half of the channels lost."""
    random = np.random.default_rng(seed)
    values = rows_N.astype(np.float32)
    rest = tuple(range(1, values.ndim))
    mean, deviation = values.mean(axis=rest, keepdims=True), values.std(axis=rest, keepdims=True)
    result = {
        "noise": values + NOISE * deviation * random.standard_normal(values.shape, dtype=np.float32),
        "saturation": np.clip(values, mean - SATURATION * deviation, mean + SATURATION * deviation),
    }
    if values.ndim == 3:
        phase = random.uniform(0, 2 * np.pi, (len(values), 1, 1))
        line = np.sqrt(2) * np.sin(2 * np.pi / LINE_PERIOD * np.arange(values.shape[2]) + phase)
        result["line noise"] = values + NOISE * deviation * line.astype(np.float32)
    axis = 1 if values.ndim == 3 else values.ndim - 1
    if (channels := values.shape[axis]) > 1:
        lost = random.permuted(np.tile(np.arange(channels) < max(1, channels // 2), (len(values), 1)), axis=1)
        shape = [len(values)] + [1] * (values.ndim - 1)
        shape[axis] = channels
        result["lost channels"] = np.where(lost.reshape(shape), 0.0, values)
    return {name: _in_type(rows, rows_N.dtype) for name, rows in result.items()}


def _in_type(values: NDArray[Any], kind: np.dtype[Any]) -> NDArray[Any]:
    if kind.kind in "ui":
        limits = np.iinfo(kind)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return values.astype(kind)
