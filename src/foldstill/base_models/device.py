"""Where training runs: the device that is meant, and one thread while a CPU works."""

from collections.abc import Iterator
from contextlib import contextmanager

from foldstill.errors import MemberError


def pick_device(wanted: str) -> str:
    """ "cuda" or "cpu" for "auto"; another name as it is. Raises MemberError for a GPU that is not there."""
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(wanted).type
    except RuntimeError:
        raise MemberError(f"device must be auto, cpu, cuda or cuda:<number>, got {wanted!r}") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise MemberError(f"device {wanted!r} is wanted, torch sees no CUDA device: use device auto or cpu")
    return wanted


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
