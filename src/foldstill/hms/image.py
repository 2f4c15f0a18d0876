"""What views have in common: panels laid out as an image, normalised by themselves, stored in few bits.

P panels, H x W image.
"""

from abc import ABC, abstractmethod
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from foldstill.data.signals import Signal
from foldstill.errors import DataError
from foldstill.hms.record import Record
from foldstill.settings import Settings

Layout = Literal["channels", "stack"]
Normalise = Literal["none", "instance", "panel"]
Source = Literal["eeg", "spectrogram"]
Bounds = tuple[float, float] | None


INSTANCE_EPS = 1e-6
PANEL_EPS = 1e-5


class View(Protocol):
    """Settings of one way to turn a record into a model input; `make` gives the same array for the same record."""

    @property
    def name(self) -> str:
        """The name that members ask for."""
        ...

    @property
    def needs(self) -> frozenset[Source]:
        """Which files of a record it reads."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input: (H, W, channels) of an image, (channels, T) of a signal."""
        ...

    @property
    def bounds(self) -> Bounds:
        """Lowest and highest value it can give; None where there are none, and it is then stored as float16."""
        ...

    def make(self, record: Record) -> Signal:
        """The input of one record, float32 of `shape`, without NaN."""
        ...


class PanelView(Settings, ABC):
    """A view that is a set of panels: settings say which panels and how they lie, this makes the image, its shape and bounds."""

    name: str
    layout: Layout
    normalise: Normalise

    def __post_init__(self) -> None:
        if self.layout not in ("channels", "stack"):
            raise DataError(f"{self.where}.layout must be channels or stack, got {self.layout!r}")
        if self.normalise not in ("none", "instance", "panel"):
            raise DataError(f"{self.where}.normalise must be none, instance or panel, got {self.normalise!r}")

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
        """What errors call it."""
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


def finish(panels_PHW: Signal, layout: Layout, normalise: Normalise) -> Signal:
    """Panels as one image (H, W, channels): a channel each, or stacked top to bottom in one channel.

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


def check_log_range(where: str, low: float, high: float) -> None:
    if low >= high:
        raise DataError(f"{where}.log_low must be below log_high, got {low} and {high}")


def stored_dtype(view: View) -> np.dtype[Any]:
    """uint8 where a view's values are bounded, which keeps 1/255 of its range; float16 otherwise."""
    return np.dtype(np.uint8 if view.bounds is not None else np.float16)


def encode(values: Signal, bounds: Bounds) -> NDArray[Any]:
    """Values as they are stored: 0..255 between `bounds`, or float16."""
    if bounds is None:
        return np.clip(values, -65504, 65504).astype(np.float16)
    low, high = bounds
    scaled = values * np.float32(255 / (high - low))
    scaled += np.float32(0.5 - low * 255 / (high - low))
    np.clip(scaled, 0, 255, out=scaled)
    return scaled.astype(np.uint8)


def decode(stored: NDArray[Any], bounds: Bounds, out: Signal | None = None) -> Signal:
    """Stored values as float32, into `out` where given.

    A reused buffer is several times faster than a fresh array, and a sample at a time, which stays in the cache, faster
    than a batch.
    """
    if out is None:
        out = np.empty(stored.shape, np.float32)
    np.copyto(out, stored, casting="unsafe")
    if bounds is not None:
        low, high = bounds
        out *= np.float32((high - low) / 255)
        out += np.float32(low)
    return out
