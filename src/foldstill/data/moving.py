"""Augmentations that move values to another position: flips, shifts, channels that change places.

Same conventions as `augment`: B batch; images (B, C, H, W), signals (B, C, T), time last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foldstill.data.augmentation import RowAugmentation, SomeRows
from foldstill.data.draws import check_share, choose, images_only, rand
from foldstill.errors import DataError

if TYPE_CHECKING:
    from typing import Self

    from torch import Generator, Tensor


@dataclass(frozen=True)
class HorizontalFlip(SomeRows, RowAugmentation, kind="horizontal_flip"):
    """Reverses the last axis.

    Examples
    --------
    >>> import torch
    >>> signals = torch.tensor([[[1.0, 2.0, 3.0]]])
    >>> HorizontalFlip(p=1.0)(signals, torch.Generator().manual_seed(0)).tolist()
    [[[3.0, 2.0, 1.0]]]
    """

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        return choose(rand(x, generator) < self.p, x.flip(-1), x)


@dataclass(frozen=True)
class Shift(RowAugmentation, kind="shift"):
    """Moves an image along both axes and fills with zeros: the random crop after padding of CIFAR recipes.

    Examples
    --------
    >>> import torch
    >>> images = torch.ones(1, 1, 8, 8)
    >>> moved = Shift(share=0.25)(images, torch.Generator().manual_seed(0))
    >>> float(moved.mean())
    0.875
    """

    share: float = 0.125
    """Largest shift as a share of the axis."""

    def __post_init__(self) -> None:
        check_share(self.kind, share=self.share)

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        import torch
        import torch.nn.functional as F  # noqa: N812 - torch's own name for it

        images_only(self.kind, x)
        (pad_y, pad_x), draw = (round(self.share * n) for n in x.shape[2:]), rand(x, generator, 2)
        start_y, start_x = (draw[:, 0] * (2 * pad_y + 1)).long(), (draw[:, 1] * (2 * pad_x + 1)).long()
        # Channels last, so that a pixel is one contiguous read: as rows of one table twice as fast as by three indices.
        padded = F.pad(x, (pad_x, pad_x, pad_y, pad_y)).permute(0, 2, 3, 1)
        n, height, width, channels = padded.shape
        rows_BH = start_y[:, None] + torch.arange(x.shape[2], device=x.device)
        columns_BW = start_x[:, None] + torch.arange(x.shape[3], device=x.device)
        first_BH = (torch.arange(n, device=x.device)[:, None] * height + rows_BH) * width
        pixels_BHW = first_BH[:, :, None] + columns_BW[:, None]
        moved = padded.reshape(-1, channels).index_select(0, pixels_BHW.flatten())
        return moved.view(*pixels_BHW.shape, channels).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class TimeShift(RowAugmentation, kind="time_shift"):
    """Rolls the last axis; what leaves at one end enters at the other.

    Examples
    --------
    >>> import torch
    >>> signals = torch.arange(5.0).view(1, 1, 5)
    >>> TimeShift(share=0.5)(signals, torch.Generator().manual_seed(1)).tolist()
    [[[4.0, 0.0, 1.0, 2.0, 3.0]]]
    """

    share: float = 0.1
    """Largest shift as a share of the axis."""

    def __post_init__(self) -> None:
        check_share(self.kind, share=self.share)

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        import torch

        length = x.shape[-1]
        shift = ((2 * rand(x, generator) - 1) * self.share * length).round().long()
        source = (torch.arange(length, device=x.device) - shift[:, None]) % length
        return x.gather(-1, source.view(len(x), *[1] * (x.ndim - 2), length).expand(x.shape))


@dataclass(frozen=True)
class HemisphereSwap(SomeRows, RowAugmentation, kind="hemisphere_swap"):
    """Permutes the channels so that the left and the right hemisphere of a montage change places.

    Examples
    --------
    >>> import torch
    >>> signals = torch.tensor([[[1.0], [2.0], [3.0]]])
    >>> HemisphereSwap((1, 0, 2), p=1.0)(signals, torch.Generator().manual_seed(0)).tolist()
    [[[2.0], [1.0], [3.0]]]
    """

    permutation: tuple[int, ...]
    """For each new channel, the old channel that takes its place; channels are counted from 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if sorted(self.permutation) != list(range(len(self.permutation))):
            raise DataError(f"augmentation hemisphere_swap: {self.permutation} must hold each channel 0, 1, ... once")

    @classmethod
    def example(cls) -> Self:
        return cls((1, 0))

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        import torch

        if len(self.permutation) != x.shape[1]:
            raise DataError(
                f"augmentation hemisphere_swap permutes {len(self.permutation)} channels, the view has {x.shape[1]}: "
                "name every channel, also those that stay"
            )
        # Stacked, not indexed by a list: that would be copied to a GPU, which waits for it.
        swapped = torch.stack([x[:, channel] for channel in self.permutation], dim=1)
        return choose(rand(x, generator) < self.p, swapped, x)


@dataclass(frozen=True)
class ChainReversal(SomeRows, RowAugmentation, kind="chain_reversal"):
    """Reads every bipolar chain from its other end: its channels in reverse order and with opposite sign.

    Examples
    --------
    >>> import torch
    >>> signals = torch.tensor([[[1.0], [2.0], [3.0]]])
    >>> ChainReversal(((0, 1),), p=1.0)(signals, torch.Generator().manual_seed(0)).tolist()
    [[[-2.0], [-1.0], [3.0]]]
    """

    chains: tuple[tuple[int, ...], ...]
    """Channels of each chain in their order, counted from 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        named = [channel for chain in self.chains for channel in chain]
        if len(set(named)) < len(named) or not named:
            raise DataError(f"augmentation chain_reversal: chains must hold a channel at most once, got {self.chains}")

    @classmethod
    def example(cls) -> Self:
        return cls(((0, 1),))

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        import torch

        channels = list(x.unbind(dim=1))
        for chain in self.chains:
            if max(chain) >= len(channels):
                raise DataError(
                    f"augmentation chain_reversal names channel {max(chain)}, the view has {len(channels)} channels "
                    "from 0: correct `chains`"
                )
            for channel, opposite in zip(chain, chain[::-1], strict=True):
                channels[channel] = -x[:, opposite]
        return choose(rand(x, generator) < self.p, torch.stack(channels, dim=1), x)
