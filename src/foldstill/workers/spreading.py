"""The one way to spread jobs over workers."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from foldstill.workers.choice import Workers
from foldstill.workers.cpu_time import collected, metered
from foldstill.workers.processes import in_active_backend, in_processes, in_threads
from foldstill.workers.slots import on_slots


def check_workers(workers: Workers) -> None:
    """Raises ArgumentError for a cluster that does not answer, or whose package is not installed."""
    if workers.kind == "dask":
        from foldstill.workers.dask_cluster import check_dask

        check_dask(workers.address)
    if workers.kind == "ray":
        from foldstill.workers.ray_cluster import check_ray

        check_ray(workers.address)


def spread(
    function: Callable[..., Any],
    calls: Sequence[tuple[Any, ...]],
    workers: Workers,
    *,
    shared: Sequence[Any] = (),
    threads: bool = False,
    gpu: bool = False,
) -> Iterator[tuple[int, Any]]:
    """Call a function per job, and yield the job's number and its result when it is ready, in any order.

    Parameters
    ----------
    function
        Gets the shared values, then the values of the call.
    calls
        The arguments of each job; the first ones begin first.
    workers
        Where the jobs run.
    shared
        Large values that all jobs need, which a cluster gets once.
    threads
        Whether local jobs are threads of this process, which uses its GPU for all of them.
    gpu
        Whether a job takes a whole GPU of a cluster.

    Examples
    --------
    >>> sorted(spread(pow, [(2, 3), (2, 4)], Workers.parse("1")))
    [(0, 8), (1, 16)]
    """
    return collected(_spread(partial(metered, function), calls, workers, shared, threads=threads, gpu=gpu))


def _spread(
    function: Callable[..., Any],
    calls: Sequence[tuple[Any, ...]],
    workers: Workers,
    shared: Sequence[Any],
    *,
    threads: bool,
    gpu: bool,
) -> Any:
    if workers.kind == "dask":
        from foldstill.workers.dask_cluster import on_dask

        return on_dask(function, calls, workers.address, shared, gpu=gpu)
    if workers.kind == "ray":
        from foldstill.workers.ray_cluster import on_ray

        return on_ray(function, calls, workers.address, shared, gpu=gpu)
    calls = [(*shared, *call) for call in calls]
    if workers.kind == "slots":
        return on_slots(function, calls, workers.slots)
    if workers.is_this_process or len(calls) < 2:
        return ((index, function(*call)) for index, call in enumerate(calls))
    n_jobs = min(workers.count, len(calls))
    if threads:
        return in_threads(function, calls, n_jobs)
    if workers.kind == "joblib":
        return in_active_backend(function, calls, n_jobs)
    return in_processes(function, calls, n_jobs)
