"""Views of the EEG: three spectrogram recipes over the double banana, and the signals themselves.

E electrodes or pairs, T time, P panels (chains LL, LP, RP, RL), H x W image.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from foldstill.data.hms.image import (
    Bounds,
    Layout,
    Normalise,
    Source,
    check_choices,
    check_positive,
    finish,
    image_shape,
)
from foldstill.data.hms.montage import (
    CHAIN_PAIRS,
    CHAINS,
    EEG_SECONDS,
    MIDLINE_PAIRS,
    SFREQ_HZ,
    channel_index,
)
from foldstill.data.hms.record import Record
from foldstill.data.signals import (
    Signal,
    band_pass,
    bin_means,
    frame_power,
    line_for_gaps,
    mean_for_gaps,
    mel_filters,
    resize,
    robust_scale,
    window_frames,
)
from foldstill.errors import DataError

EEG: frozenset[Source] = frozenset({"eeg"})
PAIRS_A_CHAIN = 4
_FIRST = channel_index(tuple(a for a, _ in CHAIN_PAIRS))
_SECOND = channel_index(tuple(b for _, b in CHAIN_PAIRS))
_POWER_FLOOR = 1e-10


def chain_differences(eeg_ET: Signal) -> Signal:
    """The sixteen differences of neighbours, (16, T), chain by chain from left to right."""
    differences: Signal = eeg_ET[_FIRST] - eeg_ET[_SECOND]
    return differences


@dataclass(frozen=True)
class MelSpectrogram:
    """The public competition recipe: mel power of each difference in dB below its own maximum, mean over a chain.

    The numbers of librosa's melspectrogram and power_to_db with ref=max to 1e-4 (measured 1e-5), by a matrix product.
    """

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid"}
    needs: ClassVar[frozenset[Source]] = EEG

    kind: Literal["mel"] = "mel"
    name: str = "mel"
    """What members ask for."""
    n_mels: int = 128
    """Mel bands: the height of a panel."""
    width: int = 256
    """Columns of a panel over 50 s."""
    window: int = 128
    """Samples of the Hann window."""
    n_fft: int = 1024
    """Length of the zero-padded transform."""
    high_hz: float = 20.0
    """Highest frequency of the mel bands, which begin at 0 Hz."""
    top_db: float = 80.0
    """Range below the maximum; what is weaker is cut off."""
    layout: Layout = "channels"
    """A channel for each chain, or the chains stacked in one channel."""
    normalise: Normalise = "none"
    """By the mean and standard deviation of the image (instance) or of each panel."""

    def __post_init__(self) -> None:
        check_choices(self.layout, self.normalise, f"view {self.name}")
        check_positive(
            f"view {self.name}", n_mels=self.n_mels, width=self.width, window=self.window, top_db=self.top_db
        )
        if self.window % 2 or self.n_fft < self.window:
            raise DataError(
                f"view {self.name} needs an even window of at most n_fft, got {self.window} and {self.n_fft}"
            )
        if self.top_db > 80:
            raise DataError(f"view {self.name}.top_db must be at most 80, got {self.top_db}: float32 holds no more")
        if not 0 < self.high_hz <= SFREQ_HZ / 2:
            raise DataError(f"view {self.name}.high_hz must be in (0, {SFREQ_HZ // 2}], got {self.high_hz}")
        if self.width > SFREQ_HZ * EEG_SECONDS:
            raise DataError(f"view {self.name}.width must be at most {SFREQ_HZ * EEG_SECONDS}, got {self.width}")

    @property
    def panels_shape(self) -> tuple[int, int, int]:
        return (len(CHAINS), self.n_mels, self.width)

    @property
    def shape(self) -> tuple[int, ...]:
        return image_shape(self.panels_shape, self.layout)

    @property
    def bounds(self) -> Bounds:
        return (-1.0, 1.0) if self.normalise == "none" else None

    def panels(self, record: Record) -> Signal:
        x_ET = mean_for_gaps(chain_differences(record.eeg_window()))
        filters = mel_filters(self.n_mels, self.n_fft, SFREQ_HZ, self.high_hz)
        panels_PWH = np.empty((len(CHAINS), self.width, self.n_mels), np.float32)
        # A pair at a time stays in the cache and in memory the process already has: all at once take twice as long.
        for i, frames in enumerate(window_frames(x_ET, self.window, x_ET.shape[1] // self.width, "constant")):
            mel = frame_power(frames, self.n_fft, 0, len(filters)) @ filters
            # The reference is the maximum of every frame, also of those cut off here: leaving them out changes images.
            peak = max(float(mel.max()), _POWER_FLOOR)
            mel = mel[: self.width]
            mel *= 1 / peak
            np.maximum(mel, max(10 ** (-self.top_db / 10), _POWER_FLOOR / peak), out=mel)
            # The mean of four logarithms is one logarithm of the product: 1e-8 to the fourth is still a normal float32.
            panel = panels_PWH[i // PAIRS_A_CHAIN]
            if i % PAIRS_A_CHAIN == 0:
                panel[:] = mel
            else:
                panel *= mel
        np.log10(panels_PWH, out=panels_PWH)
        panels_PWH *= np.float32(20 / PAIRS_A_CHAIN / self.top_db)
        panels_PWH += 1
        return panels_PWH.transpose(0, 2, 1)

    def make(self, record: Record) -> Signal:
        return finish(self.panels(record), self.layout, self.normalise)


@dataclass(frozen=True)
class ScipySpectrogram:
    """SciPy's spectrogram with its defaults (Tukey window): power averaged over a chain, clipped, log, resized."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid"}
    needs: ClassVar[frozenset[Source]] = EEG

    kind: Literal["scipy_spectrogram"] = "scipy_spectrogram"
    name: str = "scipy_spectrogram"
    """What members ask for."""
    window: int = 150
    """Samples of the window."""
    overlap: int = 128
    """Samples that neighbouring windows share."""
    n_fft: int = 256
    """Length of the transform; half of it and one are the bins of a chain."""
    crop: Literal["label", "whole"] = "label"
    """The label's 50 s, or the whole recording whatever its length."""
    log_low: float = -6.0
    """Natural logarithm of the lowest power kept."""
    log_high: float = 10.0
    """Natural logarithm of the highest power kept."""
    height: int = 128
    """Rows of a panel after resizing."""
    width: int = 512
    """Columns after resizing."""
    layout: Layout = "stack"
    """A channel for each chain, or the chains stacked in one channel."""
    normalise: Normalise = "none"
    """By the mean and standard deviation of the image (instance) or of each panel."""

    def __post_init__(self) -> None:
        check_choices(self.layout, self.normalise, f"view {self.name}")
        check_positive(f"view {self.name}", window=self.window, height=self.height, width=self.width)
        if not 0 <= self.overlap < self.window <= self.n_fft:
            raise DataError(
                f"view {self.name} needs overlap < window <= n_fft, got {self.overlap}, {self.window} and {self.n_fft}"
            )
        if self.log_low >= self.log_high:
            raise DataError(f"view {self.name}.log_low must be below log_high, got {self.log_low} and {self.log_high}")

    @property
    def panels_shape(self) -> tuple[int, int, int]:
        return (len(CHAINS), self.height, self.width)

    @property
    def shape(self) -> tuple[int, ...]:
        return image_shape(self.panels_shape, self.layout)

    @property
    def bounds(self) -> Bounds:
        return (self.log_low, self.log_high) if self.normalise == "none" else None

    def full_panels(self, record: Record) -> Signal:
        """Log power before resizing, (4, n_fft // 2 + 1, frames); a frame with a missing sample is lowest."""
        from scipy.signal import spectrogram

        x_ET = chain_differences(record.eeg_window() if self.crop == "label" else record.eeg())
        if x_ET.shape[1] < self.window:
            raise DataError(f"view {self.name} needs {self.window} samples, the recording has {x_ET.shape[1]}")
        _, _, power = spectrogram(x_ET, nperseg=self.window, noverlap=self.overlap, nfft=self.n_fft)
        chains = power.reshape(len(CHAINS), PAIRS_A_CHAIN, *power.shape[1:]).mean(axis=1)
        low, high = math.exp(self.log_low), math.exp(self.log_high)
        logs: Signal = np.log(np.clip(np.nan_to_num(chains, nan=low), low, high)).astype(np.float32)
        return logs

    def panels(self, record: Record) -> Signal:
        return resize(self.full_panels(record), self.height, self.width)

    def make(self, record: Record) -> Signal:
        return finish(self.panels(record), self.layout, self.normalise)


