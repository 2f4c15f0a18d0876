"""Augmentation as batched tensor code: every row of a batch draws its own parameters, all from one generator.

Settings import no torch. They work on scaled inputs (mean 0, variance 1 a channel), so 0 is the neutral fill; sizes are
shares of an axis, so they do not depend on the resolution. Images are (B, C, H, W), signals (B, C, T); the last axis is
time in both, the height of a spectrogram is its frequency axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from foldstill.errors import DataError

if TYPE_CHECKING:
    from torch import Generator, Tensor

_FORBID: dict[str, Any] = {"extra": "forbid"}


def _check_share(kind: str, **shares: float) -> None:
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise DataError(f"augmentation {kind}: {name} must be in [0, 1], got {value}")


@dataclass(frozen=True)
class Mix:
    """How rows of a mixed batch are made of rows of the batch before: P partners each, shares that sum to one."""

    partner_BP: Tensor
    share_BP: Tensor

    def rates(self, value_B: Tensor) -> Tensor:
        """Values a row, (B,) or (B, C), mixed as the inputs are: vote shares as rates, so that many votes do not swamp few."""
        picked = value_B[self.partner_BP]
        share = self.share_BP if picked.ndim == 2 else self.share_BP[..., None]
        return (picked * share).sum(dim=1)


def _rand(x: Tensor, generator: Generator, *shape: int) -> Tensor:
    import torch

    return torch.rand(len(x), *shape, generator=generator, device=x.device)


def _where(chosen_B: Tensor, new: Tensor, old: Tensor) -> Tensor:
    import torch

    return torch.where(chosen_B.view(-1, *[1] * (old.ndim - 1)), new, old)


def _inside(x: Tensor, axis: int, start_B: Tensor, length_B: Tensor) -> Tensor:
    """Mask that broadcasts against x: True where the position on `axis` is in [start, start + length)."""
    import torch

    shape = [1] * x.ndim
    shape[axis] = x.shape[axis]
    place = torch.arange(x.shape[axis], device=x.device).view(shape)
    start, end = (v.view(-1, *[1] * (x.ndim - 1)) for v in (start_B, start_B + length_B))
    return (place >= start) & (place < end)


def _strip(x: Tensor, axis: int, share_B: Tensor, place_B: Tensor) -> Tensor:
    """Mask of a strip: its length a share of the axis, its start drawn by `place` in [0, 1) where it fits."""
    size = x.shape[axis]
    length = (share_B * size).round()
    return _inside(x, axis, (place_B * (size - length + 1)).floor(), length)


def _images_only(kind: str, x: Tensor) -> None:
    if x.ndim != 4:
        raise DataError(
            f"augmentation {kind} needs images (B, C, H, W), got a batch of shape {tuple(x.shape)}: leave it out"
        )


def _partners(x: Tensor, generator: Generator, group_B: Tensor | None) -> Tensor:
    """A partner for each row, drawn within its group (a fold, a class); the whole batch is one group without."""
    import torch

    keys = _rand(x, generator, 2)
    if group_B is not None:
        keys = keys.double() + group_B.double()[:, None]
    order = keys.argsort(dim=0)
    partner = torch.empty(len(x), dtype=torch.long, device=x.device)
    # Both orders list the groups at the same places, so pairing them by place stays within groups.
    partner[order[:, 0]] = order[:, 1]
    return partner


@dataclass(frozen=True)
class HorizontalFlip:
    """The last axis reversed."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    kind: Literal["horizontal_flip"] = "horizontal_flip"
    p: float = 0.5
    """Probability of a row."""

    def __post_init__(self) -> None:
        _check_share(self.kind, p=self.p)

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        return _where(_rand(x, generator) < self.p, x.flip(-1), x)


@dataclass(frozen=True)
class Shift:
    """Image moved up to `share` of each axis, zeros moved in: the random crop after padding of CIFAR recipes."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    kind: Literal["shift"] = "shift"
    share: float = 0.125
    """Largest shift as a share of the axis."""

    def __post_init__(self) -> None:
        _check_share(self.kind, share=self.share)

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        import torch
        from torch.nn import functional as F

        _images_only(self.kind, x)
        (pad_y, pad_x), draw = (round(self.share * n) for n in x.shape[2:]), _rand(x, generator, 2)
        start = (draw * torch.tensor([2 * pad_y + 1, 2 * pad_x + 1], device=x.device)).long()
        # Channels last, so that a pixel is one contiguous read.
        padded = F.pad(x, (pad_x, pad_x, pad_y, pad_y)).permute(0, 2, 3, 1)
        y = start[:, 0, None] + torch.arange(x.shape[2], device=x.device)
        z = start[:, 1, None] + torch.arange(x.shape[3], device=x.device)
        row = torch.arange(len(x), device=x.device)
        return padded[row[:, None, None], y[:, :, None], z[:, None, :]].permute(0, 3, 1, 2)


@dataclass(frozen=True)
class TimeShift:
    """The last axis rolled by up to `share` of its length; what leaves at one end enters at the other."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    kind: Literal["time_shift"] = "time_shift"
    share: float = 0.1
    """Largest shift as a share of the axis."""

    def __post_init__(self) -> None:
        _check_share(self.kind, share=self.share)

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        import torch

        length = x.shape[-1]
        shift = ((2 * _rand(x, generator) - 1) * self.share * length).round().long()
        place = (torch.arange(length, device=x.device) - shift[:, None]) % length
        return x.gather(-1, place.view(len(x), *[1] * (x.ndim - 2), length).expand(x.shape))


