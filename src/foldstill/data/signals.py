"""Signal processing shared by views: gaps, zero-phase filters, robust scale, short-time spectra, resizing.

E electrodes or other channels, T time, W samples of a window, P panels, H x W image. NumPy and SciPy only.
"""

from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.errors import DataError

Signal = NDArray[np.float32]
Interpolation = Literal["linear", "cubic"]

MAD_TO_SIGMA = 1.4826
"""A Gaussian's standard deviation over its median absolute deviation (Rousseeuw and Croux, 1993)."""


def all_finite(x: NDArray[Any]) -> bool:
    """Whether nothing is NaN or infinite, by one sum: NaN and infinity survive it, and no mask is made."""
    return bool(np.isfinite(x.sum(dtype=np.float64)))


def mean_for_gaps(x_ET: Signal) -> Signal:
    """Missing samples replaced by the channel's mean; a channel without any sample is zero."""
    if all_finite(x_ET):
        return x_ET
    known = np.isfinite(x_ET)
    count = known.sum(axis=-1, keepdims=True)
    mean = np.where(known, x_ET, 0).sum(axis=-1, keepdims=True, dtype=np.float64) / np.maximum(count, 1)
    return np.where(known, x_ET, mean.astype(x_ET.dtype))


def line_for_gaps(x_ET: Signal) -> Signal:
    """Missing samples replaced by a line between their neighbours, so that a filter does not ring at a gap's edge.

    Before the first and after the last known sample their value is kept; a channel without any sample is zero.
    """
    if all_finite(x_ET):
        return x_ET
    out = x_ET.copy()
    time = np.arange(x_ET.shape[-1])
    for row in out:
        known = np.isfinite(row)
        row[~known] = np.interp(time[~known], time[known], row[known]) if known.any() else 0.0
    return out


def band_pass(x_ET: Signal, low_hz: float, high_hz: float, *, order: int, sfreq_hz: float) -> Signal:
    """Butterworth band-pass run forwards and backwards, so that no wave is shifted in time.

    Second-order sections: at 0.25 Hz of 200 Hz the polynomial form of the same filter loses digits.
    """
    from scipy.signal import butter, sosfiltfilt

    if not 0 < low_hz < high_hz < sfreq_hz / 2:
        raise DataError(f"a band must rise and stay below {sfreq_hz / 2} Hz, got {low_hz} to {high_hz} Hz")
    sos = butter(order, (low_hz, high_hz), btype="bandpass", fs=sfreq_hz, output="sos")
    filtered: Signal = sosfiltfilt(sos, x_ET, axis=-1).astype(np.float32)
    return filtered


def robust_scale(x_ET: Signal) -> float:
    """The median over channels of their median absolute deviation, as a Gaussian's sigma; 1 where all are flat.

    One number for all channels keeps their proportions, and a few bad channels do not move it.
    """
    centred = np.abs(x_ET - np.median(x_ET, axis=-1, keepdims=True))
    scale = MAD_TO_SIGMA * float(np.median(np.median(centred, axis=-1)))
    return scale if scale > 0 else 1.0


def bin_means(x_ET: Signal, size: int) -> Signal:
    """Means of `size` neighbouring samples; what does not fill the last bin is left out."""
    n = x_ET.shape[-1] // size
    means: Signal = x_ET[..., : n * size].reshape(*x_ET.shape[:-1], n, size).mean(axis=-1)
    return means