@dataclass(frozen=True)
class StftSpectrogram:
    """Short-time Fourier magnitudes of the filtered, robustly scaled differences: log, mean over a chain."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid"}
    needs: ClassVar[frozenset[Source]] = EEG

    kind: Literal["stft"] = "stft"
    name: str = "stft"
    """What members ask for."""
    low_hz: float = 0.25
    """Lower edge of the band-pass."""
    high_hz: float = 40.0
    """Upper edge of the band-pass."""
    order: int = 5
    """Order of the Butterworth filter, run forwards and backwards."""
    window: int = 256
    """Samples of the Hann window."""
    n_fft: int = 800
    """Length of the zero-padded transform: bins are 200 / n_fft Hz apart."""
    hop: int = 44
    """Samples between columns."""
    first_bin: int = 2
    """First bin kept."""
    bins: int = 96
    """Bins kept: the height of a panel."""
    scale: float = 15.0
    """Magnitudes are divided by this."""
    log_low: float = -4.0
    """Natural logarithm of the lowest magnitude kept."""
    log_high: float = 7.0
    """Natural logarithm of the highest magnitude kept."""
    trim: int = 2
    """Columns dropped at either end."""
    shift: float = 1.0
    """Added at the end, which centres the values."""
    layout: Layout = "channels"
    """A channel for each chain, or the chains stacked in one channel."""
    normalise: Normalise = "none"
    """By the mean and standard deviation of the image (instance) or of each panel."""

    def __post_init__(self) -> None:
        check_choices(self.layout, self.normalise, f"view {self.name}")
        check_positive(f"view {self.name}", order=self.order, hop=self.hop, bins=self.bins, scale=self.scale)
        if not 0 < self.low_hz < self.high_hz < SFREQ_HZ / 2:
            raise DataError(
                f"view {self.name} needs 0 < low_hz < high_hz < {SFREQ_HZ // 2}, got {self.low_hz}, {self.high_hz}"
            )
        if (
            self.window % 2
            or not 0 < self.window <= self.n_fft
            or not 0 <= self.first_bin <= self.n_fft // 2 + 1 - self.bins
        ):
            raise DataError(
                f"view {self.name} needs an even window <= n_fft and first_bin + bins <= n_fft / 2 + 1, "
                f"got window {self.window}, n_fft {self.n_fft}, first_bin {self.first_bin}, bins {self.bins}"
            )
        if self.log_low >= self.log_high:
            raise DataError(f"view {self.name}.log_low must be below log_high, got {self.log_low} and {self.log_high}")
        if self.trim < 0 or self.panels_shape[2] < 1:
            raise DataError(f"view {self.name}.trim of {self.trim} leaves no column: choose a smaller one")

    @property
    def panels_shape(self) -> tuple[int, int, int]:
        return (len(CHAINS), self.bins, SFREQ_HZ * EEG_SECONDS // self.hop + 1 - 2 * self.trim)

    @property
    def shape(self) -> tuple[int, ...]:
        return image_shape(self.panels_shape, self.layout)

    @property
    def bounds(self) -> Bounds:
        return (self.log_low + self.shift, self.log_high + self.shift) if self.normalise == "none" else None

    def panels(self, record: Record) -> Signal:
        x_ET = chain_differences(line_for_gaps(record.eeg_window()))
        x_ET = band_pass(x_ET, self.low_hz, self.high_hz, order=self.order, sfreq_hz=SFREQ_HZ)
        x_ET /= np.float32(robust_scale(x_ET))
        # Reflected by half a transform as torch.stft does; only half a window of it is ever weighted.
        frames = window_frames(x_ET, self.window, self.hop, "reflect")
        columns = slice(self.trim, frames.shape[1] - self.trim)
        panels_PWH = np.zeros((len(CHAINS), frames.shape[1] - 2 * self.trim, self.bins), np.float32)
        # Logarithms of power: half of them are those of magnitudes.
        low, high = (math.exp(2 * bound) * self.scale**2 for bound in (self.log_low, self.log_high))
        for i, pair in enumerate(frames[:, columns]):
            power = frame_power(pair, self.n_fft, self.first_bin, self.bins)
            panels_PWH[i // PAIRS_A_CHAIN] += np.log(np.clip(power, low, high, out=power), out=power)
        panels_PWH *= np.float32(0.5 / PAIRS_A_CHAIN)
        panels_PWH += np.float32(self.shift - math.log(self.scale))
        return panels_PWH.transpose(0, 2, 1)

    def make(self, record: Record) -> Signal:
        return finish(self.panels(record), self.layout, self.normalise)


@dataclass(frozen=True)
class RawEeg:
    """The signals: 16 banana differences, Fz-Cz, Cz-Pz, EKG; zero-phase filter, bins, robust scale, clip."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid"}
    needs: ClassVar[frozenset[Source]] = EEG

    kind: Literal["raw_eeg"] = "raw_eeg"
    name: str = "raw_eeg"
    """What members ask for."""
    low_hz: float = 0.25
    """Lower edge of the band-pass of the EEG."""
    high_hz: float = 50.0
    """Upper edge of the band-pass of the EEG."""
    ekg_low_hz: float = 0.5
    """Lower edge of the band-pass of the EKG."""
    ekg_high_hz: float = 20.0
    """Upper edge of the band-pass of the EKG."""
    order: int = 4
    """Order of the Butterworth filters, run forwards and backwards."""
    bin_size: int = 4
    """Samples averaged into one: 4 gives 50 Hz."""
    seconds: float = 50.0
    """Length, in the middle of the label's 50 s."""
    clip: float = 10.0
    """Values beyond this many robust standard deviations are cut off."""

    def __post_init__(self) -> None:
        check_positive(f"view {self.name}", order=self.order, bin_size=self.bin_size, clip=self.clip)
        for low, high in ((self.low_hz, self.high_hz), (self.ekg_low_hz, self.ekg_high_hz)):
            if not 0 < low < high < SFREQ_HZ / 2:
                raise DataError(f"view {self.name} needs bands inside 0 and {SFREQ_HZ // 2} Hz, got {low} to {high} Hz")
        if not 0 < self.seconds <= EEG_SECONDS:
            raise DataError(f"view {self.name}.seconds must be in (0, {EEG_SECONDS}], got {self.seconds}")

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(CHAIN_PAIRS) + len(MIDLINE_PAIRS) + 1, round(self.seconds * SFREQ_HZ) // self.bin_size)

    @property
    def bounds(self) -> Bounds:
        return None

    def make(self, record: Record) -> Signal:
        # Filtered over all 50 s, then cut: the filter's ends stay outside a shorter window.
        eeg_ET = line_for_gaps(record.eeg_window())
        midline = [eeg_ET[channel_index((a,))] - eeg_ET[channel_index((b,))] for a, b in MIDLINE_PAIRS]
        brain = np.concatenate([chain_differences(eeg_ET), *midline])
        parts = []
        for x_ET, low, high in (
            (brain, self.low_hz, self.high_hz),
            (eeg_ET[channel_index(("EKG",))], self.ekg_low_hz, self.ekg_high_hz),
        ):
            x = band_pass(x_ET, low, high, order=self.order, sfreq_hz=SFREQ_HZ)
            cut = (x.shape[1] - round(self.seconds * SFREQ_HZ)) // 2
            x = bin_means(x[:, cut : x.shape[1] - cut], self.bin_size)
            x -= np.median(x, axis=-1, keepdims=True)
            parts.append(x / np.float32(robust_scale(x)))
        return np.clip(np.concatenate(parts), -self.clip, self.clip)[:, : self.shape[1]]
