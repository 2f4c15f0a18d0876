"""Augmentation as batched tensor code: every row of a batch draws its own parameters, all from one generator.

Settings import no torch. They work on scaled inputs (mean 0 and variance 1 per channel), so 0 is the neutral fill;
sizes are shares of an axis, so they do not depend on the resolution. Images are (B, C, H, W), signals (B, C, T); the
last axis is time in both, the height of a spectrogram is its frequency axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from foldstill.data.augmentation import RowAugmentation, RowMix, RowMixing
from foldstill.data.draws import rand
from foldstill.data.erasing import ChannelDropout, Cutout, FrequencyMask, TimeMask
from foldstill.data.mixing import CutMix, Mixup, Mosaic, SameClassCutMix
from foldstill.data.moving import ChainReversal, HemisphereSwap, HorizontalFlip, Shift, TimeShift
from foldstill.settings import ByKind

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Gain(RowAugmentation, kind="gain"):
    """Multiplies each row by exp(u), u uniform in [-size, size].

    Examples
    --------
    >>> import torch
    >>> signals = torch.ones(1, 1, 2)
    >>> louder = Gain()(signals, torch.Generator().manual_seed(0))
    >>> round(float(louder[0, 0, 0]), 3)
    0.999
    """

    size: float = 0.2
    """Largest absolute logarithm of the factor."""

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        factor = ((2 * rand(x, generator) - 1) * self.size).exp()
        return x * factor.view(-1, *[1] * (x.ndim - 1))


@dataclass(frozen=True)
class Noise(RowAugmentation, kind="noise"):
    """Adds Gaussian noise; its standard deviation is drawn per row, uniform in [0, std].

    Examples
    --------
    >>> import torch
    >>> signals = torch.zeros(1, 1, 10_000)
    >>> round(float(Noise(std=1.0)(signals, torch.Generator().manual_seed(0)).std()), 2)
    0.5
    """

    std: float = 0.1
    """Largest standard deviation, in units of the scaled input."""

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        import torch

        std = rand(x, generator).view(-1, *[1] * (x.ndim - 1)) * self.std
        return x + std * torch.randn(x.shape, generator=generator, device=x.device)


AUGMENTATIONS = (
    HorizontalFlip,
    Shift,
    TimeShift,
    Cutout,
    TimeMask,
    FrequencyMask,
    Gain,
    Noise,
    ChannelDropout,
    HemisphereSwap,
    ChainReversal,
    Mixup,
    CutMix,
    SameClassCutMix,
    Mosaic,
)
"""Every kind of augmentation that an experiment file can name."""

AnyAugmentation = Annotated[RowAugmentation | RowMixing, ByKind(AUGMENTATIONS)]


def augment(
    x: Tensor,
    settings: Sequence[AnyAugmentation],
    generator: Generator,
    *,
    target_BC: Tensor,
    group_B: Tensor | None = None,
    epoch: int = 0,
) -> tuple[Tensor, list[RowMix]]:
    """Apply the augmentations in their order; also gives the mixes of rows, from which the caller makes the targets.

    `target_BC` is what same-class CutMix compares; partners are drawn within `group_B` where it is given. The same
    state of the generator gives the same result. Raises DataError where an augmentation does not fit the shape of the
    batch.
    """
    mixes: list[RowMix] = []
    for op in settings:
        if isinstance(op, Mosaic) and epoch >= op.epochs:
            continue
        if isinstance(op, RowMixing):
            x, mix = op.mix(x, target_BC, group_B, generator)
            if mix is not None:
                mixes.append(mix)
                target_BC = mix.rates(target_BC)
        else:
            x = op(x, generator)
    return x, mixes
