"""Augmentations that make a row of several rows, and how their targets follow.

Same conventions as `augment`: B batch, C classes, P partners; images (B, C, H, W), signals (B, C, T), time last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from foldstill.data.augmentation import RowMix, RowMixing, SomeRows
from foldstill.data.draws import beta, check_share, choose, images_only, inside, partners, rand, strip
from foldstill.errors import DataError

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True, kw_only=True)
class PairMixing(SomeRows, RowMixing):
    """What mixing of two rows has in common: the share of each is drawn from a Beta distribution."""

    alpha: float = 1.0
    """Both parameters of the Beta distribution that the share is drawn from; larger values mix more evenly."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha <= 0:
            raise DataError(f"augmentation {self.kind}: alpha must be positive, got {self.alpha}")


@dataclass(frozen=True)
class Mixup(PairMixing, kind="mixup"):
    """Blends two rows, inputs and targets alike (Zhang et al., 2018).

    Examples
    --------
    >>> import torch
    >>> signals, targets = torch.tensor([[[0.0]], [[1.0]]]), torch.eye(2)
    >>> mixed, mix = Mixup().mix(signals, targets, None, torch.Generator().manual_seed(3))
    >>> bool(torch.isclose(mixed.flatten(), mix.rates(targets)[:, 1]).all())
    True
    """

    p: float = 1.0
    alpha: float = 0.4

    def mix(
        self, x: Tensor, target_BC: Tensor, group_B: Tensor | None, generator: Generator
    ) -> tuple[Tensor, RowMix | None]:
        keep = beta(x, self.alpha, generator)
        keep = keep.where(rand(x, generator) < self.p, 1.0)
        partner = partners(x, generator, group_B)
        shape = (-1, *[1] * (x.ndim - 1))
        return x.lerp(x[partner], (1 - keep).view(shape)), _pairs(partner, keep)


@dataclass(frozen=True)
class CutMix(PairMixing, kind="cutmix", title="CutMix"):
    """Pastes a box, or a strip of time, from another row; targets mix by area (Yun et al., 2019).

    Examples
    --------
    >>> import torch
    >>> signals, targets = torch.tensor([[[0.0] * 10], [[1.0] * 10]]), torch.eye(2)
    >>> mixed, mix = CutMix(p=1.0, shape="time").mix(signals, targets, None, torch.Generator().manual_seed(3))
    >>> bool(torch.isclose(mixed.mean(dim=(1, 2)), mix.rates(targets)[:, 1]).all())
    True
    """

    shape: Literal["box", "time"] = "box"
    """What is pasted: a box (images only), or a strip of the last axis at full height."""

    def mix(
        self, x: Tensor, target_BC: Tensor, group_B: Tensor | None, generator: Generator
    ) -> tuple[Tensor, RowMix | None]:
        cut = (1 - beta(x, self.alpha, generator)) * (rand(x, generator) < self.p)
        position, partner = rand(x, generator, 2), partners(x, generator, group_B)
        if self.shape == "box":
            images_only(self.kind, x)
            side = cut.sqrt()
            pasted = strip(x, 2, side, position[:, 0]) & strip(x, 3, side, position[:, 1])
        else:
            pasted = strip(x, x.ndim - 1, cut, position[:, 0])
        keep = 1 - pasted.float().flatten(1).mean(dim=1)
        return choose(pasted, x[partner], x), _pairs(partner, keep)


