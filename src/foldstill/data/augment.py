"""Augmentation as batched tensor code: every row of a batch draws its own parameters, all from one generator.

Settings import no torch. They work on scaled inputs (mean 0, variance 1 a channel), so 0 is the neutral fill; sizes are
shares of an axis, so they do not depend on the resolution. Images are (B, C, H, W), signals (B, C, T); the last axis is
time in both, the height of a spectrogram is its frequency axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from foldstill.data.draws import check_share, choose, images_only, rand, strip
from foldstill.data.mixing import AnyMix, Mix, Mosaic
from foldstill.errors import DataError
from foldstill.settings import Settings

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class HorizontalFlip(Settings):
    """The last axis reversed."""

    kind: Literal["horizontal_flip"] = "horizontal_flip"
    p: float = 0.5
    """Probability of a row."""

    def __post_init__(self) -> None:
        check_share(self.kind, p=self.p)

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        return choose(rand(x, generator) < self.p, x.flip(-1), x)


@dataclass(frozen=True)
class Shift(Settings):
    """Image moved up to `share` of each axis, zeros moved in: the random crop after padding of CIFAR recipes."""

    kind: Literal["shift"] = "shift"
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
        # Channels last, so that a pixel is one contiguous read.
        padded = F.pad(x, (pad_x, pad_x, pad_y, pad_y)).permute(0, 2, 3, 1)
        rows_BH = start_y[:, None] + torch.arange(x.shape[2], device=x.device)
        columns_BW = start_x[:, None] + torch.arange(x.shape[3], device=x.device)
        image_B = torch.arange(len(x), device=x.device)
        return padded[image_B[:, None, None], rows_BH[:, :, None], columns_BW[:, None, :]].permute(0, 3, 1, 2)


@dataclass(frozen=True)
class TimeShift(Settings):
    """The last axis rolled by up to `share` of its length; what leaves at one end enters at the other."""

    kind: Literal["time_shift"] = "time_shift"
    share: float = 0.1
    """Largest shift as a share of the axis."""

    def __post_init__(self) -> None:
        check_share(self.kind, share=self.share)

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        import torch

        length = x.shape[-1]
        shift = ((2 * rand(x, generator) - 1) * self.share * length).round().long()
        place = (torch.arange(length, device=x.device) - shift[:, None]) % length
        return x.gather(-1, place.view(len(x), *[1] * (x.ndim - 2), length).expand(x.shape))


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


def _mask_strips(x: Tensor, axis: int, p: float, masks: int, share: float, generator: Generator) -> Tensor:
    chosen, draw = rand(x, generator) < p, rand(x, generator, masks, 2)
    return _without(x, [strip(x, axis, draw[:, i, 0] * share * chosen, draw[:, i, 1]) for i in range(masks)])


def _without(x: Tensor, masks: list[Tensor]) -> Tensor:
    """`x` with zeros where any mask is True: one product, which keeps the memory layout, however many masks."""
    covered = masks[0]
    for mask in masks[1:]:
        covered = covered | mask
    return x * ~covered


@dataclass(frozen=True)
class Gain(Settings):
    """Values times exp(u), u uniform in [-size, size]; one factor a row."""

    kind: Literal["gain"] = "gain"
    size: float = 0.2
    """Largest log of the factor."""

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        factor = ((2 * rand(x, generator) - 1) * self.size).exp()
        return x * factor.view(-1, *[1] * (x.ndim - 1))


@dataclass(frozen=True)
class Noise(Settings):
    """Gaussian noise added; its standard deviation is drawn for each row."""

    kind: Literal["noise"] = "noise"
    std: float = 0.1
    """Largest standard deviation, in units of the scaled input."""

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        import torch

        std = rand(x, generator).view(-1, *[1] * (x.ndim - 1)) * self.std
        return x + std * torch.randn(x.shape, generator=generator, device=x.device)


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


@dataclass(frozen=True)
class HemisphereSwap(Settings):
    """Channels permuted, left and right hemispheres of a montage exchanged."""

    permutation: tuple[int, ...]
    """Old channel of each new one."""
    kind: Literal["hemisphere_swap"] = "hemisphere_swap"
    p: float = 0.5
    """Probability of a row."""

    def __post_init__(self) -> None:
        check_share(self.kind, p=self.p)
        if sorted(self.permutation) != list(range(len(self.permutation))):
            raise DataError(f"augmentation hemisphere_swap: {self.permutation} must hold each channel 0, 1, ... once")

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
class ChainReversal(Settings):
    """Every bipolar chain read from its other end: its channels in reverse order and with opposite sign."""

    chains: tuple[tuple[int, ...], ...]
    """Channels of each chain in order."""
    kind: Literal["chain_reversal"] = "chain_reversal"
    p: float = 0.5
    """Probability of a row."""

    def __post_init__(self) -> None:
        check_share(self.kind, p=self.p)
        named = [channel for chain in self.chains for channel in chain]
        if len(set(named)) < len(named) or not named:
            raise DataError(f"augmentation chain_reversal: chains must hold a channel at most once, got {self.chains}")

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


AnyAugmentation = (
    HorizontalFlip
    | Shift
    | TimeShift
    | Cutout
    | TimeMask
    | FrequencyMask
    | Gain
    | Noise
    | ChannelDropout
    | HemisphereSwap
    | ChainReversal
    | AnyMix
)


def augment(
    x: Tensor,
    settings: Sequence[AnyAugmentation],
    generator: Generator,
    *,
    target_BC: Tensor,
    group_B: Tensor | None = None,
    epoch: int = 0,
) -> tuple[Tensor, list[Mix]]:
    """The batch augmented in the order of the settings, and the mixes it went through, for whoever makes its targets.

    `target_BC` tells same-class CutMix what a row shows; partners are drawn within `group_B` where it is given. The same
    generator state gives the same result. Raises DataError where an augmentation does not fit the shape of the batch.
    """
    mixes: list[Mix] = []
    for op in settings:
        if isinstance(op, Mosaic) and epoch >= op.epochs:
            continue
        if isinstance(op, AnyMix):
            x, mix = op.mix(x, target_BC, group_B, generator)
            if mix is not None:
                mixes.append(mix)
                target_BC = mix.rates(target_BC)
        else:
            x = op(x, generator)
    return x, mixes
