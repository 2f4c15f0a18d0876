"""Random draws of augmentations: one number per row, strips of an axis, partners; all from one generator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foldstill.errors import DataError

if TYPE_CHECKING:
    from torch import Generator, Tensor


def check_share(kind: str, **shares: float) -> None:
    """Raises DataError for a share outside [0, 1]."""
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise DataError(f"augmentation {kind}: {name} must be in [0, 1], got {value}")


def rand(x: Tensor, generator: Generator, *shape: int) -> Tensor:
    """Uniform numbers in [0, 1), (B, *shape), on the device of `x`."""
    import torch

    return torch.rand(len(x), *shape, generator=generator, device=x.device)


def choose(chosen: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` where chosen, else `old`; `chosen` is one flag per row (B,), or a mask that broadcasts.

    A blend by 0 or 1 is exact for finite values, and five to twenty times faster on a CPU than torch.where with a mask
    that broadcasts over channels-last images.
    """
    import torch

    mask = chosen.view(-1, *[1] * (old.ndim - 1)) if chosen.ndim == 1 else chosen
    return torch.lerp(old, new, mask.to(old.dtype))


def inside(x: Tensor, axis: int, start_B: Tensor, length_B: Tensor) -> Tensor:
    """Mask that broadcasts against x: True where the position on `axis` is in [start, start + length)."""
    import torch

    shape = [1] * x.ndim
    shape[axis] = x.shape[axis]
    position = torch.arange(x.shape[axis], device=x.device).view(shape)
    start, end = (v.view(-1, *[1] * (x.ndim - 1)) for v in (start_B, start_B + length_B))
    return (position >= start) & (position < end)


def strip(x: Tensor, axis: int, share_B: Tensor, position_B: Tensor) -> Tensor:
    """Mask of a strip whose length is a share of the axis; `position` in [0, 1) selects one of the starts that fit."""
    size = x.shape[axis]
    length = (share_B * size).round()
    return inside(x, axis, (position_B * (size - length + 1)).floor(), length)


def images_only(kind: str, x: Tensor) -> None:
    if x.ndim != 4:
        raise DataError(
            f"augmentation {kind} needs images (B, C, H, W), got a batch of shape {tuple(x.shape)}: leave it out"
        )


def partners(x: Tensor, generator: Generator, group_B: Tensor | None) -> Tensor:
    """One partner per row, drawn within its group (a fold, a class); without groups, from the batch."""
    import torch

    keys = rand(x, generator, 2)
    if group_B is not None:
        keys = keys.double() + group_B.double()[:, None]
    order = keys.argsort(dim=0)
    partner = torch.empty(len(x), dtype=torch.long, device=x.device)
    # Both orders list the groups at the same positions, so pairs by position stay within groups.
    partner[order[:, 0]] = order[:, 1]
    return partner


def beta(x: Tensor, alpha: float, generator: Generator) -> Tensor:
    """One draw of Beta(alpha, alpha) per row, from two gamma draws (torch.distributions takes no generator)."""
    import torch

    gamma = torch._standard_gamma(torch.full((len(x), 2), alpha, device=x.device), generator=generator)
    return (gamma[:, 0] / gamma.sum(dim=1)).nan_to_num(0.5)