@dataclass(frozen=True)
class Cutout:
    """Rectangles of an image set to zero (coarse dropout; DeVries and Taylor, 2017)."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    kind: Literal["cutout"] = "cutout"
    p: float = 0.5
    """Probability of a row."""
    holes: int = 1
    """Rectangles a row."""
    size: float = 0.25
    """Largest side as a share of the axis; the sides are drawn between half of it and it."""

    def __post_init__(self) -> None:
        _check_share(self.kind, p=self.p, size=self.size)
        if self.holes < 1:
            raise DataError(f"augmentation cutout: holes must be 1 or more, got {self.holes}")

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        _images_only(self.kind, x)
        chosen, draw = _rand(x, generator) < self.p, _rand(x, generator, self.holes, 4)
        for hole in draw.unbind(dim=1):
            side = self.size * (0.5 + hole[:, :2] / 2) * chosen[:, None]
            x = x.masked_fill(_strip(x, 2, side[:, 0], hole[:, 2]) & _strip(x, 3, side[:, 1], hole[:, 3]), 0.0)
        return x


@dataclass(frozen=True)
class TimeMask:
    """Strips of the last axis set to zero (SpecAugment; Park et al., 2019)."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    kind: Literal["time_mask"] = "time_mask"
    p: float = 0.5
    """Probability of a row."""
    masks: int = 1
    """Strips a row."""
    share: float = 0.2
    """Largest length of a strip as a share of the axis."""

    def __post_init__(self) -> None:
        _check_share(self.kind, p=self.p, share=self.share)

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        return _mask_strips(x, x.ndim - 1, self.p, self.masks, self.share, generator)


@dataclass(frozen=True)
class FrequencyMask:
    """Strips of the height of an image set to zero."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    kind: Literal["frequency_mask"] = "frequency_mask"
    p: float = 0.5
    """Probability of a row."""
    masks: int = 1
    """Strips a row."""
    share: float = 0.2
    """Largest width of a strip as a share of the axis."""

    def __post_init__(self) -> None:
        _check_share(self.kind, p=self.p, share=self.share)

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        _images_only(self.kind, x)
        return _mask_strips(x, 2, self.p, self.masks, self.share, generator)


def _mask_strips(x: Tensor, axis: int, p: float, masks: int, share: float, generator: Generator) -> Tensor:
    chosen, draw = _rand(x, generator) < p, _rand(x, generator, masks, 2)
    for strip in draw.unbind(dim=1):
        x = x.masked_fill(_strip(x, axis, strip[:, 0] * share * chosen, strip[:, 1]), 0.0)
    return x


@dataclass(frozen=True)
class Gain:
    """Values times exp(u), u uniform in [-size, size]; one factor a row."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    kind: Literal["gain"] = "gain"
    size: float = 0.2
    """Largest log of the factor."""

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        factor = ((2 * _rand(x, generator) - 1) * self.size).exp()
        return x * factor.view(-1, *[1] * (x.ndim - 1))


@dataclass(frozen=True)
class Noise:
    """Gaussian noise added; its standard deviation is drawn for each row."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    kind: Literal["noise"] = "noise"
    std: float = 0.1
    """Largest standard deviation, in units of the scaled input."""

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        import torch

        std = _rand(x, generator).view(-1, *[1] * (x.ndim - 1)) * self.std
        return x + std * torch.randn(x.shape, generator=generator, device=x.device)


@dataclass(frozen=True)
class ChannelDropout:
    """Up to `channels` whole channels of a row set to zero; at least one stays."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    kind: Literal["channel_dropout"] = "channel_dropout"
    p: float = 0.5
    """Probability of a row."""
    channels: int = 1
    """The number is drawn from 1 to this."""

    def __post_init__(self) -> None:
        _check_share(self.kind, p=self.p)
        if self.channels < 1:
            raise DataError(f"augmentation channel_dropout: channels must be 1 or more, got {self.channels}")

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        most = min(self.channels, x.shape[1] - 1)
        number = (1 + _rand(x, generator) * most).floor().clamp(max=most) * (_rand(x, generator) < self.p)
        rank = _rand(x, generator, x.shape[1]).argsort(dim=1).argsort(dim=1)
        return x.masked_fill((rank < number[:, None]).view(*x.shape[:2], *[1] * (x.ndim - 2)), 0.0)


