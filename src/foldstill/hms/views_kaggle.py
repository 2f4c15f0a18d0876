"""The view of the competition's spectrogram files. P panels, H x W image."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from foldstill.data.signals import Interpolation, Signal, resize
from foldstill.errors import DataError
from foldstill.hms.image import FileKind, Layout, LogPanelView, check_positive
from foldstill.hms.montage import BINS_PER_PANEL, PANELS, SECONDS_PER_COLUMN, SPECTROGRAM_SECONDS
from foldstill.hms.record import Record

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True, kw_only=True)
class KaggleSpectrogram(LogPanelView, kind="kaggle_spectrogram", title="Spectrogram file"):
    """The competition's spectrogram file, the ten minutes of the label or all of it: clipped, log-scaled, gaps filled.

    Examples
    --------
    >>> KaggleSpectrogram(height=64, width=128).shape
    (256, 128, 1)
    """

    needs: ClassVar[frozenset[FileKind]] = frozenset({"spectrogram"})

    crop: Literal["label", "whole"] = "label"
    """Whether the view covers `seconds` around the label, or the whole file; whole needs a width."""
    seconds: int = SPECTROGRAM_SECONDS
    """Length of the crop in seconds, in the middle of the label's 600 s."""
    order: tuple[Literal["LL", "RL", "LP", "RP"], ...] = ("LL", "RL", "LP", "RP")
    """The panels, in the order in which they become channels or are stacked."""
    trim_bins: int = 0
    """Number of frequency bins dropped at the bottom and at the top of each panel."""
    gap: float = 0.0
    """Log value of a missing pixel; the value of log_low makes gaps dark."""
    height: int | None = None
    """Rows of a panel after resizing; unset keeps the frequency bins."""
    width: int | None = None
    """Columns after resizing; unset keeps one column per 2 s."""
    interpolation: Interpolation = "linear"
    """Kernel with which panels are resized."""
    antialias: bool = True
    """Whether shrinking averages over all pixels, instead of skipping some."""
    layout: Layout = "stack"

    def __post_init__(self) -> None:
        super().__post_init__()
        where = self.where
        check_positive(where, seconds=self.seconds, height=self.height or 1, width=self.width or 1)
        if not self.log_low <= self.gap <= self.log_high:
            raise DataError(
                f"{where} needs log_low <= gap <= log_high, got {self.log_low}, {self.gap}, {self.log_high}"
            )
        if not self.order or len(set(self.order)) < len(self.order) or set(self.order) - set(PANELS):
            raise DataError(f"{where}.order must name different panels of {list(PANELS)}, got {list(self.order)}")
        if not 0 <= self.trim_bins < BINS_PER_PANEL // 2:
            raise DataError(f"{where}.trim_bins must be in [0, {BINS_PER_PANEL // 2}), got {self.trim_bins}")
        if self.crop == "whole" and self.width is None:
            raise DataError(f"{where} of whole files needs a width, because files differ in length: set width = 512")
        if self.crop == "label" and (self.seconds > SPECTROGRAM_SECONDS or self.seconds % (2 * SECONDS_PER_COLUMN)):
            raise DataError(f"{where}.seconds must be a multiple of 4 up to {SPECTROGRAM_SECONDS}, got {self.seconds}")

    @classmethod
    def example(cls) -> "Self":
        return cls(height=16, width=32)

    @property
    def panels_shape(self) -> tuple[int, int, int]:
        height = self.height or BINS_PER_PANEL - 2 * self.trim_bins
        return (len(self.order), height, self.width or self.seconds // SECONDS_PER_COLUMN)

    def panels(self, record: Record) -> Signal:
        power = record.spectrogram_window(self.seconds) if self.crop == "label" else record.spectrogram()
        panels = power.reshape(len(PANELS), BINS_PER_PANEL, -1)
        if self.order != PANELS:
            panels = panels[[PANELS.index(p) for p in self.order]]
        if self.trim_bins:
            panels = panels[:, self.trim_bins : -self.trim_bins]
        logs: Signal = np.log(np.clip(panels, math.exp(self.log_low), math.exp(self.log_high)))
        np.nan_to_num(logs, copy=False, nan=self.gap)
        _, height, width = self.panels_shape
        logs = resize(logs, height, width, interpolation=self.interpolation, antialias=self.antialias)
        if self.interpolation == "cubic":
            # A cubic kernel overshoots, and what is stored in 8 bits must stay between the bounds.
            np.clip(logs, self.log_low, self.log_high, out=logs)
        return logs
