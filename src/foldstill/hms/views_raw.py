"""The signals of the EEG themselves, filtered, scaled and binned. E electrodes or differences, T time."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from foldstill.data.signals import Signal, band_pass, bin_means, line_for_gaps, robust_scale
from foldstill.errors import DataError
from foldstill.hms.chains import EEG, chain_differences
from foldstill.hms.image import Bounds, Source, check_positive
from foldstill.hms.montage import CHAIN_PAIRS, EEG_SECONDS, MIDLINE_PAIRS, SFREQ_HZ, channel_index
from foldstill.hms.record import Record
from foldstill.settings import Settings


@dataclass(frozen=True)
class RawEeg(Settings):
    """The signals: 16 banana differences, Fz-Cz, Cz-Pz, EKG; zero-phase filter, bins, robust scale, clip."""

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
