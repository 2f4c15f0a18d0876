"""Augmentation as batched tensor code: every row of a batch draws its own parameters, all from one generator.

Settings import no torch. They work on scaled inputs (mean 0, variance 1 a channel), so 0 is the neutral fill; sizes are
shares of an axis, so they do not depend on the resolution. Images are (B, C, H, W), signals (B, C, T); the last axis is
time in both, the height of a spectrogram is its frequency axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from foldstill.data.draws import rand
from foldstill.data.erasing import ChannelDropout, Cutout, FrequencyMask, TimeMask
from foldstill.data.mixing import AnyMix, Mix, Mosaic
from foldstill.data.moving import ChainReversal, HemisphereSwap, HorizontalFlip, Shift, TimeShift
from foldstill.settings import Settings

if TYPE_CHECKING:
    from torch import Generator, Tensor


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
