"""Jobs on a Dask cluster."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from foldstill.errors import ArgumentError, FoldstillError, require_package
from foldstill.workers.worker import call_in

CONNECT_S = 10


def on_dask(
    function: Callable[..., Any],
    calls: Sequence[tuple[Any, ...]],
    address: str,
    shared: Sequence[Any],
    *,
    gpu: bool = False,
) -> Iterator[tuple[int, Any]]:
    """Number and result of each call, in any order. The values that all calls share are sent to each worker once.

    A call whose worker died is given to another one, three times at most. With `gpu`, a call takes one unit of the
    resource GPU, which workers have that were started with `--resources GPU=1`.
    """
    client = _client(address)
    from distributed import KilledWorker, as_completed

    sent = client.scatter(list(shared), broadcast=True, hash=False) if shared else []
    options: dict[str, Any] = {"pure": False, "retries": 0} | ({"resources": {"GPU": 1}} if gpu else {})
    folder = os.getcwd()
    futures = {
        client.submit(call_in, folder, function, *sent, *call, **options): index for index, call in enumerate(calls)
    }
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    except KilledWorker as error:
        raise FoldstillError(
            f"the Dask workers that ran a job were killed ({error.last_worker.address} was the last one), usually "
            "because the memory was used up: run the command again, which continues from the last epoch, with fewer "
            "workers per machine"
        ) from error
    finally:
        client.cancel(list(futures))


def check_dask(address: str) -> None:
    """Raises ArgumentError unless a scheduler answers there; local workers are started when a job needs them."""
    _require_package()
    if address != "local":
        _client(address)


def _client(address: str) -> Any:
    """A client of the cluster; the one that is active in this process where joblib's `dask` backend was chosen."""
    if address != "active":
        return _connected(address)
    from distributed import get_client

    return get_client()


@lru_cache(maxsize=1)
def _connected(address: str) -> Any:
    """A client that stays for the next jobs."""
    _require_package()
    from distributed import Client, LocalCluster

    if address == "local":
        from joblib import cpu_count

        # The usual port of the dashboard may be taken by another cluster, and that is a warning.
        options = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": logging.ERROR}
        cluster = LocalCluster(n_workers=int(cpu_count()), **options)
        return Client(cluster)
    try:
        return Client(address, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f"no Dask scheduler answers at {address}: start one with `dask scheduler`, and give the address that it "
            "prints"
        ) from error


def _require_package() -> None:
    require_package("distributed", "dask", purpose="work on Dask", error=ArgumentError)
