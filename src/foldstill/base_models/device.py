"""The device on which networks compute, and one thread while it is a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

from foldstill.errors import MemberError


def pick_device(device: str) -> str:
    """Return "cuda" or "cpu" for "auto", any other name unchanged; raises MemberError for a GPU that does not exist."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise MemberError(f"device must be auto, cpu, cuda or cuda:<number>, got {device!r}") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise MemberError(f"device {device!r} needs a GPU, and torch finds no CUDA device: use device auto or cpu")
    return device


@contextmanager
def one_thread(device: str) -> Iterator[None]:
    """One torch thread while a CPU trains, so that results do not depend on the number of cores."""
    import torch

    before = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
