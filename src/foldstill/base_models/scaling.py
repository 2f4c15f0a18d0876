"""Mean and standard deviation of each channel of a view, from blocks of its values. C channels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from foldstill.errors import MemberError

_BYTE_VALUES = 256


@dataclass
class _Moments:
    """Number of values per channel, their mean, and the sum of squared distances from it, float64 (C,)."""

    count: int
    mean_C: Tensor
    m2_C: Tensor

    def add(self, values_CN: Tensor) -> None:
        """Merge the moments of more values, so that a large offset costs no digits (Chan, Golub and LeVeque, 1979)."""
        # Float64 is for the sums: a block's values are few enough for float32 around their own mean.
        flat = values_CN.float()
        n, block_mean_C = flat.shape[1], flat.mean(dim=1, dtype=torch.float64)
        block_m2_C = (flat - block_mean_C.float()[:, None]).square().sum(dim=1, dtype=torch.float64)
        delta_C = block_mean_C.cpu() - self.mean_C
        self.m2_C += block_m2_C.cpu() + delta_C.square() * self.count * n / (self.count + n)
        self.mean_C += delta_C * n / (self.count + n)
        self.count += n


def channel_scaling(blocks: Iterable[Tensor], n_channels: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, float32 (C,), over blocks of values (C, N); a constant channel has deviation 1.

    Bytes are counted by their value, which is exact and much cheaper than arithmetic on every one of them.

    >>> mean, std = channel_scaling([torch.tensor([[1, 3], [7, 7]], dtype=torch.uint8)], 2)
    >>> mean.tolist(), std.tolist()
    ([2.0, 7.0], [1.0, 1.0])
    """
    moments = _Moments(0, *torch.zeros(2, n_channels, dtype=torch.float64))
    counts_CV = torch.zeros(n_channels, _BYTE_VALUES, dtype=torch.int64)
    for values_CN in blocks:
        if values_CN.dtype == torch.uint8:
            of_block = [torch.bincount(channel, minlength=_BYTE_VALUES) for channel in values_CN]
            counts_CV += torch.stack(of_block).cpu()
        else:
            moments.add(values_CN)
    if counts_CV.any():
        moments = _moments_of_bytes(counts_CV)
    mean_C, std_C = moments.mean_C, (moments.m2_C / max(moments.count, 1)).sqrt()
    if not (mean_C.isfinite().all() and std_C.isfinite().all()):
        bad = [int(c) for c in torch.nonzero(~(mean_C.isfinite() & std_C.isfinite())).flatten()]
        raise MemberError(
            f"inputs must be finite, channels {bad} hold NaN or infinity in training rows: fill or drop them first"
        )
    std_C[std_C == 0] = 1.0
    return mean_C.float(), std_C.float()


def _moments_of_bytes(counts_CV: Tensor) -> _Moments:
    value_V = torch.arange(_BYTE_VALUES, dtype=torch.float64)
    count = int(counts_CV[0].sum())
    mean_C = (counts_CV * value_V).sum(dim=1) / count
    m2_C = (counts_CV * (value_V - mean_C[:, None]).square()).sum(dim=1)
    return _Moments(count, mean_C, m2_C)
