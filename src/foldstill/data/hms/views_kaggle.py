"""Views made from the spectrogram files, and views made of other views' panels. P panels, H x W image."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from foldstill.data.hms.image import (
    Bounds,
    ByKind,
    Layout,
    Normalise,
    Source,
    check_choices,
    check_positive,
    finish,
    image_shape,
)
from foldstill.data.hms.montage import BINS_A_PANEL, PANELS, SECONDS_A_COLUMN, SPECTROGRAM_SECONDS
from foldstill.data.hms.record import Record
from foldstill.data.hms.views_eeg import MelSpectrogram, ScipySpectrogram, StftSpectrogram
from foldstill.data.hms.views_wavelet import Scalogram
from foldstill.data.signals import Interpolation, Signal, resize
from foldstill.errors import DataError


@dataclass(frozen=True)
class KaggleSpectrogram:
    """The given spectrogram, ten minutes at the label or whole: clipped, log, gaps filled, resized if asked."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid"}
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
        where = f"view {self.name}"
        check_choices(self.layout, self.normalise, where)
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
    def shape(self) -> tuple[int, ...]:
        return image_shape(self.panels_shape, self.layout)

    @property
    def bounds(self) -> Bounds:
        return (self.log_low, self.log_high) if self.normalise == "none" else None

    def panels(self, record: Record) -> Signal:
        power = record.spectrogram_window(self.seconds) if self.crop == "label" else record.spectrogram()
        panels = power.reshape(len(PANELS), BINS_A_PANEL, -1)
        if self.order != PANELS:
            panels = panels[[PANELS.index(p) for p in self.order]]
        if self.trim_bins:
            panels = panels[:, self.trim_bins : -self.trim_bins]
        logs = np.log(np.clip(panels, math.exp(self.log_low), math.exp(self.log_high)))
        np.nan_to_num(logs, copy=False, nan=self.gap)
        _, height, width = self.panels_shape
        logs = resize(logs, height, width, interpolation=self.interpolation, antialias=self.antialias)
        if self.interpolation == "cubic":
            # A cubic kernel overshoots; what is stored in 8 bits must stay between the bounds.
            np.clip(logs, self.log_low, self.log_high, out=logs)
        return logs

    def make(self, record: Record) -> Signal:
        return finish(self.panels(record), self.layout, self.normalise)


OnePanelView = Annotated[KaggleSpectrogram | MelSpectrogram | StftSpectrogram | ScipySpectrogram | Scalogram, ByKind()]
"""A view that is one set of panels, told apart by `kind`."""


@dataclass(frozen=True)
class PanelStatistics:
    """Pixel by pixel statistics over another view's panels: global features and percentiles."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid"}

    of: OnePanelView
    """The view whose panels are summarised."""
    kind: Literal["panel_statistics"] = "panel_statistics"
    name: str = "panel_statistics"
    """What members ask for."""
    statistics: tuple[str, ...] = ("min", "max", "mean", "range")
    """Any of min, max, mean, range and percentiles such as p20, one panel each."""
    beside: bool = False
    """Whether the view's own panels stand on the left, which needs as many statistics as it has panels."""
    layout: Layout = "stack"
    """The panels stacked in one channel, or a channel each."""
    normalise: Normalise = "none"
    """By the mean and standard deviation of the image (instance) or of each panel."""

    def __post_init__(self) -> None:
        where = f"view {self.name}"
        check_choices(self.layout, self.normalise, where)
        for statistic in self.statistics:
            _percentile(statistic, where)
        if not self.statistics:
            raise DataError(f"{where}.statistics must name at least one of min, max, mean, range, p20")
        if self.beside and len(self.statistics) != self.of.panels_shape[0]:
            raise DataError(
                f"{where}.beside needs {self.of.panels_shape[0]} statistics, one a panel, got {len(self.statistics)}"
            )
        if self.of.normalise != "none":
            raise DataError(f"{where}.of.normalise would have no effect: set {where}.normalise instead")

    @property
    def needs(self) -> frozenset[Source]:
        return self.of.needs

    @property
    def panels_shape(self) -> tuple[int, int, int]:
        _, height, width = self.of.panels_shape
        return (len(self.statistics), height, 2 * width if self.beside else width)

    @property
    def shape(self) -> tuple[int, ...]:
        return image_shape(self.panels_shape, self.layout)

    @property
    def bounds(self) -> Bounds:
        if self.normalise != "none" or self.of.bounds is None:
            return None
        low, high = self.of.bounds
        if "range" not in self.statistics:
            return low, high
        own = self.beside or set(self.statistics) != {"range"}
        return (min(low, 0.0), max(high, high - low)) if own else (0.0, high - low)

    def panels(self, record: Record) -> Signal:
        panels = self.of.panels(record)
        low, high = panels.min(axis=0), panels.max(axis=0)
        made = {"min": low, "max": high, "mean": panels.mean(axis=0), "range": high - low}
        percentiles = {s: q for s in self.statistics if (q := _percentile(s, self.name)) is not None}
        if percentiles:
            made |= zip(percentiles, np.percentile(panels, list(percentiles.values()), axis=0), strict=True)
        statistics = np.stack([made[s] for s in self.statistics]).astype(np.float32)
        return np.concatenate([panels, statistics], axis=2) if self.beside else statistics

    def make(self, record: Record) -> Signal:
        return finish(self.panels(record), self.layout, self.normalise)


