"""Jobs on a Ray cluster."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from foldstill.errors import ArgumentError, FoldstillError, require_package
from foldstill.workers.worker import call_in

RETRIES = 3
"""How many workers may die with the same job."""


def on_ray(
    function: Callable[..., Any],
    calls: Sequence[tuple[Any, ...]],
    address: str,
    shared: Sequence[Any],
    *,
    gpu: bool = False,
) -> Iterator[tuple[int, Any]]:
    """Number and result of each call, in any order. The values that all calls share are sent to each machine once.

    A call whose worker died is given to another one. With `gpu`, a call takes one GPU.
    """
    ray = _connected(address)
    sent, folder = [ray.put(value) for value in shared], os.getcwd()
    remote = ray.remote(num_cpus=1, num_gpus=int(gpu), max_retries=RETRIES)(call_in)
    numbers = {remote.remote(folder, function, *sent, *call): index for index, call in enumerate(calls)}
    waiting = list(numbers)
    try:
        while waiting:
            [ready], waiting = ray.wait(waiting, num_returns=1)
            yield numbers[ready], ray.get(ready)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.WorkerCrashedError as error:
        raise FoldstillError(
            f"{RETRIES + 1} Ray workers that ran the same job were killed, usually because the memory was used up: run "
            "the command again, which continues from the last epoch, with fewer workers per machine"
        ) from error
    finally:
        for reference in waiting:
            ray.cancel(reference, force=True)


def check_ray(address: str) -> None:
    """Raises ArgumentError unless a cluster answers there; local workers are started when a job needs them."""
    _require_package()
    if address != "local":
        _connected(address)


def _connected(address: str) -> Any:
    """The module ray, connected to a cluster; to the one that is active in this process where there is one."""
    _require_package()
    import ray

    if ray.is_initialized():
        return ray
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {"address": address}
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", **options)
    except ConnectionError as error:
        raise ArgumentError(
            f"no Ray cluster answers at {address!r}: start one with `ray start --head`, or use ray=local"
        ) from error
    return ray


def _require_package() -> None:
    require_package("ray", "ray", purpose="work on Ray", error=ArgumentError)
