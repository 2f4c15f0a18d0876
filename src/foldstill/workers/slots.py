"""Jobs on the GPUs of this machine: one process per slot, which sees its GPU and no other."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from functools import lru_cache
from typing import Any

from foldstill.workers.worker import call_in, prepare_worker

VISIBLE = "CUDA_VISIBLE_DEVICES"
IDLE_S = 300
"""Seconds after which a process without a job ends."""


def on_slots(
    function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], slots: Sequence[str]
) -> Iterator[tuple[int, Any]]:
    """Number and result of each call, in any order; a slot that is free takes the next call."""
    folder, waiting = os.getcwd(), iter(enumerate(calls))
    running: dict[Future[Any], tuple[Executor, int]] = {}
    executors = _executors(tuple(slots), os.environ.get(VISIBLE))

    def start(executor: Executor) -> None:
        for index, call in waiting:
            running[executor.submit(call_in, folder, function, *call)] = executor, index
            return

    try:
        for executor in executors:
            start(executor)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                executor, index = running.pop(future)
                result = future.result()
                start(executor)
                yield index, result
    except BaseException:
        # What still runs has nobody to give its result to.
        for executor in executors:
            executor.shutdown(kill_workers=True)
        _executors.cache_clear()
        raise


def environment(slot: str, visible: str | None) -> dict[str, str]:
    """What the process of a slot has in its environment; `visible` are the GPUs that this process may use.

    >>> environment("cuda:1", None), environment("cuda:1", "4,6")
    ({'CUDA_VISIBLE_DEVICES': '1'}, {'CUDA_VISIBLE_DEVICES': '6'})
    """
    number = int(slot.removeprefix("cuda:"))
    return {VISIBLE: visible.split(",")[number].strip() if visible else str(number)}


@lru_cache(maxsize=1)
def _executors(slots: tuple[str, ...], visible: str | None) -> list[Any]:
    """One executor of one process per slot; they stay for the next jobs, because a start takes seconds."""
    from joblib.externals.loky import ProcessPoolExecutor

    options = {"timeout": IDLE_S, "initializer": prepare_worker, "initargs": (os.getpid(),)}
    return [ProcessPoolExecutor(1, env=environment(slot, visible), **options) for slot in slots]
