"""Several views of the same rows augmented together: an augmentation that views share changes the same rows alike.

B batch, C classes, V views.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from foldstill.data.augment import AnyAugmentation, augment
from foldstill.data.augmentation import RowMix, RowMixing
from foldstill.digests import digest

if TYPE_CHECKING:
    from torch import Generator, Tensor


def augment_views(
    views: Sequence[Tensor],
    settings_V: Sequence[Sequence[AnyAugmentation]],
    shared: Sequence[AnyAugmentation],
    generator: Generator,
    *,
    target_BC: Tensor,
    group_B: Tensor | None = None,
    epoch: int = 0,
) -> tuple[tuple[Tensor, ...], list[RowMix]]:
    """Augment each view by its own settings, except those that mix rows, then all views by `shared`.

    Also gives the mixes of rows. Draws belong to the kind of augmentation and not to the view: a hemisphere swap
    changes the same rows in all views that have one (the first swap of each view, the second, and so on), and a mix has
    the same partners and shares in all views. Where shares are areas that views round differently, targets follow their
    mean. Raises DataError where an augmentation does not fit a view.
    """
    import torch

    # The state of the generator names this batch; the draw advances it, whatever the views do.
    origin = generator.get_state().numpy()
    torch.rand(1, generator=generator, device=generator.device)

    def augmented(x: Tensor, op: AnyAugmentation, nth: int) -> tuple[Tensor, list[RowMix]]:
        draws = torch.Generator(generator.device).manual_seed(int(digest(origin, op.kind, nth), 16) % 2**63)
        return augment(x, (op,), draws, target_BC=target_BC, group_B=group_B, epoch=epoch)

    rows = []
    for x, settings in zip(views, settings_V, strict=True):
        used: Counter[str] = Counter()
        for op in settings:
            if not isinstance(op, RowMixing):
                x, _ = augmented(x, op, used[op.kind])
                used[op.kind] += 1
        rows.append(x)

    mixes: list[RowMix] = []
    for nth, op in enumerate(shared):
        mixed = [augmented(x, op, nth) for x in rows]
        rows = [x for x, _ in mixed]
        mix_per_view = [mix for _, of_view in mixed for mix in of_view]
        if mix_per_view:
            share_BP = torch.stack([mix.share_BP for mix in mix_per_view]).mean(dim=0)
            mixes.append(RowMix(mix_per_view[0].partner_BP, share_BP))
            target_BC = mixes[-1].rates(target_BC)
    return tuple(rows), mixes
