"""How views are stored: bounded values in eight bits, others in half precision."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.signals import Signal

Bounds = tuple[float, float] | None
"""Lowest and highest value of a view; None where there are none."""


def stored_dtype(bounds: Bounds) -> np.dtype[Any]:
    """uint8 for bounded values, which resolves 1/255 of their range; float16 otherwise."""
    return np.dtype(np.float16 if bounds is None else np.uint8)


def encode(values: Signal, bounds: Bounds) -> NDArray[Any]:
    """Values as they are stored: 0 to 255 between `bounds`, or float16."""
    if bounds is None:
        return np.clip(values, -65504, 65504).astype(np.float16)
    low, high = bounds
    scaled = values * np.float32(255 / (high - low))
    scaled += np.float32(0.5 - low * 255 / (high - low))
    np.clip(scaled, 0, 255, out=scaled)
    return scaled.astype(np.uint8)


def decode(stored: NDArray[Any], bounds: Bounds, out: Signal | None = None) -> Signal:
    """Stored values as float32, written into `out` if it is not None.

    A reused buffer is several times faster than a new array. One sample at a time stays in the processor's cache, which
    is faster than a batch.
    """
    if out is None:
        out = np.empty(stored.shape, np.float32)
    np.copyto(out, stored, casting="unsafe")
    if bounds is not None:
        low, high = bounds
        out *= np.float32((high - low) / 255)
        out += np.float32(low)
    return out
