"""Spectrograms of the EEG over the double banana: the public mel recipe, SciPy's defaults, and a filtered STFT.

B records, E differences, T time, P panels (chains LL, LP, RP, RL), H x W image.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from foldstill.data.arrays import Array, namespace
from foldstill.data.signals import Signal, band_pass, line_for_gaps, mean_for_gaps, resize, robust_scale
from foldstill.data.spectra import SCIPY, extended, frame_power, mel_filters, taper_power, window_frames
from foldstill.errors import DataError
from foldstill.hms.band import BandPassed
from foldstill.hms.chains import PAIRS_PER_CHAIN, ChainSpectrogram, chain_differences
from foldstill.hms.image import Layout, LogPanelView, SizedPanelView, check_band, check_positive
from foldstill.hms.montage import CHAINS, EEG_SECONDS, SFREQ_HZ
from foldstill.hms.record import Record

if TYPE_CHECKING:
    from typing import Self

_POWER_FLOOR = 1e-10


@dataclass(frozen=True, kw_only=True)
class MelSpectrogram(ChainSpectrogram, kind="mel", title="Mel spectrogram"):
    """The public competition recipe: mel power of each difference in dB below its own maximum, averaged over a chain.

    Values agree with librosa's melspectrogram and power_to_db with ref=max to 1e-4.

    Examples
    --------
    >>> MelSpectrogram(n_mels=64, width=128).shape
    (64, 128, 4)
    """

    n_mels: int = 128
    """Number of mel bands, which is the height of a panel."""
    width: int = 256
    """Number of columns of a panel, which covers 50 s."""
    window: int = 128
    """Length of the Hann window in samples."""
    n_fft: int = 1024
    """Length of the zero-padded Fourier transform in samples."""
    high_hz: float = 20.0
    """Upper end of the mel bands in Hz; they begin at 0 Hz."""
    top_db: float = 80.0
    """Range below the maximum in dB; weaker values are clipped."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self.where, n_mels=self.n_mels, width=self.width, window=self.window, top_db=self.top_db)
        if self.window % 2 or self.n_fft < self.window:
            raise DataError(f"{self.where} needs an even window of at most n_fft, got {self.window} and {self.n_fft}")
        if self.top_db > 80:
            raise DataError(f"{self.where}.top_db must be at most 80, got {self.top_db}: float32 cannot resolve more")
        if not 0 < self.high_hz <= SFREQ_HZ / 2:
            raise DataError(f"{self.where}.high_hz must be in (0, {SFREQ_HZ // 2}], got {self.high_hz}")
        if self.width > SFREQ_HZ * EEG_SECONDS:
            raise DataError(f"{self.where}.width must be at most {SFREQ_HZ * EEG_SECONDS}, got {self.width}")

    @classmethod
    def example(cls) -> "Self":
        return cls(n_mels=16, width=32)

    @property
    def panels_shape(self) -> tuple[int, int, int]:
        return (len(CHAINS), self.n_mels, self.width)

    @property
    def panels_bounds(self) -> tuple[float, float]:
        return (-1.0, 1.0)

    def signals(self, record: Record) -> Signal:
        return extended(mean_for_gaps(chain_differences(record.eeg_window())), self.window, "constant")

    def spectra(self, x_BET: Array) -> Array:
        xp = namespace(x_BET)
        filters = xp.asarray(mel_filters(self.n_mels, self.n_fft, SFREQ_HZ, self.high_hz), device=x_BET.device)
        shape = (len(x_BET), len(CHAINS), self.width, self.n_mels)
        panels_BPWH = xp.ones(shape, dtype=x_BET.dtype, device=x_BET.device)
        frames_BEFW = window_frames(x_BET, self.window, SFREQ_HZ * EEG_SECONDS // self.width)
        # A pair at a time stays in the cache and in memory the process already has: all at once take twice as long.
        for i in range(x_BET.shape[1]):
            mel = frame_power(frames_BEFW[:, i], self.n_fft, 0, len(filters)) @ filters
            # The reference is the maximum of every frame, also of those cut off here: leaving them out changes images.
            peak_B = xp.clip(xp.amax(mel, axis=(1, 2), keepdims=True), _POWER_FLOOR, None)
            mel = mel[:, : self.width]
            mel *= 1 / peak_B
            xp.maximum(mel, xp.clip(_POWER_FLOOR / peak_B, 10 ** (-self.top_db / 10), None), out=mel)
            # The mean of four logarithms is one logarithm of the product: 1e-8 to the fourth is still a normal float32.
            panels_BPWH[:, i // PAIRS_PER_CHAIN] *= mel
        xp.log10(panels_BPWH, out=panels_BPWH)
        panels_BPWH *= 20 / PAIRS_PER_CHAIN / self.top_db
        panels_BPWH += 1
        return panels_BPWH.swapaxes(2, 3)


@dataclass(frozen=True, kw_only=True)
class ScipySpectrogram(
    ChainSpectrogram, SizedPanelView, LogPanelView, kind="scipy_spectrogram", title="SciPy spectrogram"
):
    """SciPy's spectrogram with its defaults (Tukey window): power averaged over a chain, clipped, log-scaled, resized.

    Examples
    --------
    >>> ScipySpectrogram(height=64, width=128).shape
    (256, 128, 1)
    """

    window: int = 150
    """Length of the window in samples, an even number."""
    overlap: int = 128
    """Number of samples that neighbouring windows share."""
    n_fft: int = 256
    """Length of the Fourier transform in samples; a chain has half of it plus one frequency bins."""
    crop: Literal["label", "whole"] = "label"
    """Whether the view covers the label's 50 s, or the whole recording, whatever its length."""
    log_low: float = -6.0
    log_high: float = 10.0
    width: int = 512
    layout: Layout = "stack"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self.where, window=self.window)
        if self.window % 2 or not 0 <= self.overlap < self.window <= self.n_fft:
            raise DataError(
                f"{self.where} needs overlap < window <= n_fft and an even window, got overlap {self.overlap}, window "
                f"{self.window} and n_fft {self.n_fft}"
            )

    @classmethod
    def example(cls) -> "Self":
        return cls(height=16, width=32)

    def signals(self, record: Record) -> Signal:
        x_ET = chain_differences(record.eeg_window() if self.crop == "label" else record.eeg())
        if x_ET.shape[1] < self.window:
            raise DataError(f"{self.where} needs {self.window} samples, the recording has {x_ET.shape[1]}")
        return x_ET

    def full_spectra(self, x_BET: Array) -> Array:
        """Log power before resizing, (B, 4, n_fft // 2 + 1, frames); frames with a missing sample are lowest."""
        xp, bins = namespace(x_BET), self.n_fft // 2 + 1
        chains: list[Array] = [0.0] * len(CHAINS)
        frames_BEFW = window_frames(x_BET, self.window, self.window - self.overlap)
        for i in range(x_BET.shape[1]):
            frames = frames_BEFW[:, i] - frames_BEFW[:, i].mean(axis=-1, keepdims=True)
            chains[i // PAIRS_PER_CHAIN] += frame_power(frames, self.n_fft, 0, bins, SCIPY)
        power_BPWH = xp.stack(chains, 1)
        # Both halves of the spectrum, but 0 Hz and the Nyquist frequency have only one.
        sides = np.where(np.arange(bins) * 2 % self.n_fft, 2.0, 1.0) / (
            taper_power(self.window, SCIPY) * PAIRS_PER_CHAIN
        )
        power_BPWH *= xp.asarray(sides, dtype=x_BET.dtype, device=x_BET.device)
        low, high = math.exp(self.log_low), math.exp(self.log_high)
        xp.clip(xp.nan_to_num(power_BPWH, nan=low), low, high, out=power_BPWH)
        return xp.log(power_BPWH, out=power_BPWH).swapaxes(2, 3)

    def spectra(self, x_BET: Array) -> Array:
        return resize(self.full_spectra(x_BET), self.height, self.width)


@dataclass(frozen=True, kw_only=True)
class StftSpectrogram(BandPassed, ChainSpectrogram, LogPanelView, kind="stft", title="STFT"):
    """Short-time Fourier magnitudes of the filtered, robustly scaled differences: log-scaled, averaged over a chain.

    Examples
    --------
    >>> StftSpectrogram(hop=88).shape
    (96, 110, 4)
    """

    order: int = 5
    window: int = 256
    """Length of the Hann window in samples."""
    n_fft: int = 800
    """Length of the zero-padded Fourier transform in samples; frequency bins are 200 / n_fft Hz apart."""
    hop: int = 44
    """Number of samples between columns."""
    first_bin: int = 2
    """Number of the first frequency bin that is used."""
    bins: int = 96
    """Number of frequency bins, which is the height of a panel."""
    scale: float = 15.0
    """Number by which magnitudes are divided."""
    log_high: float = 7.0
    trim: int = 2
    """Number of columns dropped at each end."""
    shift: float = 1.0
    """Number added at the end, which centres the values."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self.where, order=self.order, hop=self.hop, bins=self.bins, scale=self.scale)
        check_band(self.where, self.low_hz, self.high_hz, SFREQ_HZ / 2)
        if (
            self.window % 2
            or not 0 < self.window <= self.n_fft
            or not 0 <= self.first_bin <= self.n_fft // 2 + 1 - self.bins
        ):
            raise DataError(
                f"{self.where} needs an even window <= n_fft and first_bin + bins <= n_fft / 2 + 1, "
                f"got window {self.window}, n_fft {self.n_fft}, first_bin {self.first_bin}, bins {self.bins}"
            )
        if self.trim < 0 or self.panels_shape[2] < 1:
            raise DataError(f"{self.where}.trim of {self.trim} leaves no column: choose a smaller one")

    @classmethod
    def example(cls) -> "Self":
        return cls(hop=400, bins=16)

    @property
    def panels_shape(self) -> tuple[int, int, int]:
        return (len(CHAINS), self.bins, SFREQ_HZ * EEG_SECONDS // self.hop + 1 - 2 * self.trim)

    @property
    def panels_bounds(self) -> tuple[float, float]:
        return (self.log_low + self.shift, self.log_high + self.shift)

    def signals(self, record: Record) -> Signal:
        x_ET = chain_differences(line_for_gaps(record.eeg_window()))
        x_ET = band_pass(x_ET, self.low_hz, self.high_hz, order=self.order, sfreq_hz=SFREQ_HZ)
        x_ET /= np.float32(robust_scale(x_ET))
        # Reflected by half a transform as torch.stft does; only half a window of it is ever weighted.
        return extended(x_ET, self.window, "reflect")

    def spectra(self, x_BET: Array) -> Array:
        xp = namespace(x_BET)
        _, height, width = self.panels_shape
        panels_BPWH = xp.zeros((len(x_BET), len(CHAINS), width, height), dtype=x_BET.dtype, device=x_BET.device)
        # Logarithms of power: half of them are those of magnitudes.
        low, high = (math.exp(2 * bound) * self.scale**2 for bound in (self.log_low, self.log_high))
        frames_BEFW = window_frames(x_BET, self.window, self.hop)[:, :, self.trim : self.trim + width]
        for i in range(x_BET.shape[1]):
            power = frame_power(frames_BEFW[:, i], self.n_fft, self.first_bin, self.bins)
            panels_BPWH[:, i // PAIRS_PER_CHAIN] += xp.log(xp.clip(power, low, high, out=power), out=power)
        panels_BPWH *= 0.5 / PAIRS_PER_CHAIN
        panels_BPWH += self.shift - math.log(self.scale)
        return panels_BPWH.swapaxes(2, 3)
