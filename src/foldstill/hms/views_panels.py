"""Views made of the panels of other views: statistics over them, and stacks of them. P panels, H x W image."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from foldstill.data.signals import Signal, resize
from foldstill.errors import DataError
from foldstill.hms.image import Layout, Normalise, PanelView, Source, check_positive
from foldstill.hms.record import Record
from foldstill.hms.views_kaggle import KaggleSpectrogram
from foldstill.hms.views_spectra import MelSpectrogram, ScipySpectrogram, StftSpectrogram
from foldstill.hms.views_wavelet import Scalogram
from foldstill.settings import ByKind

OnePanelView = Annotated[KaggleSpectrogram | MelSpectrogram | StftSpectrogram | ScipySpectrogram | Scalogram, ByKind()]
"""A view that is one set of panels, told apart by `kind`."""


@dataclass(frozen=True)
class PanelStatistics(PanelView):
    """Pixel by pixel statistics over another view's panels: global features and percentiles."""

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
        super().__post_init__()
        where = self.where
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
    def panels_bounds(self) -> tuple[float, float]:
        low, high = self.of.panels_bounds
        if "range" not in self.statistics:
            return low, high
        own = self.beside or set(self.statistics) != {"range"}
        return (min(low, 0.0), max(high, high - low)) if own else (0.0, high - low)

    def panels(self, record: Record) -> Signal:
        panels = self.of.panels(record)
        low, high = panels.min(axis=0), panels.max(axis=0)
        made = {"min": low, "max": high, "mean": panels.mean(axis=0), "range": high - low}
        percentiles = {s: q for s in self.statistics if (q := _percentile(s, self.where)) is not None}
        if percentiles:
            made |= zip(percentiles, np.percentile(panels, list(percentiles.values()), axis=0), strict=True)
        statistics = np.stack([made[s] for s in self.statistics]).astype(np.float32)
        return np.concatenate([panels, statistics], axis=2) if self.beside else statistics


def _percentile(statistic: str, where: str) -> float | None:
    """The percentile a statistic names, None for the others; raises DataError where it is none of them."""
    if statistic in ("min", "max", "mean", "range"):
        return None
    if statistic[:1] == "p" and statistic[1:].isdigit() and int(statistic[1:]) <= 100:
        return float(statistic[1:])
    raise DataError(f"{where}.statistics must be min, max, mean, range or a percentile such as p20, got {statistic!r}")


@dataclass(frozen=True)
class PanelStack(PanelView):
    """Panels of several views, brought to one size: four spectrogram-file and four EEG panels make 128 x 256 x 8."""

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
        super().__post_init__()
        where = self.where
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
    def panels_bounds(self) -> tuple[float, float]:
        return (-1.0, 1.0)

    def panels(self, record: Record) -> Signal:
        parts = []
        for view in self.of:
            low, high = view.panels_bounds
            scaled = (view.panels(record) - np.float32((low + high) / 2)) / np.float32((high - low) / 2)
            parts.append(resize(scaled, self.height, self.width))
        return np.concatenate(parts)
