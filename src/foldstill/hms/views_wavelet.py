"""Views that use wavelets: the scalogram, sharp in both time and frequency, and any EEG view of denoised signals.

E electrodes, P panels (chains LL, LP, RP, RL), H x W image.
"""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Protocol

import numpy as np

from foldstill.data.signals import Signal, line_for_gaps
from foldstill.data.wavelets import Threshold, morlet_power, wavelet_denoise
from foldstill.errors import DataError
from foldstill.hms.chains import EEG, PAIRS_PER_CHAIN, chain_differences
from foldstill.hms.image import FileKind, LogPanelView, SizedPanelView, check_band, check_positive
from foldstill.hms.montage import CHAINS, EEG_SECONDS, SFREQ_HZ
from foldstill.hms.record import Record
from foldstill.hms.storage import Bounds
from foldstill.hms.views_raw import RawEeg
from foldstill.hms.views_spectra import MelSpectrogram, ScipySpectrogram, StftSpectrogram
from foldstill.settings import ByKind, NamedKind

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True, kw_only=True)
class Scalogram(SizedPanelView, LogPanelView, kind="scalogram"):
    """Amplitude of each difference by Morlet wavelets, evenly spaced in octaves: log-scaled, averaged over a chain.

    The window of a wavelet is long for slow rhythms and short for fast ones; a spectrogram uses one window for both.

    Examples
    --------
    >>> Scalogram(height=32, width=128).shape
    (32, 128, 4)
    """

    needs: ClassVar[frozenset[FileKind]] = EEG

    low_hz: float = 0.5
    """Lowest frequency in Hz."""
    high_hz: float = 30.0
    """Highest frequency in Hz."""
    height: int = 64
    """Number of frequencies, which is the height of a panel."""
    cycles: float = 3.0
    """Number of cycles of a wavelet; more cycles are sharper in frequency and less sharp in time."""
    order: int = 1
    """Number of wavelets per frequency: 1 is the Morlet scalogram, more are a superlet (a geometric mean)."""
    log_low: float = -3.0
    log_high: float = 7.0

    def __post_init__(self) -> None:
        super().__post_init__()
        where = self.where
        check_positive(where, order=self.order)
        check_band(where, self.low_hz, self.high_hz, SFREQ_HZ / 2)
        if self.width % 8 or self.width > SFREQ_HZ * EEG_SECONDS:
            raise DataError(
                f"{where}.width must be a multiple of 8 of at most {SFREQ_HZ * EEG_SECONDS}, got {self.width}"
            )
        if self.cycles < 3:
            raise DataError(
                f"{where}.cycles must be 3 or more, got {self.cycles}: shorter wavelets respond to slow drift"
            )

    @classmethod
    def example(cls) -> "Self":
        return cls(height=8, width=32)

    @property
    def n_panels(self) -> int:
        return len(CHAINS)

    def panels(self, record: Record) -> Signal:
        x_ET = chain_differences(line_for_gaps(record.eeg_window()))
        hertz_F = np.geomspace(self.low_hz, self.high_hz, self.height)
        power = morlet_power(x_ET, hertz_F, sfreq_hz=SFREQ_HZ, cycles=self.cycles, order=self.order, columns=self.width)
        # The logarithm of power is twice that of amplitude.
        logs = np.log(np.clip(power, math.exp(2 * self.log_low), math.exp(2 * self.log_high))) / 2
        panels: Signal = logs.reshape(len(CHAINS), PAIRS_PER_CHAIN, self.height, self.width).mean(axis=1)
        return panels


class EegView(Protocol):
    """A view that is made of the EEG alone."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def bounds(self) -> Bounds: ...

    def make(self, record: Record) -> Signal: ...


EEG_VIEWS = (RawEeg, MelSpectrogram, StftSpectrogram, ScipySpectrogram, Scalogram)
"""Every kind of view that can be made of denoised signals."""

AnyEegView = Annotated[EegView, ByKind(EEG_VIEWS)]


@dataclass(frozen=True, kw_only=True)
class Denoised(NamedKind, kind="denoised", title="Denoised view"):
    """Another view of the EEG, made of signals that are first denoised by wavelets.

    Needs PyWavelets (`pip install 'foldstill[wavelets]'`). In a published experiment on HMS it made results worse, so
    measure before you use it.

    Examples
    --------
    >>> Denoised(of=RawEeg(bin_size=8)).shape
    (19, 1250)
    """

    needs: ClassVar[frozenset[FileKind]] = EEG

    of: AnyEegView = field(default_factory=RawEeg)
    """The view that is made of the denoised signals, with its `kind`."""
    wavelet: str = "db8"
    """Name of a discrete wavelet of PyWavelets; the public recipe uses "haar"."""
    level: int = 4
    """Number of levels of detail that are thresholded; the first covers 50 to 100 Hz, each next one an octave below."""
    threshold: Threshold = "soft"
    """Whether coefficients above the threshold are shrunk by it (soft) or kept as they are (hard)."""

    def __post_init__(self) -> None:
        check_positive(f"view {self.name}", level=self.level)
        if self.threshold not in ("soft", "hard"):
            raise DataError(f"view {self.name}.threshold must be soft or hard, got {self.threshold!r}")

    @classmethod
    def example(cls) -> "Self":
        return cls(of=RawEeg.example())

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
        # Gaps stay gaps, because each view fills them in its own way.
        return self.of.make(Record(np.where(np.isfinite(eeg_ET), clean_ET, np.float32(np.nan))))
