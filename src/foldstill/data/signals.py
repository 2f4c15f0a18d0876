"""Signal processing that views share: gaps, zero-phase filters, robust scale, bins, resizing.

E electrodes or other channels, T time, P panels, H x W image.
"""

from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.arrays import Array, namespace
from foldstill.errors import DataError

Signal = NDArray[np.float32]
Interpolation = Literal["linear", "cubic"]

MAD_TO_SIGMA = 1.4826
"""A Gaussian's standard deviation over its median absolute deviation (Rousseeuw and Croux, 1993)."""


def all_finite(x: NDArray[Any]) -> bool:
    """Whether no value is NaN or infinite; one sum tells, because NaN and infinity survive it, and needs no mask."""
    return bool(np.isfinite(x.sum(dtype=np.float64)))


def mean_for_gaps(x_ET: Signal) -> Signal:
    """Missing samples replaced by the channel's mean; a channel without any sample is zero."""
    if all_finite(x_ET):
        return x_ET
    finite = np.isfinite(x_ET)
    count = finite.sum(axis=-1, keepdims=True)
    mean = np.where(finite, x_ET, 0).sum(axis=-1, keepdims=True, dtype=np.float64) / np.maximum(count, 1)
    return np.where(finite, x_ET, mean.astype(x_ET.dtype))


def line_for_gaps(x_ET: Signal) -> Signal:
    """Missing samples replaced by a line between their neighbours, so that a filter does not ring at a gap's edge.

    Before the first and after the last sample that is not missing, its value is repeated; a channel without any sample
    is zero.
    """
    if all_finite(x_ET):
        return x_ET
    out = x_ET.copy()
    time = np.arange(x_ET.shape[-1])
    for row in out:
        finite = np.isfinite(row)
        row[~finite] = np.interp(time[~finite], time[finite], row[finite]) if finite.any() else 0.0
    return out


def band_pass(x_ET: Signal, low_hz: float, high_hz: float, *, order: int, sfreq_hz: float) -> Signal:
    """Butterworth band-pass that runs forwards and backwards, so that no wave is shifted in time.

    It uses second-order sections, because at 0.25 Hz of 200 Hz the polynomial form of the same filter loses digits.
    """
    from scipy.signal import butter, sosfiltfilt

    if not 0 < low_hz < high_hz < sfreq_hz / 2:
        raise DataError(f"a band needs 0 < low < high < {sfreq_hz / 2} Hz, got {low_hz} to {high_hz} Hz")
    sos = butter(order, (low_hz, high_hz), btype="bandpass", fs=sfreq_hz, output="sos")
    filtered: Signal = sosfiltfilt(sos, x_ET, axis=-1).astype(np.float32)
    return filtered


def robust_scale(x_ET: Signal) -> float:
    """The median over channels of their median absolute deviation, as the sigma of a Gaussian; 1 where all are flat.

    One number for all channels keeps their proportions, and a few bad channels do not change it much.
    """
    centred = np.abs(x_ET - np.median(x_ET, axis=-1, keepdims=True))
    scale = MAD_TO_SIGMA * float(np.median(np.median(centred, axis=-1)))
    return scale if scale > 0 else 1.0


def bin_means(x_ET: Signal, size: int) -> Signal:
    """Means of `size` neighbouring samples; samples that do not fill the last bin are left out."""
    n = x_ET.shape[-1] // size
    means: Signal = x_ET[..., : n * size].reshape(*x_ET.shape[:-1], n, size).mean(axis=-1)
    return means


@lru_cache(maxsize=64)
def resize_weights(n_in: int, n_out: int, interpolation: Interpolation, antialias: bool) -> Signal:
    """Weight of each of `n_in` samples in each of `n_out`: (n_out, n_in), pixel centres aligned, rows sum to one.

    Cubic is the kernel of Keys (1981) with a = -0.75, or -0.5 with antialias, as in torch; antialias widens the kernel
    when shrinking.
    """
    scale = n_in / n_out
    stretch = max(scale, 1.0) if antialias else 1.0
    centre = (np.arange(n_out) + 0.5) * scale - 0.5
    reach = {"linear": 1, "cubic": 2}[interpolation]
    span = int(np.ceil(reach * stretch)) + 1
    tap = np.floor(centre).astype(np.int64)[:, None] + np.arange(-span, span + 1)
    distance = np.abs(tap - centre[:, None]) / stretch
    if interpolation == "linear":
        weight = np.maximum(0.0, 1.0 - distance)
    else:
        a = -0.5 if antialias else -0.75
        near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
        far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
        weight = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
    if antialias:
        # Samples outside the image have no weight; without antialias the edge sample is repeated instead.
        weight = np.where((tap >= 0) & (tap < n_in), weight, 0.0)
    weights = np.zeros((n_out, n_in))
    np.add.at(weights, (np.arange(n_out)[:, None], np.clip(tap, 0, n_in - 1)), weight)
    normed: Signal = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return normed


def resize(
    panels_PHW: Array, height: int, width: int, *, interpolation: Interpolation = "linear", antialias: bool = True
) -> Array:
    """Panels (..., H, W) resized by two small matrix products; unchanged where they have the size already."""
    xp = namespace(panels_PHW)
    h, w = panels_PHW.shape[-2:]
    if h != height:
        down = xp.asarray(resize_weights(h, height, interpolation, antialias), device=panels_PHW.device)
        panels_PHW = xp.matmul(down, panels_PHW)
    if w != width:
        across = xp.asarray(resize_weights(w, width, interpolation, antialias), device=panels_PHW.device)
        panels_PHW = xp.matmul(panels_PHW, across.T)
    return panels_PHW
