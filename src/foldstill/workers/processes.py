"""Jobs in processes of this machine, or wherever an active `joblib.parallel_config` says."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from foldstill.workers.choice import Workers
from foldstill.workers.worker import call_in, prepare_worker

Call = tuple[Any, ...]


def in_joblib_context() -> Workers | None:
    """What an active `joblib.parallel_config` chooses; None outside of one."""
    from joblib import cpu_count
    from joblib.parallel import get_active_backend

    backend, n_jobs = get_active_backend()
    name = type(backend).__name__
    if name == "LokyBackend":
        return None if n_jobs is None else Workers("processes", int(backend.effective_n_jobs(n_jobs)))
    if name == "DaskDistributedBackend":
        return Workers("dask", address="active")
    if name == "RayBackend":
        return Workers("ray", address="active")
    return Workers("joblib", int(cpu_count() if n_jobs is None else backend.effective_n_jobs(n_jobs)))


def in_processes(function: Callable[..., Any], calls: Sequence[Call], n_jobs: int) -> Iterator[tuple[int, Any]]:
    """Number and result of each call, in any order. The processes use one thread each, and end when this one does."""
    from joblib import parallel_config

    with parallel_config(backend="loky", inner_max_num_threads=1):
        results = _parallel(function, calls, n_jobs)
    yield from results


def in_threads(function: Callable[..., Any], calls: Sequence[Call], n_jobs: int) -> Iterator[tuple[int, Any]]:
    """Number and result of each call, in any order, by threads of this process, which alone uses its device."""
    from joblib import parallel_config

    with parallel_config(backend="threading"):
        yield from _parallel(function, calls, n_jobs)


def in_active_backend(function: Callable[..., Any], calls: Sequence[Call], n_jobs: int) -> Iterator[tuple[int, Any]]:
    """Number and result of each call, by the active backend of joblib; some give all results at the end."""
    yield from _parallel(function, calls, n_jobs)


def _until_stopped(results: Any) -> Iterator[tuple[int, Any]]:
    """The results as they come. A caller that stops early, as by Ctrl-C, needs no advice of joblib about its jobs."""
    try:
        for result in results:  # noqa: UP028 - `yield from` would close joblib's generator before it is silent
            yield result
    except GeneratorExit:
        if not isinstance(results, list):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                results.close()
        raise


def _parallel(function: Callable[..., Any], calls: Sequence[Call], n_jobs: int) -> Iterator[tuple[int, Any]]:
    """Begin all calls under the configuration of joblib that is active now, and give their results."""
    from joblib import Parallel
    from joblib.parallel import get_active_backend

    backend, _ = get_active_backend()
    options: dict[str, Any] = {"return_as": "generator_unordered" if backend.supports_return_generator else "list"}
    if type(backend).__name__ in ("LokyBackend", "MultiprocessingBackend"):
        options |= {"initializer": prepare_worker, "initargs": (os.getpid(),)}
    # One call at a time: a job is long, and an interruption loses what was not given back.
    return _until_stopped(Parallel(n_jobs=n_jobs, batch_size=1, **options)(_delayed(function, calls)))


def _delayed(function: Callable[..., Any], calls: Sequence[Call]) -> Iterator[Any]:
    from joblib import delayed

    folder = os.getcwd()
    return (delayed(_numbered)(index, folder, function, call) for index, call in enumerate(calls))


def _numbered(index: int, folder: str, function: Callable[..., Any], call: Call) -> tuple[int, Any]:
    return index, call_in(folder, function, *call)
