"""The double banana: differences of neighbouring electrodes, and what spectrograms over its chains have in common.

B records, E differences, T time, P panels (chains LL, LP, RP, RL), H x W image.
"""

from abc import abstractmethod
from typing import ClassVar

from foldstill.data.arrays import Array
from foldstill.data.signals import Signal
from foldstill.hms.image import PanelView, Source
from foldstill.hms.montage import CHAIN_PAIRS, channel_index
from foldstill.hms.record import Record

EEG: frozenset[Source] = frozenset({"eeg"})
PAIRS_A_CHAIN = 4
_FIRST = channel_index(tuple(a for a, _ in CHAIN_PAIRS))
_SECOND = channel_index(tuple(b for _, b in CHAIN_PAIRS))


def chain_differences(eeg_ET: Signal) -> Signal:
    """The sixteen differences of neighbours, (16, T), chain by chain from left to right."""
    differences: Signal = eeg_ET[_FIRST] - eeg_ET[_SECOND]
    return differences


class ChainSpectrogram(PanelView):
    """A panel of spectra for each chain: signals are cleaned record by record, spectra made of one record or of many.

    One formula serves both: of a NumPy array it is computed by NumPy, of a tensor by torch on the tensor's device.
    """

    needs: ClassVar[frozenset[Source]] = EEG

    @abstractmethod
    def signals(self, record: Record) -> Signal:
        """The sixteen differences without what the recipe cleans away, (16, T); raises DataError where T is too short."""

    @abstractmethod
    def spectra(self, x_BET: Array) -> Array:
        """Panels (B, P, H, W) of the signals of many records."""

    def panels(self, record: Record) -> Signal:
        panels: Signal = self.spectra(self.signals(record)[None])[0]
        return panels