def window_frames(x_ET: Signal, window: int, hop: int, padding: Literal["constant", "reflect"]) -> Signal:
    """Centred frames, (E, T // hop + 1, W): frame i covers `window` samples around sample i * hop."""
    padded = np.pad(x_ET, ((0, 0), (window // 2, window // 2)), mode=padding)
    frames: Signal = np.lib.stride_tricks.sliding_window_view(padded, window, axis=-1)[:, ::hop]
    return frames


@lru_cache(maxsize=16)
def half_bases(window: int, n_fft: int, first_bin: int, bins: int) -> tuple[Signal, Signal]:
    """Cosines and sines under the later half of a periodic Hann window, (W / 2, bins), phase zero at its centre."""
    after = np.arange(window // 2)
    hann = 0.5 + 0.5 * np.cos(2 * np.pi * after / window)
    phase = 2 * np.pi * np.outer(after, np.arange(first_bin, first_bin + bins)) / n_fft
    cosines = hann[:, None] * np.cos(phase)
    cosines[0] /= 2  # the centre is its own mirror image and would count twice
    return cosines.astype(np.float32), (hann[:, None] * np.sin(phase)).astype(np.float32)


def frame_power(frames: Signal, n_fft: int, first_bin: int, bins: int) -> Signal:
    """Squared magnitude of each Hann-windowed frame's transform of length `n_fft`: (rows, W), W even, to (rows, bins).

    A window of W samples zero-padded to `n_fft` has only W samples that count, and a band limit keeps few bins, so a
    product with a small matrix is that part of the transform, about ten times faster than an FFT of each padded frame.
    The window is symmetric: sums of mirrored samples carry the cosines, differences the sines, which halves the work.
    """
    window = frames.shape[-1]
    cosines, sines = half_bases(window, n_fft, first_bin, bins)
    after, before = frames[:, window // 2 :], frames[:, window // 2 : 0 : -1]
    power: Signal = np.matmul(after + before, cosines)
    np.square(power, out=power)
    odd = np.matmul(after - before, sines)
    np.square(odd, out=odd)
    power += odd
    return power


@lru_cache(maxsize=16)
def mel_filters(n_mels: int, n_fft: int, sfreq_hz: float, high_hz: float) -> Signal:
    """Triangular filters of equal area, evenly spaced on Slaney's mel scale from 0 to `high_hz`: (bins, mels).

    The scale is linear to 1 kHz and logarithmic above (Slaney, Auditory Toolbox, 1998), librosa's default. Bins are
    those of a real FFT of `n_fft` samples up to `high_hz`.
    """
    linear_hz, knee_hz, log_step = 200.0 / 3, 1000.0, np.log(6.4) / 27
    knee_mel = knee_hz / linear_hz
    top = high_hz / linear_hz if high_hz < knee_hz else knee_mel + np.log(high_hz / knee_hz) / log_step
    mels = np.linspace(0.0, top, n_mels + 2)
    edges = np.where(mels < knee_mel, mels * linear_hz, knee_hz * np.exp(log_step * (mels - knee_mel)))
    bins = np.arange(last_bin(n_fft, sfreq_hz, high_hz) + 1) * sfreq_hz / n_fft
    width = np.diff(edges)
    rising = (bins[:, None] - edges[:-2]) / width[:-1]
    falling = (edges[2:] - bins[:, None]) / width[1:]
    area = (edges[2:] - edges[:-2]) / 2
    filters: Signal = (np.maximum(0, np.minimum(rising, falling)) / area).astype(np.float32)
    return filters


def last_bin(n_fft: int, sfreq_hz: float, high_hz: float) -> int:
    """The highest bin of an FFT of `n_fft` samples that is not above `high_hz`."""
    return int(np.floor(high_hz * n_fft / sfreq_hz))


@lru_cache(maxsize=64)
def resize_weights(n_in: int, n_out: int, interpolation: Interpolation, antialias: bool) -> Signal:
    """What each of `n_in` samples gives to each of `n_out`: (n_out, n_in), pixel centres aligned, rows sum to one.

    Cubic is Keys' kernel (1981) with a = -0.75, or -0.5 with antialias, as in torch; antialias widens the kernel when
    shrinking.
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
        # Outside the image there is nothing to weigh; without antialias the edge sample is repeated instead.
        weight = np.where((tap >= 0) & (tap < n_in), weight, 0.0)
    weights = np.zeros((n_out, n_in))
    np.add.at(weights, (np.arange(n_out)[:, None], np.clip(tap, 0, n_in - 1)), weight)
    normed: Signal = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return normed


def resize(
    panels_PHW: Signal, height: int, width: int, *, interpolation: Interpolation = "linear", antialias: bool = True
) -> Signal:
    """Panels of another size, as two small matrix products; returned as they are where the size already fits."""
    _, h, w = panels_PHW.shape
    if h != height:
        panels_PHW = np.matmul(resize_weights(h, height, interpolation, antialias), panels_PHW, dtype=np.float32)
    if w != width:
        panels_PHW = np.matmul(panels_PHW, resize_weights(w, width, interpolation, antialias).T, dtype=np.float32)
    return panels_PHW
