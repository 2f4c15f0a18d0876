"""Measure the cost of a network: parameters, multiply-accumulates and memory are counted, latency is timed."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from foldstill.cost.cost import Cost
from foldstill.errors import CostError
from foldstill.machine import processor

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one call on `rows` rows, median and 95th percentile, and the machine they were measured on."""

    name: str
    """What was called."""
    rows: int
    p50_ms: float
    p95_ms: float
    threads: int
    processor: str


def measure_latency(name: str, call: Callable[[], Any], rows: int, *, threads: int, repeats: int = 30) -> Latency:
    """Time `call`, which predicts `rows` rows on `threads` threads, after three warm-up calls."""
    if repeats < 2:
        raise CostError(f"latency needs 2 repeats or more, got {repeats}: 30 give a stable median")
    for _ in range(3):
        call()
    elapsed_ms = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        elapsed_ms.append((time.perf_counter() - start) * 1e3)
    p50, p95 = np.percentile(elapsed_ms, [50, 95])
    return Latency(name, rows, float(p50), float(p95), threads, processor())


def count_macs(network: "nn.Module", example: "Tensor | tuple[Tensor, ...]") -> int:
    """Count multiply-accumulates of convolutions and matrix products for `example`: one row, one tensor per view."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with _evaluating(network), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(example)
    # Torch counts a multiply-accumulate as two operations.
    return int(counter.get_total_flops()) // 2


def count_activations(network: "nn.Module", example: "Tensor | tuple[Tensor, ...]") -> int:
    """Count the peak number of bytes of a row and of what is computed from it in eager mode, weights not counted.

    Every tensor counts from the operation that creates it until it is freed. Memory inside a kernel is not counted.
    """
    import torch

    from foldstill.cost.live_memory import LiveMemory

    weights = [*network.parameters(), *network.buffers()]
    with _evaluating(network), torch.no_grad(), LiveMemory(ignored=weights) as memory:
        for view in _views(example):
            memory.count(view)
        network(example)
    peak: int = memory.peak
    return peak


def count_cost(network: "nn.Module", example: "Tensor | tuple[Tensor, ...]") -> Cost:
    """Count the parts of a network's cost that need no clock; `example` is one row, (1, ...), one tensor per view."""
    shapes = [tuple(view.shape) for view in _views(example)]
    if any(shape[0] != 1 for shape in shapes):
        raise CostError(f"cost is counted for one row: pass an example of shape (1, ...) per view, got {shapes}")
    return Cost(
        parameters=sum(p.numel() for p in network.parameters()),
        macs=count_macs(network, example),
        bytes=sum(t.numel() * t.element_size() for t in [*network.parameters(), *network.buffers()]),
        activation_bytes=count_activations(network, example),
    )


def measure_cost(
    network: "nn.Module",
    example: "Tensor | tuple[Tensor, ...]",
    *,
    batch: int = 32,
    threads: int = 1,
    repeats: int = 30,
) -> Cost:
    """Measure the cost of a network in eager mode on the CPU.

    Torch's number of threads is changed for the process while it measures, and restored afterwards.

    Parameters
    ----------
    network : torch.nn.Module
        A network on the CPU.
    example : Tensor or tuple of Tensor
        One row, of shape (1, ...), one tensor per view.
    batch : int, default 32
        Number of rows per batch for the second latency.
    threads : int, default 1
        Number of threads.
    repeats : int, default 30
        Number of timed calls for one row; a quarter of them for a batch.

    Returns
    -------
    Cost

    Raises
    ------
    CostError
        When the example has more than one row, or the network is not on the CPU.
    """
    import torch

    counted = count_cost(network, example)
    other_devices = {str(t.device) for t in [*network.parameters(), *network.buffers()]} - {"cpu"}
    if other_devices:
        raise CostError(f"latency is measured on the CPU, the network is on {sorted(other_devices)}: move a copy there")
    expanded = tuple(view.expand(batch, *view.shape[1:]).contiguous() for view in _views(example))
    rows = expanded if isinstance(example, tuple) else expanded[0]
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with _evaluating(network), torch.inference_mode():
            one = measure_latency("eager", lambda: network(example), 1, threads=threads, repeats=repeats)
            many = measure_latency("eager", lambda: network(rows), batch, threads=threads, repeats=max(2, repeats // 4))
    finally:
        torch.set_num_threads(threads_before)
    return replace(
        counted,
        latency_1_ms=one.p50_ms,
        latency_1_p95_ms=one.p95_ms,
        latency_batch_ms=many.p50_ms,
        latency_batch_p95_ms=many.p95_ms,
        batch=batch,
        threads=threads,
        processor=one.processor,
    )


@contextmanager
def _evaluating(network: "nn.Module") -> Iterator[None]:
    """The network in evaluation mode, and back in its own mode afterwards."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


def _views(example: "Tensor | tuple[Tensor, ...]") -> "tuple[Tensor, ...]":
    return example if isinstance(example, tuple) else (example,)
