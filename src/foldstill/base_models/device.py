"""The device on which members compute, and one thread while it is a CPU. Imports torch for networks only."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from foldstill.errors import MemberError
from foldstill.workers import Work
from foldstill.workers.torch_threads import one_torch_thread

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def check_device(device: str) -> str:
    """The name of a device as it is; raises MemberError for a name that is none.

    >>> check_device("cuda:1")
    'cuda:1'
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise MemberError(
            f"device must be auto, cpu, cuda, cuda:<number> or mps, got {device!r}: auto is a CUDA GPU, or else the CPU"
        )
    return device


def pick_device(device: str) -> str:
    """Return "cuda" or "cpu" for "auto", any other name unchanged; raises MemberError for a GPU that does not exist."""
    check_device(device)
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "mps" and not torch.backends.mps.is_available():
        raise MemberError("device 'mps' needs the GPU of a Mac, and torch finds none: use device auto or cpu")
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise MemberError(f"device {device!r} needs a GPU, and torch finds no CUDA device: use device auto or cpu")
        number, n_gpus = int(device.partition(":")[2] or 0), torch.cuda.device_count()
        if number >= n_gpus:
            raise MemberError(
                f"device {device!r} is not there: torch finds {n_gpus} CUDA devices, counted from cuda:0, so use cuda:"
                f"{n_gpus - 1} or less"
            )
    return device


def require_device(work: Work) -> None:
    """Raises MemberError for a GPU that this machine does not have; machines of a cluster have devices of their own.

    Torch is imported only where a GPU is named.
    """
    if work.device not in ("auto", "cpu") and not work.cpu_workers.is_cluster:
        pick_device(work.device)


def send(values: Tensor, device: torch.device) -> Tensor:
    """Host values on the device, copied while the host goes on: a copy from memory that is not pinned waits for all
    that the device has yet to do."""
    if device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


class Computes(Protocol):
    """What a member says about where it computes."""

    @property
    def uses_device(self) -> bool: ...


def device_for(members: Iterable[Computes], device: str) -> str:
    """The device on which these members compute; torch is imported only where one of them is a network."""
    return pick_device(device) if any(member.uses_device for member in members) else "cpu"


def views_kept(members: Iterable[Computes]) -> AbstractContextManager[None]:
    """Keeps the views that networks read on the device, from one model to the next."""
    if not any(member.uses_device for member in members):
        return nullcontext()
    from foldstill.base_models.inputs import keep_views_on_device

    return keep_views_on_device()


def one_thread_for(member: Computes, device: str) -> AbstractContextManager[object]:
    """One thread while a member computes on a CPU, so that results do not depend on the number of cores."""
    if member.uses_device:
        return one_thread(device)
    limits: AbstractContextManager[object] = _thread_pools(len(sys.modules)).limit(limits=1)
    return limits


@lru_cache(maxsize=1)
def _thread_pools(n_modules: int) -> Any:
    """The thread pools of the libraries that are loaded, looked up again only after further imports.

    A look-up goes through every shared library of the process, which takes milliseconds per fit.
    """
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def one_thread(device: str) -> AbstractContextManager[None]:
    """One torch thread while a CPU trains, so that results do not depend on the number of cores."""
    return one_torch_thread() if device == "cpu" else nullcontext()
