"""What a prediction costs: parameters, multiply-accumulates, memory, and latency with the machine it was measured on."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from foldstill.cost import Cost
from foldstill.errors import DistillError
from foldstill.machine import processor

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one call of `what` on `rows` rows: median and 95th percentile, and where they were measured."""

    what: str
    rows: int
    p50_ms: float
    p95_ms: float
    threads: int
    processor: str


def measure_latency(what: str, call: Callable[[], Any], rows: int, *, threads: int, repeats: int = 30) -> Latency:
    """Wall-clock latency of `call`, which must predict `rows` rows on `threads` threads; three calls warm up."""
    if repeats < 2:
        raise DistillError(f"latency needs 2 repeats or more, got {repeats}: 30 give a stable median")
    for _ in range(3):
        call()
    taken_ms = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        taken_ms.append((time.perf_counter() - start) * 1e3)
    p50, p95 = np.percentile(taken_ms, [50, 95])
    return Latency(what, rows, float(p50), float(p95), threads, processor())


def count_macs(network: "nn.Module", example: "Tensor | tuple[Tensor, ...]") -> int:
    """Multiply-accumulates of convolutions and matrix products for one row, `example` being (1, ...), or one a view."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    was = network.training
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(example)
    network.train(was)
    # Torch counts a multiply-accumulate as two operations.
    return int(counter.get_total_flops()) // 2


def count_activations(network: "nn.Module", example: "Tensor | tuple[Tensor, ...]") -> int:
    """Most bytes that the row and what is computed from it take at one time in eager mode, weights not counted.

    Every tensor that an operation makes counts from then until it is freed; what a kernel takes for itself does not.
    """
    import torch

    from foldstill.cost.live_memory import LiveMemory

    was = network.training
    network.eval()
    weights = [*network.parameters(), *network.buffers()]
    views = example if isinstance(example, tuple) else (example,)
    with torch.no_grad(), LiveMemory(weights) as memory:
        for view in views:
            memory.count(view)
        network(example)
    network.train(was)
    peak: int = memory.peak
    return peak


def count_cost(network: "nn.Module", example: "Tensor | tuple[Tensor, ...]") -> Cost:
    """All of a network's cost that needs no clock; `example` is one row (1, ...), or one a view."""
    views = example if isinstance(example, tuple) else (example,)
    if any(view.shape[0] != 1 for view in views):
        raise DistillError(
            f"cost is of one row: give an example of shape (1, ...), got {[tuple(view.shape) for view in views]}"
        )
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
    """Cost of a network in eager mode on the CPU; `example` is one row (1, ...), or one a view.

    The number of threads is torch's of the whole process while it measures, and is put back afterwards.
    """
    import torch

    counted = count_cost(network, example)
    away = {str(t.device) for t in [*network.parameters(), *network.buffers()]} - {"cpu"}
    if away:
        raise DistillError(f"latency is measured on the CPU, the network lies on {sorted(away)}: move a copy there")
    views = example if isinstance(example, tuple) else (example,)
    rows = tuple(view.expand(batch, *view.shape[1:]).contiguous() for view in views)
    many = rows if isinstance(example, tuple) else rows[0]
    was, before = network.training, torch.get_num_threads()
    network.eval()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            one = measure_latency("eager", lambda: network(example), 1, threads=threads, repeats=repeats)
            whole = measure_latency(
                "eager", lambda: network(many), batch, threads=threads, repeats=max(2, repeats // 4)
            )
    finally:
        torch.set_num_threads(before)
        network.train(was)
    return replace(
        counted,
        latency_1_ms=one.p50_ms,
        latency_1_p95_ms=one.p95_ms,
        latency_batch_ms=whole.p50_ms,
        latency_batch_p95_ms=whole.p95_ms,
        batch=batch,
        threads=threads,
        processor=one.processor,
    )


def total_cost(costs: Iterable[Cost]) -> Cost:
    """The cost of running all of these on every row, one after the other; None where one was not measured.

    Medians add up well enough; 95th percentiles do not, since not all of them are late at once.
    """
    parts = list(costs)

    def values(name: str) -> list[Any]:
        return [getattr(c, name) for c in parts]

    def total(name: str) -> Any:
        return None if not parts or None in values(name) else sum(values(name))

    def common(name: str) -> Any:
        return values(name)[0] if len(set(values(name))) == 1 else None

    batch = common("batch")
    return Cost(
        parameters=total("parameters"),
        macs=total("macs"),
        latency_1_ms=total("latency_1_ms"),
        latency_batch_ms=None if batch is None else total("latency_batch_ms"),
        batch=batch,
        threads=common("threads"),
        processor=common("processor"),
        bytes=total("bytes"),
        activation_bytes=None if total("activation_bytes") is None else max(values("activation_bytes")),
    )
