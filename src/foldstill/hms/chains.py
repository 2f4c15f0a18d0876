"""The double banana: differences of neighbouring electrodes, and what spectrograms over its chains have in common.

B records, E differences, T time, P panels (chains LL, LP, RP, RL), H x W image.
"""

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from foldstill.data.arrays import Array
from foldstill.data.signals import Signal
from foldstill.hms.image import FileKind, PanelView
from foldstill.hms.montage import CHAIN_PAIRS, CHAINS, MIDLINE_PAIRS, channel_index
from foldstill.hms.record import Record

EEG: frozenset[FileKind] = frozenset({"eeg"})
PAIRS_PER_CHAIN = 4
_FIRST = channel_index(tuple(a for a, _ in CHAIN_PAIRS))
_SECOND = channel_index(tuple(b for _, b in CHAIN_PAIRS))


def chain_differences(eeg_ET: Signal) -> Signal:
    """The sixteen differences of neighbours, (16, T), chain by chain from left to right."""
    differences: Signal = eeg_ET[_FIRST] - eeg_ET[_SECOND]
    return differences


def midline_differences(eeg_ET: Signal) -> Signal:
    """The differences Fz-Cz and Cz-Pz, (2, T)."""
    return np.concatenate([eeg_ET[channel_index((a,))] - eeg_ET[channel_index((b,))] for a, b in MIDLINE_PAIRS])


class ChainSpectrogram(PanelView):
    """One panel of spectra per chain; signals are cleaned per record, spectra computed for one record or many.

    One formula serves both: NumPy computes it for NumPy arrays, torch for tensors, on the tensor's device.
    """

    needs: ClassVar[frozenset[FileKind]] = EEG

    @property
    def n_panels(self) -> int:
        return len(CHAINS)

    @abstractmethod
    def signals(self, record: Record) -> Signal:
        """The sixteen differences after cleaning, (16, T); raises DataError where T is too short."""

    @abstractmethod
    def spectra(self, x_BET: Array) -> Array:
        """Panels (B, P, H, W) of the signals of many records."""

    def panels(self, record: Record) -> Signal:
        panels: Signal = self.spectra(self.signals(record)[None])[0]
        return panels
