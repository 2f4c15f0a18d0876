"""Augmentations that set parts of a row to zero, the mean of what is scaled.

Same conventions as `augment`: B batch; images (B, C, H, W), signals (B, C, T), time last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from foldstill.data.draws import check_share, images_only, rand, strip
from foldstill.errors import DataError
from foldstill.settings import Settings

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Cutout(Settings):
    """Rectangles of an image set to zero (coarse dropout; DeVries and Taylor, 2017)."""

    kind: Literal["cutout"] = "cutout"
    p: float = 0.5
    """Probability of a row."""
    holes: int = 1
    """Rectangles a row."""
    size: float = 0.25
    """Largest side as a share of the axis; the sides are drawn between half of it and it."""

    def __post_init__(self) -> None:
        check_share(self.kind, p=self.p, size=self.size)
        if self.holes < 1:
            raise DataError(f"augmentation cutout: holes must be 1 or more, got {self.holes}")

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        import torch

        images_only(self.kind, x)
        chosen, draw = rand(x, generator) < self.p, rand(x, generator, self.holes, 4)
        side = self.size * (0.5 + draw[..., :2] / 2) * chosen[:, None, None]
        rows = [strip(x, 2, side[:, i, 0], draw[:, i, 2]).flatten(1) for i in range(self.holes)]
        columns = [strip(x, 3, side[:, i, 1], draw[:, i, 3]).flatten(1) for i in range(self.holes)]
        # Rectangles as one product (B, H, holes) @ (B, holes, W): four times faster than one by one.
        covered = torch.stack(rows, 2).to(x.dtype) @ torch.stack(columns, 1).to(x.dtype)
        return _without(x, [(covered > 0)[:, None]])


@dataclass(frozen=True)
class TimeMask(Settings):
    """Strips of the last axis set to zero (SpecAugment; Park et al., 2019)."""

    kind: Literal["time_mask"] = "time_mask"
    p: float = 0.5
    """Probability of a row."""
    masks: int = 1
    """Strips a row."""
    share: float = 0.2
    """Largest length of a strip as a share of the axis."""

    def __post_init__(self) -> None:
        check_share(self.kind, p=self.p, share=self.share)

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        return _mask_strips(x, x.ndim - 1, self.p, self.masks, self.share, generator)


@dataclass(frozen=True)
class FrequencyMask(Settings):
    """Strips of the height of an image set to zero."""

    kind: Literal["frequency_mask"] = "frequency_mask"
    p: float = 0.5
    """Probability of a row."""
    masks: int = 1
    """Strips a row."""
    share: float = 0.2
    """Largest width of a strip as a share of the axis."""

    def __post_init__(self) -> None:
        check_share(self.kind, p=self.p, share=self.share)

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        images_only(self.kind, x)
        return _mask_strips(x, 2, self.p, self.masks, self.share, generator)


@dataclass(frozen=True)
class ChannelDropout(Settings):
    """Up to `channels` whole channels of a row set to zero; at least one stays."""

    kind: Literal["channel_dropout"] = "channel_dropout"
    p: float = 0.5
    """Probability of a row."""
    channels: int = 1
    """The number is drawn from 1 to this."""

    def __post_init__(self) -> None:
        check_share(self.kind, p=self.p)
        if self.channels < 1:
            raise DataError(f"augmentation channel_dropout: channels must be 1 or more, got {self.channels}")

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        most = min(self.channels, x.shape[1] - 1)
        number = (1 + rand(x, generator) * most).floor().clamp(max=most) * (rand(x, generator) < self.p)
        rank = rand(x, generator, x.shape[1]).argsort(dim=1).argsort(dim=1)
        return _without(x, [(rank < number[:, None]).view(*x.shape[:2], *[1] * (x.ndim - 2))])


def _mask_strips(x: Tensor, axis: int, p: float, masks: int, share: float, generator: Generator) -> Tensor:
    chosen, draw = rand(x, generator) < p, rand(x, generator, masks, 2)
    return _without(x, [strip(x, axis, draw[:, i, 0] * share * chosen, draw[:, i, 1]) for i in range(masks)])


def _without(x: Tensor, masks: list[Tensor]) -> Tensor:
    """`x` with zeros where any mask is True: one product, which keeps the memory layout, however many masks."""
    covered = masks[0]
    for mask in masks[1:]:
        covered = covered | mask
    return x * ~covered
