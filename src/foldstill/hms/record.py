"""The signals of one label row, of which views are made.

E electrodes, T samples at 200 Hz, F bins, S spectrogram columns.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldstill.data.signals import Signal
from foldstill.errors import DataError
from foldstill.hms.montage import (
    EEG_CHANNELS,
    EEG_SECONDS,
    SECONDS_PER_COLUMN,
    SFREQ_HZ,
    SPECTROGRAM_BINS,
    SPECTROGRAM_SECONDS,
)


@dataclass(frozen=True)
class Record:
    """A recording, a spectrogram, or both, and where in them the windows of the label start.

    `eeg_ET` is (20, T) in microvolts, `spectrogram_FS` (400, S) with one column per 2 s, panels LL, RL, LP, RP.
    Missing values are NaN. The parts of a window that lie outside its file are NaN.
    """

    eeg_ET: Signal | None = None
    spectrogram_FS: Signal | None = None
    eeg_offset_s: float = 0.0
    spectrogram_offset_s: float = 0.0

    def __post_init__(self) -> None:
        rows = {"eeg_ET": len(EEG_CHANNELS), "spectrogram_FS": SPECTROGRAM_BINS}
        for name, wanted in rows.items():
            array: NDArray[np.float32] | None = getattr(self, name)
            if array is not None and (array.ndim != 2 or array.shape[0] != wanted):
                raise DataError(f"{name} must be ({wanted}, time), got {array.shape}: put time last")

    def eeg(self) -> Signal:
        """The recording from start to end; raises DataError where there is none."""
        if self.eeg_ET is None:
            raise DataError("this view needs an EEG and the record has none: use rows that name one recording")
        return self.eeg_ET

    def spectrogram(self) -> Signal:
        """The spectrogram from start to end; raises DataError where there is none."""
        if self.spectrogram_FS is None:
            raise DataError("this view needs a spectrogram and the record has none: give the spectrogram folder")
        return self.spectrogram_FS

    def eeg_window(self, seconds: float = EEG_SECONDS) -> Signal:
        """The middle `seconds` of the label's 50 s, (20, seconds * 200)."""
        start = self.eeg_offset_s + (EEG_SECONDS - seconds) / 2
        return window(self.eeg(), round(start * SFREQ_HZ), round(seconds * SFREQ_HZ))

    def spectrogram_window(self, seconds: float = SPECTROGRAM_SECONDS) -> Signal:
        """The middle `seconds` of the label's 600 s, (400, seconds / 2)."""
        start = self.spectrogram_offset_s + (SPECTROGRAM_SECONDS - seconds) / 2
        return window(self.spectrogram(), int(start // SECONDS_PER_COLUMN), round(seconds / SECONDS_PER_COLUMN))


def window(x: Signal, start: int, length: int) -> Signal:
    """`length` samples of the last axis from `start`, NaN where there are none."""
    total = x.shape[-1]
    if start >= 0 and start + length <= total:
        return x[:, start : start + length]
    out = np.full((len(x), length), np.nan, dtype=np.float32)
    begin, end = max(start, 0), min(start + length, total)
    if begin < end:
        out[:, begin - start : end - start] = x[:, begin:end]
    return out