@dataclass(frozen=True)
class HemisphereSwap:
    """Channels permuted, left and right hemispheres of a montage exchanged."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    permutation: tuple[int, ...]
    """Old channel of each new one."""
    kind: Literal["hemisphere_swap"] = "hemisphere_swap"
    p: float = 0.5
    """Probability of a row."""

    def __post_init__(self) -> None:
        _check_share(self.kind, p=self.p)
        if sorted(self.permutation) != list(range(len(self.permutation))):
            raise DataError(f"augmentation hemisphere_swap: {self.permutation} must hold each channel 0, 1, ... once")

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        if len(self.permutation) != x.shape[1]:
            raise DataError(
                f"augmentation hemisphere_swap permutes {len(self.permutation)} channels, the view has {x.shape[1]}: "
                "name every channel, also those that stay"
            )
        return _where(_rand(x, generator) < self.p, x[:, list(self.permutation)], x)


@dataclass(frozen=True)
class ChainReversal:
    """The channels of every bipolar chain in reverse order and with opposite sign: the chain read from its other end."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    chains: tuple[tuple[int, ...], ...]
    """Channels of each chain in order."""
    kind: Literal["chain_reversal"] = "chain_reversal"
    p: float = 0.5
    """Probability of a row."""

    def __post_init__(self) -> None:
        _check_share(self.kind, p=self.p)
        named = [channel for chain in self.chains for channel in chain]
        if len(set(named)) < len(named) or not named:
            raise DataError(f"augmentation chain_reversal: chains must hold a channel at most once, got {self.chains}")

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        reversed_ = x.clone()
        for chain in self.chains:
            reversed_[:, list(chain)] = -x[:, list(chain[::-1])]
        return _where(_rand(x, generator) < self.p, reversed_, x)


@dataclass(frozen=True)
class Mixup:
    """Two rows blended, inputs and targets alike (Zhang et al., 2018)."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    kind: Literal["mixup"] = "mixup"
    p: float = 1.0
    """Probability of a row."""
    alpha: float = 0.4
    """Both parameters of the Beta distribution that the share is drawn from."""

    def __post_init__(self) -> None:
        _check_share(self.kind, p=self.p)
        if self.alpha <= 0:
            raise DataError(f"augmentation mixup: alpha must be positive, got {self.alpha}")

    def mix(
        self, x: Tensor, target_BC: Tensor, group_B: Tensor | None, generator: Generator
    ) -> tuple[Tensor, Mix | None]:
        keep = _beta(x, self.alpha, generator)
        keep = _where(_rand(x, generator) < self.p, keep, keep.new_ones(()))
        partner = _partners(x, generator, group_B)
        shape = (-1, *[1] * (x.ndim - 1))
        return x.lerp(x[partner], (1 - keep).view(shape)), _pairs(partner, keep)


@dataclass(frozen=True)
class CutMix:
    """A box of another row pasted in, or a strip of time; targets mix by area (Yun et al., 2019)."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    kind: Literal["cutmix"] = "cutmix"
    p: float = 0.5
    """Probability of a row."""
    alpha: float = 1.0
    """Both parameters of the Beta distribution that the kept share is drawn from."""
    shape: Literal["box", "time"] = "box"
    """A box (images only) or a strip over all rows of the last axis."""

    def __post_init__(self) -> None:
        _check_share(self.kind, p=self.p)
        if self.alpha <= 0:
            raise DataError(f"augmentation cutmix: alpha must be positive, got {self.alpha}")

    def mix(
        self, x: Tensor, target_BC: Tensor, group_B: Tensor | None, generator: Generator
    ) -> tuple[Tensor, Mix | None]:
        cut = (1 - _beta(x, self.alpha, generator)) * (_rand(x, generator) < self.p)
        place, partner = _rand(x, generator, 2), _partners(x, generator, group_B)
        if self.shape == "box":
            _images_only(self.kind, x)
            side = cut.sqrt()
            pasted = _strip(x, 2, side, place[:, 0]) & _strip(x, 3, side, place[:, 1])
        else:
            pasted = _strip(x, x.ndim - 1, cut, place[:, 0])
        keep = 1 - pasted.float().flatten(1).mean(dim=1)
        return x[partner].where(pasted, x), _pairs(partner, keep)