def _percentile(statistic: str, where: str) -> float | None:
    """The percentile a statistic names, None for the others; raises DataError where it is none of them."""
    if statistic in ("min", "max", "mean", "range"):
        return None
    if statistic[:1] == "p" and statistic[1:].isdigit() and int(statistic[1:]) <= 100:
        return float(statistic[1:])
    raise DataError(f"{where}.statistics must be min, max, mean, range or a percentile such as p20, got {statistic!r}")


@dataclass(frozen=True)
class PanelStack:
    """Panels of several views, brought to one size: four spectrogram-file and four EEG panels make 128 x 256 x 8."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid"}

    of: tuple[OnePanelView, ...] = (KaggleSpectrogram(), MelSpectrogram())
    """The views whose panels are taken, in this order."""
    kind: Literal["panel_stack"] = "panel_stack"
    name: str = "panel_stack"
    """What members ask for."""
    height: int = 128
    """Rows of a panel."""
    width: int = 256
    """Columns of a panel."""
    layout: Layout = "channels"
    """A channel for each panel, or the panels stacked in one channel."""
    normalise: Normalise = "none"
    """By mean and standard deviation of the image (instance) or each panel; none leaves each view in [-1, 1]."""

    def __post_init__(self) -> None:
        where = f"view {self.name}"
        check_choices(self.layout, self.normalise, where)
        check_positive(where, height=self.height, width=self.width)
        if not self.of:
            raise DataError(f"{where}.of must name at least one view")
        if any(view.normalise != "none" for view in self.of):
            raise DataError(f"{where}.of takes views as they are: set {where}.normalise instead of theirs")

    @property
    def needs(self) -> frozenset[Source]:
        return frozenset().union(*(view.needs for view in self.of))

    @property
    def panels_shape(self) -> tuple[int, int, int]:
        return (sum(view.panels_shape[0] for view in self.of), self.height, self.width)

    @property
    def shape(self) -> tuple[int, ...]:
        return image_shape(self.panels_shape, self.layout)

    @property
    def bounds(self) -> Bounds:
        return (-1.0, 1.0) if self.normalise == "none" else None

    def panels(self, record: Record) -> Signal:
        parts = []
        for view in self.of:
            assert view.bounds is not None
            low, high = view.bounds
            scaled = (view.panels(record) - np.float32((low + high) / 2)) / np.float32((high - low) / 2)
            parts.append(resize(scaled, self.height, self.width))
        return np.concatenate(parts)

    def make(self, record: Record) -> Signal:
        return finish(self.panels(record), self.layout, self.normalise)
