"""Corrupt rows, to test whether uncertainty rises on them: noise, saturated sensors and lost channels.

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
