"""The GPUs of this machine as slots: one process each, that sees its GPU and no other. Imports torch when asked."""

from foldstill.errors import ArgumentError
from foldstill.workers import Work, Workers


def check_slots(work: Work) -> None:
    """Raises ArgumentError for slots on GPUs that this machine does not have, or that `device` leaves out."""
    chosen = work.chosen_workers
    if chosen is None or chosen.kind != "slots":
        return
    if work.device == "cpu":
        raise ArgumentError(f"workers {chosen} are on GPUs, and the device is cpu: use a number of processes")
    found = _n_gpus()
    lacking = [slot for slot in chosen.slots if int(slot.removeprefix("cuda:")) >= found]
    if lacking:
        has = f"finds {', '.join(f'cuda:{number}' for number in range(found))}" if found else "finds no CUDA device"
        raise ArgumentError(
            f"workers {chosen} need the GPU {lacking[0]}, and torch {has} on this machine: name other slots, or use a "
            "number of processes"
        )


def gpu_workers(work: Work, device: str) -> Workers:
    """Where networks run on this machine: in the slots that were chosen, else on all GPUs, and on one in this process.

    A chosen number of processes is also the largest number of GPUs.
    """
    check_slots(work)
    chosen = work.chosen_workers
    if chosen is not None and chosen.kind == "slots":
        return chosen
    n = _n_gpus() if device == "cuda" else 1
    if chosen is not None:
        n = min(n, chosen.count)
    return Workers("slots", n, tuple(f"cuda:{number}" for number in range(n))) if n > 1 else Workers()


def _n_gpus() -> int:
    import torch

    return torch.cuda.device_count()
