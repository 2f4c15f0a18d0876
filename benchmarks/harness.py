"""Side-by-side timing: two functions in turn in one process with one thread, after a check for equal results.

A benchmark imports this module before numpy or torch, because it pins the number of threads. The result is the median
of the ratios of CPU time per pair (user + system, including child processes). A busy machine changes it far less than
wall time.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ratio:
    """The time of the baseline divided by ours, measured by `clock`, over pairs run one after the other."""

    name: str
    median: float
    low: float
    high: float
    ours_s: float
    baseline_s: float
    clock: str

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.median:.3g}x ({self.low:.3g} to {self.high:.3g}), "
            f"{self.clock} {self.ours_s * 1e3:.4g} ms compared with {self.baseline_s * 1e3:.4g} ms"
        )


def cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


CLOCKS: dict[str, Callable[[], float]] = {"cpu": cpu_seconds, "process": time.process_time, "wall": time.perf_counter}


def side_by_side(
    name: str,
    *,
    ours: Callable[[], Any],
    baseline: Callable[[], Any],
    same: Callable[[Any, Any], None],
    repeats: int = 7,
    clock: str = "process",
    calls: int = 1,
) -> Ratio:
    """Check that both give the same result, then time them in turn and print the ratio.

    `same(ours(), baseline())` runs once and must assert that both results agree. `clock` is "process" (CPU time of this
    process, fine-grained), "cpu" (including child processes, in steps of 10 ms) or "wall". With `calls`, ours is called
    so often in a row, and its time is the mean of these calls.
    """
    same(ours(), baseline())  # also the warm-up
    now = CLOCKS[clock]
    mine, theirs = [], []
    for _ in range(repeats):
        for run, seconds, times in ((ours, mine, calls), (baseline, theirs, 1)):
            start = now()
            for _ in range(times):
                run()
            seconds.append((now() - start) / times)
    ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
    ratio = Ratio(
        name,
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        statistics.median(mine),
        statistics.median(theirs),
        clock,
    )
    print(ratio)
    return ratio


def floor(ratio: Ratio, at_least: float) -> None:
    """Exit with 1 if a ratio is below its floor, for continuous integration."""
    if ratio.median < at_least:
        sys.exit(f"{ratio.name}: {ratio.median:.3g}x is below its floor of {at_least:g}x")
