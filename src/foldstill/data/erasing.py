"""Augmentations that set parts of a row to zero, which is the mean of scaled inputs.

Same conventions as `augment`: B batch; images (B, C, H, W), signals (B, C, T), time last.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foldstill.data.augmentation import RowAugmentation, SomeRows
from foldstill.data.draws import check_share, images_only, rand, strip
from foldstill.errors import DataError

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Cutout(SomeRows, RowAugmentation, kind="cutout"):
    """Sets rectangles of an image to zero (coarse dropout; DeVries and Taylor, 2017).

    Examples
    --------
    >>> import torch
    >>> images = torch.ones(1, 1, 8, 8)
    >>> erased = Cutout(p=1.0, size=0.5)(images, torch.Generator().manual_seed(0))
    >>> int((erased == 0).sum())
    8
    """

    holes: int = 1
    """Number of rectangles per row."""
    size: float = 0.25
    """Longest side of a rectangle as a share of the axis; each side is drawn between half of it and all of it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.kind, size=self.size)
        if self.holes < 1:
            raise DataError(f"augmentation cutout: holes must be 1 or more, got {self.holes}")

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:

        images_only(self.kind, x)
        chosen, draw = rand(x, generator) < self.p, rand(x, generator, self.holes, 4)
        side = self.size * (0.5 + draw[..., :2] / 2) * chosen[:, None, None]
        rows, columns = (
            strip(x, axis, side[..., i].flatten(), draw[..., 2 + i].flatten()).view(len(x), self.holes, -1)
            for i, axis in enumerate((2, 3))
        )
        # Rectangles as one product (B, H, holes) @ (B, holes, W): four times faster than one by one.
        covered = rows.to(x.dtype).mT @ columns.to(x.dtype)
        return _without(x, [(covered > 0)[:, None]])


@dataclass(frozen=True, kw_only=True)
class StripMask(SomeRows, RowAugmentation):
    """What masks of one axis have in common: strips of that axis are set to zero."""

    masks: int = 1
    """Number of strips per row."""
    share: float = 0.2
    """Longest strip as a share of the axis."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.kind, share=self.share)

    @abstractmethod
    def axis(self, x: Tensor) -> int:
        """The axis that is masked."""

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        axis = self.axis(x)
        chosen, draw = rand(x, generator) < self.p, rand(x, generator, self.masks, 2)
        lengths = [draw[:, i, 0] * self.share * chosen for i in range(self.masks)]
        return _without(x, [strip(x, axis, length, draw[:, i, 1]) for i, length in enumerate(lengths)])


@dataclass(frozen=True)
class TimeMask(StripMask, kind="time_mask"):
    """Sets strips of time, the last axis, to zero (SpecAugment; Park et al., 2019).

    Examples
    --------
    >>> import torch
    >>> signals = torch.ones(1, 2, 40)
    >>> masked = TimeMask(p=1.0, share=0.5)(signals, torch.Generator().manual_seed(0))
    >>> int((masked == 0).sum())
    30
    """

    def axis(self, x: Tensor) -> int:
        return x.ndim - 1


@dataclass(frozen=True)
class FrequencyMask(StripMask, kind="frequency_mask"):
    """Sets strips of frequency, the height of an image, to zero (SpecAugment; Park et al., 2019).

    Examples
    --------
    >>> import torch
    >>> images = torch.ones(1, 1, 20, 4)
    >>> masked = FrequencyMask(p=1.0, share=0.5)(images, torch.Generator().manual_seed(0))
    >>> int((masked == 0).sum())
    32
    """

    def axis(self, x: Tensor) -> int:
        images_only(self.kind, x)
        return 2


@dataclass(frozen=True)
class ChannelDropout(SomeRows, RowAugmentation, kind="channel_dropout"):
    """Sets up to `channels` channels of a row to zero; at least one channel stays.

    Examples
    --------
    >>> import torch
    >>> signals = torch.ones(4, 3, 5)
    >>> dropped = ChannelDropout(p=1.0)(signals, torch.Generator().manual_seed(0))
    >>> dropped.sum(dim=(1, 2)).tolist()
    [10.0, 10.0, 10.0, 10.0]
    """

    channels: int = 1
    """Maximum number of channels per row; the number is drawn from 1 to this."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels < 1:
            raise DataError(f"augmentation channel_dropout: channels must be 1 or more, got {self.channels}")

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        most = min(self.channels, x.shape[1] - 1)
        number = (1 + rand(x, generator) * most).floor().clamp(max=most) * (rand(x, generator) < self.p)
        rank = rand(x, generator, x.shape[1]).argsort(dim=1).argsort(dim=1)
        return _without(x, [(rank < number[:, None]).view(*x.shape[:2], *[1] * (x.ndim - 2))])


def _without(x: Tensor, masks: list[Tensor]) -> Tensor:
    """`x` with zeros where any mask is True: one product, which keeps the memory layout, however many masks."""
    covered = masks[0]
    for mask in masks[1:]:
        covered = covered | mask
    return x * ~covered
