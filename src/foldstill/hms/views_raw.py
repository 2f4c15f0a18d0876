"""The signals of the EEG themselves, filtered, scaled and binned. E electrodes or differences, T time."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from foldstill.data.signals import Signal, band_pass, bin_means, line_for_gaps, robust_scale
from foldstill.errors import DataError
from foldstill.hms.band import BandPassed
from foldstill.hms.chains import EEG, chain_differences, midline_differences
from foldstill.hms.image import FileKind, check_positive
from foldstill.hms.montage import CHAIN_PAIRS, EEG_SECONDS, MIDLINE_PAIRS, SFREQ_HZ, channel_index
from foldstill.hms.record import Record
from foldstill.hms.storage import Bounds
from foldstill.settings import NamedKind

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True, kw_only=True)
class RawEeg(BandPassed, NamedKind, kind="raw_eeg", title="Raw EEG"):
    """The signals of the EEG: 16 differences of the double banana, Fz-Cz, Cz-Pz and the EKG.

    They are filtered without a shift in time, averaged in bins, divided by a robust scale and clipped.

    Examples
    --------
    >>> RawEeg(bin_size=8).shape
    (19, 1250)
    """

    needs: ClassVar[frozenset[FileKind]] = EEG

    high_hz: float = 50.0
    ekg_low_hz: float = 0.5
    """Lower edge of the band-pass of the EKG in Hz."""
    ekg_high_hz: float = 20.0
    """Upper edge of the band-pass of the EKG in Hz."""
    bin_size: int = 4
    """Number of samples averaged into one; 4 gives 50 Hz."""
    seconds: float = 50.0
    """Length of the view in seconds, in the middle of the label's 50 s."""
    clip: float = 10.0
    """Number of robust standard deviations at which values are clipped."""

    def __post_init__(self) -> None:
        check_positive(f"view {self.name}", order=self.order, bin_size=self.bin_size, clip=self.clip)
        for low, high in ((self.low_hz, self.high_hz), (self.ekg_low_hz, self.ekg_high_hz)):
            if not 0 < low < high < SFREQ_HZ / 2:
                raise DataError(f"view {self.name} needs bands inside 0 and {SFREQ_HZ // 2} Hz, got {low} to {high} Hz")
        if not 0 < self.seconds <= EEG_SECONDS:
            raise DataError(f"view {self.name}.seconds must be in (0, {EEG_SECONDS}], got {self.seconds}")

    @classmethod
    def example(cls) -> "Self":
        return cls(bin_size=40)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(CHAIN_PAIRS) + len(MIDLINE_PAIRS) + 1, round(self.seconds * SFREQ_HZ) // self.bin_size)

    @property
    def bounds(self) -> Bounds:
        return None

    def make(self, record: Record) -> Signal:
        # All 50 s are filtered and then cut, so that a shorter window has no transients of the filter.
        eeg_ET = line_for_gaps(record.eeg_window())
        brain_ET = np.concatenate([chain_differences(eeg_ET), midline_differences(eeg_ET)])
        parts = []
        for x_ET, low, high in (
            (brain_ET, self.low_hz, self.high_hz),
            (eeg_ET[channel_index(("EKG",))], self.ekg_low_hz, self.ekg_high_hz),
        ):
            x = band_pass(x_ET, low, high, order=self.order, sfreq_hz=SFREQ_HZ)
            cut = (x.shape[1] - round(self.seconds * SFREQ_HZ)) // 2
            x = bin_means(x[:, cut : x.shape[1] - cut], self.bin_size)
            x -= np.median(x, axis=-1, keepdims=True)
            parts.append(x / np.float32(robust_scale(x)))
        return np.clip(np.concatenate(parts), -self.clip, self.clip)[:, : self.shape[1]]
