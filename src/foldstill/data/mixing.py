"""Augmentations that make a row of several rows, and how their targets follow: as rates.

Same conventions as `augment`: B batch, C classes, P partners; images (B, C, H, W), signals (B, C, T), time last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from foldstill.data.draws import beta, check_share, choose, images_only, inside, partners, rand, strip
from foldstill.errors import DataError
from foldstill.settings import Settings

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Mix:
    """How rows of a mixed batch are made of rows of the batch before: P partners each, shares that sum to one."""

    partner_BP: Tensor
    share_BP: Tensor

    def rates(self, value_B: Tensor) -> Tensor:
        """Values a row, (B,) or (B, C), mixed as the inputs are: shares as rates, so that many votes do not swamp few."""
        picked = value_B[self.partner_BP]
        share = self.share_BP if picked.ndim == 2 else self.share_BP[..., None]
        return (picked * share).sum(dim=1)


@dataclass(frozen=True)
class Mixup(Settings):
    """Two rows blended, inputs and targets alike (Zhang et al., 2018)."""

    kind: Literal["mixup"] = "mixup"
    p: float = 1.0
    """Probability of a row."""
    alpha: float = 0.4
    """Both parameters of the Beta distribution that the share is drawn from."""

    def __post_init__(self) -> None:
        check_share(self.kind, p=self.p)
        if self.alpha <= 0:
            raise DataError(f"augmentation mixup: alpha must be positive, got {self.alpha}")

    def mix(
        self, x: Tensor, target_BC: Tensor, group_B: Tensor | None, generator: Generator
    ) -> tuple[Tensor, Mix | None]:
        keep = beta(x, self.alpha, generator)
        keep = keep.where(rand(x, generator) < self.p, 1.0)
        partner = partners(x, generator, group_B)
        shape = (-1, *[1] * (x.ndim - 1))
        return x.lerp(x[partner], (1 - keep).view(shape)), _pairs(partner, keep)


@dataclass(frozen=True)
class CutMix(Settings):
    """A box of another row pasted in, or a strip of time; targets mix by area (Yun et al., 2019)."""

    kind: Literal["cutmix"] = "cutmix"
    p: float = 0.5
    """Probability of a row."""
    alpha: float = 1.0
    """Both parameters of the Beta distribution that the kept share is drawn from."""
    shape: Literal["box", "time"] = "box"
    """A box (images only) or a strip over all rows of the last axis."""

    def __post_init__(self) -> None:
        check_share(self.kind, p=self.p)
        if self.alpha <= 0:
            raise DataError(f"augmentation cutmix: alpha must be positive, got {self.alpha}")

    def mix(
        self, x: Tensor, target_BC: Tensor, group_B: Tensor | None, generator: Generator
    ) -> tuple[Tensor, Mix | None]:
        cut = (1 - beta(x, self.alpha, generator)) * (rand(x, generator) < self.p)
        place, partner = rand(x, generator, 2), partners(x, generator, group_B)
        if self.shape == "box":
            images_only(self.kind, x)
            side = cut.sqrt()
            pasted = strip(x, 2, side, place[:, 0]) & strip(x, 3, side, place[:, 1])
        else:
            pasted = strip(x, x.ndim - 1, cut, place[:, 0])
        keep = 1 - pasted.float().flatten(1).mean(dim=1)
        return choose(pasted, x[partner], x), _pairs(partner, keep)


@dataclass(frozen=True)
class SameClassCutMix(Settings):
    """A strip of time pasted in from another row of the same clear class; targets stay as they are."""

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
        check_share(self.kind, p=self.p, min_share=self.min_share)
        check_share(self.kind, shortest=self.length[0], longest=self.length[1])
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
        draw, partner = rand(x, generator, 4), partners(x, generator, group)
        length = self.length[0] + draw[:, 0] * (self.length[1] - self.length[0])
        # One of the ranges a row, picked by comparison: a table of them would be copied to a GPU, which waits for it.
        which = (draw[:, 1] * len(self.starts)).floor()
        starts = [(first + draw[:, 2] * (last - first)) * (which == i) for i, (first, last) in enumerate(self.starts)]
        columns = x.shape[-1]
        start = (torch.stack(starts).sum(dim=0) * columns).round()
        chosen = clear & (draw[:, 3] < self.p)
        pasted = inside(x, x.ndim - 1, start, (length * columns).round() * chosen)
        return choose(pasted, x[partner], x), None


@dataclass(frozen=True)
class Mosaic(Settings):
    """In the first epochs four rows, each squeezed to a quarter of its time, side by side; their targets are averaged."""

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
            [torch.arange(len(x), device=x.device), *(partners(x, generator, group_B) for _ in range(3))], 1
        )
        widths = [length // 4] * 3 + [length - 3 * (length // 4)]
        parts = [_squeeze(x[p], width) for p, width in zip(partner.unbind(dim=1), widths, strict=True)]
        share = torch.stack([x.new_full((len(x),), width / length) for width in widths], 1)
        return torch.cat(parts, dim=-1), Mix(partner, share)


AnyMix = Mixup | CutMix | SameClassCutMix | Mosaic


def _squeeze(x: Tensor, width: int) -> Tensor:
    """The last axis averaged down to `width` columns."""
    import torch.nn.functional as F  # noqa: N812 - torch's own name for it

    flat: Tensor = F.adaptive_avg_pool1d(x.reshape(len(x), -1, x.shape[-1]), width)
    return flat.view(*x.shape[:-1], width)


def _pairs(partner_B: Tensor, keep_B: Tensor) -> Mix:
    import torch

    own = torch.arange(len(partner_B), device=partner_B.device)
    return Mix(torch.stack([own, partner_B], 1), torch.stack([keep_B, 1 - keep_B], 1))
