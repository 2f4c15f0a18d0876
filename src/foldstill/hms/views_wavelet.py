"""Views by wavelets: the scalogram, sharp in time and frequency alike, and any EEG view of denoised signals.

E electrodes, P panels (chains LL, LP, RP, RL), H x W image.
"""

import math
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np

from foldstill.data.signals import Signal, line_for_gaps
from foldstill.data.wavelets import Threshold, morlet_power, wavelet_denoise
from foldstill.errors import DataError
from foldstill.hms.chains import EEG, PAIRS_A_CHAIN, chain_differences
from foldstill.hms.image import (
    Bounds,
    Layout,
    Normalise,
    PanelView,
    Source,
    check_log_range,
    check_positive,
)
from foldstill.hms.montage import CHAINS, EEG_SECONDS, SFREQ_HZ
from foldstill.hms.record import Record
from foldstill.hms.views_raw import RawEeg
from foldstill.hms.views_spectra import MelSpectrogram, ScipySpectrogram, StftSpectrogram
from foldstill.settings import ByKind, Settings


@dataclass(frozen=True)
class Scalogram(PanelView):
    """Amplitude by Morlet wavelets of each difference, frequencies evenly spaced in octaves: log, mean over a chain.

    Low rhythms get many columns' worth of time and fast ones few, where a spectrogram gives both the same window.
    """

    needs: ClassVar[frozenset[Source]] = EEG

    kind: Literal["scalogram"] = "scalogram"
    name: str = "scalogram"
    """What members ask for."""
    low_hz: float = 0.5
    """Lowest frequency."""
    high_hz: float = 30.0
    """Highest frequency."""
    height: int = 64
    """Frequencies: the height of a panel."""
    width: int = 256
    """Columns of a panel over 50 s, a multiple of 8."""
    cycles: float = 3.0
    """Cycles of a wavelet: more are sharper in frequency and less so in time."""
    order: int = 1
    """1 is the Morlet scalogram; above, superlets, geometric means of as many wavelets of ever more cycles."""
    log_low: float = -3.0
    """Natural logarithm of the lowest amplitude kept, in microvolts."""
    log_high: float = 7.0
    """Natural logarithm of the highest amplitude kept."""
    layout: Layout = "channels"
    """A channel for each chain, or the chains stacked in one channel."""
    normalise: Normalise = "none"
    """By the mean and standard deviation of the image (instance) or of each panel."""

    def __post_init__(self) -> None:
        super().__post_init__()
        where = self.where
        check_positive(where, height=self.height, width=self.width, order=self.order)
        if not 0 < self.low_hz < self.high_hz < SFREQ_HZ / 2:
            raise DataError(f"{where} needs 0 < low_hz < high_hz < {SFREQ_HZ // 2}, got {self.low_hz}, {self.high_hz}")
        if self.width % 8 or self.width > SFREQ_HZ * EEG_SECONDS:
            raise DataError(
                f"{where}.width must be a multiple of 8 of at most {SFREQ_HZ * EEG_SECONDS}, got {self.width}"
            )
        if self.cycles < 3:
            raise DataError(
                f"{where}.cycles must be 3 or more, got {self.cycles}: fewer have a mean and see slow drift"
            )
        check_log_range(where, self.log_low, self.log_high)

    @property
    def panels_shape(self) -> tuple[int, int, int]:
        return (len(CHAINS), self.height, self.width)

    @property
    def panels_bounds(self) -> tuple[float, float]:
        return (self.log_low, self.log_high)

    def panels(self, record: Record) -> Signal:
        x_ET = chain_differences(line_for_gaps(record.eeg_window()))
        hertz_F = np.geomspace(self.low_hz, self.high_hz, self.height)
        power = morlet_power(x_ET, hertz_F, sfreq_hz=SFREQ_HZ, cycles=self.cycles, order=self.order, columns=self.width)
        # The logarithm of power is twice that of amplitude.
        logs = np.log(np.clip(power, math.exp(2 * self.log_low), math.exp(2 * self.log_high))) / 2
        panels: Signal = logs.reshape(len(CHAINS), PAIRS_A_CHAIN, self.height, self.width).mean(axis=1)
        return panels


EegView = Annotated[RawEeg | MelSpectrogram | StftSpectrogram | ScipySpectrogram | Scalogram, ByKind()]
"""A view that is made of the EEG alone, told apart by `kind`."""


@dataclass(frozen=True)
class Denoised(Settings):
    """Another view of the EEG, of signals denoised by wavelets first; needs PyWavelets (`foldstill[wavelets]`).

    A published try of it on HMS made results worse; measure before you keep it.
    """

    needs: ClassVar[frozenset[Source]] = EEG

    of: EegView = field(default_factory=RawEeg)
    """The view that is made of the denoised signals."""
    kind: Literal["denoised"] = "denoised"
    name: str = "denoised"
    """What members ask for."""
    wavelet: str = "db8"
    """Any discrete wavelet of PyWavelets; "haar" is the public recipe's."""
    level: int = 4
    """Levels of detail that are thresholded: the first is 50-100 Hz, each further one an octave below."""
    threshold: Threshold = "soft"
    """Whether what is above the threshold is shrunk by it (soft) or kept as it is (hard)."""

    def __post_init__(self) -> None:
        check_positive(f"view {self.name}", level=self.level)
        if self.threshold not in ("soft", "hard"):
            raise DataError(f"view {self.name}.threshold must be soft or hard, got {self.threshold!r}")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.of.shape

    @property
    def bounds(self) -> Bounds:
        return self.of.bounds

    def make(self, record: Record) -> Signal:
        whole = isinstance(self.of, ScipySpectrogram) and self.of.crop == "whole"
        eeg_ET = record.eeg() if whole else record.eeg_window()
        clean_ET = wavelet_denoise(line_for_gaps(eeg_ET), self.wavelet, self.level, self.threshold)
        # What was missing stays so: each view has its own way with gaps.
        return self.of.make(Record(np.where(np.isfinite(eeg_ET), clean_ET, np.float32(np.nan))))
