"""Number types of a training step on each device, and cuDNN's settings while networks train and predict."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from foldstill.base_models.architecture import Precision
from foldstill.base_models.recipes import check_precision

_BFLOAT16_CAPABILITY = (8, 0)
"""Compute capability from which a GPU has bfloat16 in hardware; `is_bf16_supported` affirms its emulation as well."""


def lower_precision(precision: Precision, device: torch.device) -> torch.dtype | None:
    """The type in which convolutions and products of a training step are computed; None for float32.

    Raises MemberError for a type that only CUDA devices compute as it should be.
    """
    check_precision(precision, device.type)
    if precision == "float32" or device.type != "cuda":
        return None
    if precision == "auto":
        has_bfloat16 = torch.cuda.get_device_capability(device) >= _BFLOAT16_CAPABILITY
        return torch.bfloat16 if has_bfloat16 else torch.float16
    return torch.bfloat16 if precision == "bfloat16" else torch.float16


def autocast(dtype: torch.dtype | None, device: torch.device, *, keeps_casts: bool = True) -> torch.autocast:
    """Computes in a lower precision where it is safe; None leaves everything in float32.

    `keeps_casts` keeps the weights of the lower type for as long as the block runs.
    """
    on = dtype is not None
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=on, cache_enabled=keeps_casts)


def measured_kernels(*, on: bool) -> AbstractContextManager[None]:
    """cuDNN measures its algorithms for each shape it meets and uses the fastest: batches of a training have one shape.

    Off for networks whose batches change their size, because each size would be measured.
    """
    return _cudnn("benchmark", on)


def exact_kernels() -> AbstractContextManager[None]:
    """Convolutions in float32, which a GPU otherwise rounds to the 10 bits of TensorFloat-32."""
    return _cudnn("allow_tf32", False)


@contextmanager
def _cudnn(name: str, value: bool) -> Iterator[None]:
    """A setting of cuDNN, which has its former value afterwards."""
    before = getattr(torch.backends.cudnn, name)
    setattr(torch.backends.cudnn, name, value)
    try:
        yield
    finally:
        setattr(torch.backends.cudnn, name, before)