@dataclass(frozen=True)
class SameClassCutMix(SomeRows, RowMixing, kind="same_class_cutmix", title="Same-class CutMix"):
    """Pastes a strip of time from another row with the same clear class; targets stay as they are.

    Examples
    --------
    >>> import torch
    >>> signals, targets = torch.arange(2.0).view(2, 1, 1).expand(2, 1, 24), torch.tensor([[1.0, 0.0]] * 2)
    >>> mixed, mix = SameClassCutMix(p=1.0).mix(signals, targets, None, torch.Generator().manual_seed(0))
    >>> mixed.shape, mix
    (torch.Size([2, 1, 24]), None)
    """

    p: float = 0.4
    min_share: float = 0.5
    """Minimum share of the most voted class of a row that takes part."""
    length: tuple[float, float] = (1 / 12, 1 / 4)
    """Shortest and longest strip as shares of the axis."""
    starts: tuple[tuple[float, float], ...] = ((0.0, 1 / 6), (7 / 12, 3 / 4))
    """Where a strip may begin, as shares of the axis; the defaults spare the middle, which is what experts judged."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.kind, min_share=self.min_share, shortest=self.length[0], longest=self.length[1])
        if not self.starts:
            raise DataError("augmentation same_class_cutmix: starts must name one range or more, got none")

    def mix(
        self, x: Tensor, target_BC: Tensor, group_B: Tensor | None, generator: Generator
    ) -> tuple[Tensor, RowMix | None]:
        import torch

        top = target_BC.max(dim=1)
        clear = top.values >= self.min_share
        group = torch.where(clear, top.indices, target_BC.shape[1])
        if group_B is not None:
            group = group + group_B * (target_BC.shape[1] + 1)
        draw, partner = rand(x, generator, 4), partners(x, generator, group)
        length = self.length[0] + draw[:, 0] * (self.length[1] - self.length[0])
        # One of the ranges per row, picked by comparison: a table of them would be copied to a GPU, which waits for it.
        which = (draw[:, 1] * len(self.starts)).floor()
        starts = [(first + draw[:, 2] * (last - first)) * (which == i) for i, (first, last) in enumerate(self.starts)]
        columns = x.shape[-1]
        start = (torch.stack(starts).sum(dim=0) * columns).round()
        chosen = clear & (draw[:, 3] < self.p)
        pasted = inside(x, x.ndim - 1, start, (length * columns).round() * chosen)
        return choose(pasted, x[partner], x), None


@dataclass(frozen=True)
class Mosaic(RowMixing, kind="mosaic"):
    """Puts four rows side by side in the first epochs, each squeezed to a quarter of its time; targets are averaged.

    Examples
    --------
    >>> import torch
    >>> signals, targets = torch.arange(2.0).view(2, 1, 1).expand(2, 1, 8), torch.eye(2)
    >>> mixed, mix = Mosaic().mix(signals, targets, None, torch.Generator().manual_seed(0))
    >>> mix.share_BP[0].tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    epochs: int = 3
    """Number of first epochs in which every row is a mosaic; later epochs see plain rows."""

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise DataError(f"augmentation mosaic: epochs must be 1 or more, got {self.epochs}: leave it out instead")

    def mix(
        self, x: Tensor, target_BC: Tensor, group_B: Tensor | None, generator: Generator
    ) -> tuple[Tensor, RowMix | None]:
        import torch

        length = x.shape[-1]
        if length < 4:
            raise DataError(f"augmentation mosaic needs 4 columns or more, got {length}: leave it out")
        partner = torch.stack(
            [torch.arange(len(x), device=x.device), *(partners(x, generator, group_B) for _ in range(3))], 1
        )
        widths = [length // 4] * 3 + [length - 3 * (length // 4)]
        parts = [_squeeze(x[p], width) for p, width in zip(partner.unbind(dim=1), widths, strict=True)]
        share = torch.stack([x.new_full((len(x),), width / length) for width in widths], 1)
        return torch.cat(parts, dim=-1), RowMix(partner, share)


def _squeeze(x: Tensor, width: int) -> Tensor:
    """The last axis averaged down to `width` columns."""
    import torch.nn.functional as F  # noqa: N812 - torch's own name for it

    flat: Tensor = F.adaptive_avg_pool1d(x.reshape(len(x), -1, x.shape[-1]), width)
    return flat.view(*x.shape[:-1], width)


def _pairs(partner_B: Tensor, keep_B: Tensor) -> RowMix:
    import torch

    own = torch.arange(len(partner_B), device=partner_B.device)
    return RowMix(torch.stack([own, partner_B], 1), torch.stack([keep_B, 1 - keep_B], 1))