@dataclass(frozen=True)
class SameClassCutMix:
    """A strip of time pasted in from another row of the same clear class; targets stay as they are."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    kind: Literal["same_class_cutmix"] = "same_class_cutmix"
    p: float = 0.4
    """Probability of a row."""
    min_share: float = 0.5
    """Rows take part whose most voted class has at least this share."""
    length: tuple[float, float] = (1 / 12, 1 / 4)
    """Shortest and longest strip as shares of the axis."""
    starts: tuple[tuple[float, float], ...] = ((0.0, 1 / 6), (7 / 12, 3 / 4))
    """Where a strip may begin, as shares of the axis; the defaults spare the middle, which is what experts judged."""

    def __post_init__(self) -> None:
        _check_share(self.kind, p=self.p, min_share=self.min_share)
        _check_share(self.kind, shortest=self.length[0], longest=self.length[1])
        if not self.starts:
            raise DataError("augmentation same_class_cutmix: starts must name one range or more")

    def mix(
        self, x: Tensor, target_BC: Tensor, group_B: Tensor | None, generator: Generator
    ) -> tuple[Tensor, Mix | None]:
        import torch

        top = target_BC.max(dim=1)
        clear = top.values >= self.min_share
        group = torch.where(clear, top.indices, target_BC.shape[1])
        if group_B is not None:
            group = group + group_B * (target_BC.shape[1] + 1)
        draw, partner = _rand(x, generator, 4), _partners(x, generator, group)
        length = self.length[0] + draw[:, 0] * (self.length[1] - self.length[0])
        first, last = torch.tensor(self.starts, device=x.device)[(draw[:, 1] * len(self.starts)).long()].unbind(dim=1)
        columns = x.shape[-1]
        start = ((first + draw[:, 2] * (last - first)) * columns).round()
        chosen = clear & (draw[:, 3] < self.p)
        pasted = _inside(x, x.ndim - 1, start, (length * columns).round() * chosen)
        return x[partner].where(pasted, x), None


@dataclass(frozen=True)
class Mosaic:
    """In the first epochs, four rows squeezed to a quarter of the time each and put side by side; targets are their mean."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    kind: Literal["mosaic"] = "mosaic"
    epochs: int = 3
    """The warm-up: epochs in which it is applied, to every row."""

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise DataError(f"augmentation mosaic: epochs must be 1 or more, got {self.epochs}: leave it out instead")

    def mix(
        self, x: Tensor, target_BC: Tensor, group_B: Tensor | None, generator: Generator
    ) -> tuple[Tensor, Mix | None]:
        import torch

        length = x.shape[-1]
        if length < 4:
            raise DataError(f"augmentation mosaic needs 4 columns or more, got {length}: leave it out")
        partner = torch.stack(
            [torch.arange(len(x), device=x.device), *(_partners(x, generator, group_B) for _ in range(3))], 1
        )
        widths = [length // 4] * 3 + [length - 3 * (length // 4)]
        parts = [_squeeze(x[p], width) for p, width in zip(partner.unbind(dim=1), widths, strict=True)]
        share = torch.tensor(widths, device=x.device, dtype=torch.float32) / length
        return torch.cat(parts, dim=-1), Mix(partner, share.expand(len(x), 4))


def _squeeze(x: Tensor, width: int) -> Tensor:
    """The last axis averaged down to `width` columns."""
    from torch.nn import functional as F

    flat: Tensor = F.adaptive_avg_pool1d(x.reshape(len(x), -1, x.shape[-1]), width)
    return flat.view(*x.shape[:-1], width)


def _beta(x: Tensor, alpha: float, generator: Generator) -> Tensor:
    """Beta(alpha, alpha) for each row, from two gamma draws (torch.distributions takes no generator)."""
    import torch

    gamma = torch._standard_gamma(torch.full((len(x), 2), alpha, device=x.device), generator=generator)
    return (gamma[:, 0] / gamma.sum(dim=1)).nan_to_num(0.5)


def _pairs(partner_B: Tensor, keep_B: Tensor) -> Mix:
    import torch

    own = torch.arange(len(partner_B), device=partner_B.device)
    return Mix(torch.stack([own, partner_B], 1), torch.stack([keep_B, 1 - keep_B], 1))


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
    | Mixup
    | CutMix
    | SameClassCutMix
    | Mosaic
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
        if isinstance(op, Mixup | CutMix | SameClassCutMix | Mosaic):
            x, mix = op.mix(x, target_BC, group_B, generator)
            if mix is not None:
                mixes.append(mix)
                target_BC = mix.rates(target_BC)
        else:
            x = op(x, generator)
    return x, mixes
