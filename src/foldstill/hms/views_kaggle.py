"""The view of the spectrogram files. P panels, H x W image."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from foldstill.data.signals import Interpolation, Signal, resize
from foldstill.errors import DataError
from foldstill.hms.image import Layout, Normalise, PanelView, Source, check_positive
from foldstill.hms.montage import BINS_A_PANEL, PANELS, SECONDS_A_COLUMN, SPECTROGRAM_SECONDS
from foldstill.hms.record import Record


@dataclass(frozen=True)
class KaggleSpectrogram(PanelView):
    """The given spectrogram, ten minutes at the label or whole: clipped, log, gaps filled, resized if asked."""

    needs: ClassVar[frozenset[Source]] = frozenset({"spectrogram"})

    kind: Literal["kaggle_spectrogram"] = "kaggle_spectrogram"
    name: str = "kaggle_spectrogram"
    """What members ask for."""
    crop: Literal["label", "whole"] = "label"
    """`seconds` around the label, or the whole file whatever its length, which needs a width."""
    seconds: int = SPECTROGRAM_SECONDS
    """Length of the crop, in the middle of the label's 600 s."""
    order: tuple[Literal["LL", "RL", "LP", "RP"], ...] = ("LL", "RL", "LP", "RP")
    """Panels, in the order they are stacked."""
    trim_bins: int = 0
    """Bins dropped at the bottom and the top of each panel."""
    log_low: float = -4.0
    """Natural logarithm of the lowest power kept."""
    log_high: float = 8.0
    """Natural logarithm of the highest power kept."""
    gap: float = 0.0
    """Log value that a missing pixel gets; log_low makes gaps dark, as clipping a -1 or 0 does."""
    height: int | None = None
    """Rows of a panel after resizing; none keeps the bins."""
    width: int | None = None
    """Columns after resizing; none keeps a column for each 2 s."""
    interpolation: Interpolation = "linear"
    """How it is resized."""
    antialias: bool = True
    """Whether shrinking averages what it leaves out."""
    layout: Layout = "stack"
    """The panels stacked in one channel, or a channel each."""
    normalise: Normalise = "none"
    """By the mean and standard deviation of the image (instance) or of each panel."""

    def __post_init__(self) -> None:
        super().__post_init__()
        where = self.where
        check_positive(where, seconds=self.seconds, height=self.height or 1, width=self.width or 1)
        if self.log_low >= self.log_high or not self.log_low <= self.gap <= self.log_high:
            raise DataError(
                f"{where} needs log_low <= gap <= log_high, got {self.log_low}, {self.gap}, {self.log_high}"
            )
        if not self.order or len(set(self.order)) < len(self.order) or set(self.order) - set(PANELS):
            raise DataError(f"{where}.order must name different panels of {list(PANELS)}, got {list(self.order)}")
        if not 0 <= self.trim_bins < BINS_A_PANEL // 2:
            raise DataError(f"{where}.trim_bins must be in [0, {BINS_A_PANEL // 2}), got {self.trim_bins}")
        if self.crop == "whole" and self.width is None:
            raise DataError(f"{where} of whole files needs a width, because files differ in length: set width = 512")
        if self.crop == "label" and (self.seconds > SPECTROGRAM_SECONDS or self.seconds % (2 * SECONDS_A_COLUMN)):
            raise DataError(f"{where}.seconds must be a multiple of 4 up to {SPECTROGRAM_SECONDS}, got {self.seconds}")

    @property
    def panels_shape(self) -> tuple[int, int, int]:
        height = self.height or BINS_A_PANEL - 2 * self.trim_bins
        return (len(self.order), height, self.width or self.seconds // SECONDS_A_COLUMN)

    @property
    def panels_bounds(self) -> tuple[float, float]:
        return (self.log_low, self.log_high)

    def panels(self, record: Record) -> Signal:
        power = record.spectrogram_window(self.seconds) if self.crop == "label" else record.spectrogram()
        panels = power.reshape(len(PANELS), BINS_A_PANEL, -1)
        if self.order != PANELS:
            panels = panels[[PANELS.index(p) for p in self.order]]
        if self.trim_bins:
            panels = panels[:, self.trim_bins : -self.trim_bins]
        logs: Signal = np.log(np.clip(panels, math.exp(self.log_low), math.exp(self.log_high)))
        np.nan_to_num(logs, copy=False, nan=self.gap)
        _, height, width = self.panels_shape
        logs = resize(logs, height, width, interpolation=self.interpolation, antialias=self.antialias)
        if self.interpolation == "cubic":
            # A cubic kernel overshoots; what is stored in 8 bits must stay between the bounds.
            np.clip(logs, self.log_low, self.log_high, out=logs)
        return logs
