"""Views that are images: panels that are normalised and laid out as one image.

P panels, H x W image.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from foldstill.data.signals import Signal
from foldstill.errors import DataError
from foldstill.hms.record import Record
from foldstill.hms.storage import Bounds
from foldstill.settings import NamedKind

Layout = Literal["channels", "stack"]
Normalise = Literal["none", "instance", "panel"]
FileKind = Literal["eeg", "spectrogram"]

INSTANCE_EPS = 1e-6
PANEL_EPS = 1e-5


@dataclass(frozen=True, kw_only=True)
class PanelView(NamedKind, ABC):
    """A view that is a set of panels: a subclass makes the panels, this class makes them one image."""

    layout: Layout = "channels"
    """Whether each panel is a channel of the image, or all panels are stacked from top to bottom in one channel."""
    normalise: Normalise = "none"
    """What is brought to mean 0 and standard deviation 1: nothing, the whole image (instance), or each panel."""

    def __post_init__(self) -> None:
        if self.layout not in ("channels", "stack"):
            raise DataError(f"{self.where}.layout must be channels or stack, got {self.layout!r}")
        if self.normalise not in ("none", "instance", "panel"):
            raise DataError(f"{self.where}.normalise must be none, instance or panel, got {self.normalise!r}")

    @property
    @abstractmethod
    def needs(self) -> frozenset[FileKind]:
        """Which files of a record it reads."""

    @property
    @abstractmethod
    def panels_shape(self) -> tuple[int, int, int]:
        """(P, H, W)."""

    @property
    @abstractmethod
    def panels_bounds(self) -> tuple[float, float]:
        """Lowest and highest value of the panels before they are normalised."""

    @abstractmethod
    def panels(self, record: Record) -> Signal:
        """The panels of one record, float32 of `panels_shape`, without NaN."""

    @property
    def where(self) -> str:
        """Its name in error messages."""
        return f"view {self.name}"

    @property
    def shape(self) -> tuple[int, ...]:
        p, h, w = self.panels_shape
        return (h, w, p) if self.layout == "channels" else (p * h, w, 1)

    @property
    def bounds(self) -> Bounds:
        return self.panels_bounds if self.normalise == "none" else None

    def image(self, panels_PHW: Signal) -> Signal:
        """Panels normalised and laid out as one image."""
        return finish(panels_PHW, self.layout, self.normalise)

    def make(self, record: Record) -> Signal:
        return self.image(self.panels(record))


@dataclass(frozen=True, kw_only=True)
class SizedPanelView(PanelView):
    """A view whose panels have a size that is set."""

    height: int = 128
    """Number of rows of a panel."""
    width: int = 256
    """Number of columns of a panel."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self.where, height=self.height, width=self.width)

    @property
    def panels_shape(self) -> tuple[int, int, int]:
        return (self.n_panels, self.height, self.width)

    @property
    @abstractmethod
    def n_panels(self) -> int:
        """P."""


@dataclass(frozen=True, kw_only=True)
class LogPanelView(PanelView):
    """A view whose panels are logarithms, clipped to a range."""

    log_low: float = -4.0
    """Natural logarithm of the lowest value; lower values are clipped."""
    log_high: float = 8.0
    """Natural logarithm of the highest value; higher values are clipped."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.log_low >= self.log_high:
            raise DataError(f"{self.where}.log_low must be below log_high, got {self.log_low} and {self.log_high}")

    @property
    def panels_bounds(self) -> tuple[float, float]:
        return (self.log_low, self.log_high)


def finish(panels_PHW: Signal, layout: Layout, normalise: Normalise) -> Signal:
    """Panels as one image (H, W, channels): one channel per panel, or all panels stacked in one channel.

    "instance" subtracts the image's mean and divides by its standard deviation, "panel" does so in each panel.
    """
    if normalise != "none":
        axes = (0, 1, 2) if normalise == "instance" else (1, 2)
        eps = INSTANCE_EPS if normalise == "instance" else PANEL_EPS
        mean = panels_PHW.mean(axis=axes, keepdims=True)
        panels_PHW = (panels_PHW - mean) / (panels_PHW.std(axis=axes, keepdims=True) + eps)
    if layout == "channels":
        return panels_PHW.transpose(1, 2, 0)
    p, h, w = panels_PHW.shape
    return panels_PHW.reshape(p * h, w, 1)


def check_positive(where: str, **values: float) -> None:
    for name, value in values.items():
        if value <= 0:
            raise DataError(f"{where}.{name} must be positive, got {value}")


def check_band(where: str, low_hz: float, high_hz: float, limit_hz: float) -> None:
    if not 0 < low_hz < high_hz < limit_hz:
        raise DataError(f"{where} needs 0 < low_hz < high_hz < {limit_hz:g}, got {low_hz} and {high_hz}")
