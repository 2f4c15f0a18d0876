"""Forward and backward passes of a network as CUDA graphs, which the host starts with one call each.

A small network keeps a fast GPU waiting for the host, which starts hundreds of kernels per step. Off unless the
environment says FOLDSTILL_CUDA_GRAPH=1, because it has not been measured on a GPU yet. A network of several views, one
whose features a hint reads, and one whose classifier alone is trained are not captured.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from foldstill.base_models.precision import autocast
from foldstill.errors import MemberError

VARIABLE = "FOLDSTILL_CUDA_GRAPH"


def is_wanted(device: torch.device) -> bool:
    """Whether the environment asks for graphs; raises MemberError on a device that has none."""
    value = os.environ.get(VARIABLE, "0")
    if value not in ("0", "1"):
        raise MemberError(f"{VARIABLE} must be 0 or 1, got {value!r}: unset it to train without CUDA graphs")
    if value == "1" and device.type != "cuda":
        raise MemberError(f"{VARIABLE}=1 needs a CUDA GPU and the device is {device}: unset it")
    return value == "1"


def capture(body: nn.Module, sample: Tensor, dtype: torch.dtype | None) -> None:
    """Let a network in training mode replay graphs for batches of the shape of `sample`, until `release`.

    Weights, running statistics and random numbers stay as they are. Raises MemberError for a network that cannot be
    captured.
    """
    statistics = [(buffer, buffer.clone()) for buffer in body.buffers()]
    device = sample.device
    try:
        with (
            torch.cuda.device(device),
            torch.random.fork_rng([device], device_type=device.type),
            autocast(dtype, device, keeps_casts=False),
        ):
            torch.cuda.make_graphed_callables(body, (sample,), allow_unused_input=True)
    except RuntimeError as error:
        raise MemberError(f"the network cannot be captured in a CUDA graph ({error}): unset {VARIABLE}") from error
    finally:
        # The passes before the capture count as batches.
        for buffer, value in statistics:
            buffer.copy_(value)


def release(body: nn.Module) -> None:
    """Give a network its own forward pass again, and the memory of its graphs back."""
    body.__dict__.pop("forward", None)
