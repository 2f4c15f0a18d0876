"""Views made of the panels of other views: statistics over them, and stacks of them. P panels, H x W image."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np

from foldstill.data.signals import Signal, resize
from foldstill.errors import DataError
from foldstill.hms.image import FileKind, Layout, PanelView, SizedPanelView
from foldstill.hms.record import Record
from foldstill.hms.views_kaggle import KaggleSpectrogram
from foldstill.hms.views_spectra import MelSpectrogram, ScipySpectrogram, StftSpectrogram
from foldstill.hms.views_wavelet import Scalogram
from foldstill.settings import ByKind

if TYPE_CHECKING:
    from typing import Self

PANEL_VIEWS = (KaggleSpectrogram, MelSpectrogram, StftSpectrogram, ScipySpectrogram, Scalogram)
"""Every kind of view whose panels others can use."""

AnyPanelView = Annotated[PanelView, ByKind(PANEL_VIEWS)]


@dataclass(frozen=True, kw_only=True)
class PanelStatistics(PanelView, kind="panel_statistics"):
    """Statistics over the panels of another view, pixel by pixel.

    Examples
    --------
    >>> PanelStatistics(of=KaggleSpectrogram(), layout="channels").shape
    (100, 300, 4)
    """

    of: AnyPanelView
    """The view whose panels are summarised, with its `kind`."""
    statistics: tuple[str, ...] = ("min", "max", "mean", "range")
    """Any of min, max, mean, range and percentiles such as p20; each is one panel."""
    beside: bool = False
    """Whether the panels of the other view stand on the left; this needs as many statistics as that view has panels."""
    layout: Layout = "stack"

    def __post_init__(self) -> None:
        super().__post_init__()
        where = self.where
        for statistic in self.statistics:
            _percentile(statistic, where)
        if not self.statistics:
            raise DataError(f"{where}.statistics must name at least one of min, max, mean, range, p20")
        if self.beside and len(self.statistics) != self.of.panels_shape[0]:
            raise DataError(
                f"{where}.beside needs {self.of.panels_shape[0]} statistics, one per panel, got {len(self.statistics)}"
            )
        if self.of.normalise != "none":
            raise DataError(f"{where}.of.normalise would have no effect: set {where}.normalise instead")

    @classmethod
    def example(cls) -> "Self":
        return cls(of=KaggleSpectrogram.example())

    @property
    def needs(self) -> frozenset[FileKind]:
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
        values = {"min": low, "max": high, "mean": panels.mean(axis=0), "range": high - low}
        percentiles = {s: q for s in self.statistics if (q := _percentile(s, self.where)) is not None}
        if percentiles:
            values |= zip(percentiles, np.percentile(panels, list(percentiles.values()), axis=0), strict=True)
        statistics = np.stack([values[s] for s in self.statistics]).astype(np.float32)
        return np.concatenate([panels, statistics], axis=2) if self.beside else statistics


def _percentile(statistic: str, where: str) -> float | None:
    """The percentile that a statistic names, None for min, max, mean and range; raises DataError for other names."""
    if statistic in ("min", "max", "mean", "range"):
        return None
    if statistic[:1] == "p" and statistic[1:].isdigit() and int(statistic[1:]) <= 100:
        return float(statistic[1:])
    raise DataError(f"{where}.statistics must be min, max, mean, range or a percentile such as p20, got {statistic!r}")


@dataclass(frozen=True, kw_only=True)
class PanelStack(SizedPanelView, kind="panel_stack"):
    """Panels of several views, resized to one size, each scaled to [-1, 1].

    Examples
    --------
    >>> PanelStack(height=64, width=128).shape
    (64, 128, 8)
    """

    of: tuple[AnyPanelView, ...] = (KaggleSpectrogram(), MelSpectrogram())
    """The views whose panels are used, in this order, each with its `kind`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        where = self.where
        if not self.of:
            raise DataError(f"{where}.of must name at least one view")
        if any(view.normalise != "none" for view in self.of):
            raise DataError(
                f"{where}.of must be views without normalise, got one with it: set {where}.normalise instead"
            )

    @classmethod
    def example(cls) -> "Self":
        return cls(of=(KaggleSpectrogram.example(), MelSpectrogram.example()), height=16, width=32)

    @property
    def needs(self) -> frozenset[FileKind]:
        return frozenset().union(*(view.needs for view in self.of))

    @property
    def n_panels(self) -> int:
        return sum(view.panels_shape[0] for view in self.of)

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
