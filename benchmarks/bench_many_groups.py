"""CPU seconds and memory of all intervals of a comparison in which every row is a group of its own.

    PYTHONPATH=src python benchmarks/bench_many_groups.py [--groups 1000000] [--arms 53]

Losses are drawn at random. The peak is the resident set of the process, as Linux tells it, beside that with the losses.
"""

import harness  # noqa: F401  # isort: skip  (pins the threads)

import argparse
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from foldstill.compare import IntervalSettings
from foldstill.compare.differences import Differences


def peak_mb() -> float:
    """Peak of this process in MB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+)", status)
    assert found is not None, "Linux tells the peak"
    return int(found[1]) * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, default=1_000_000)
    parser.add_argument("--arms", type=int, default=53)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    loss_AN = [rng.random(options.groups) for _ in range(options.arms)]
    before, start = peak_mb(), time.process_time()
    differences = Differences.of_rows(loss_AN, 0, np.arange(options.groups), np.ones(options.groups))
    settings = IntervalSettings()
    differences.intervals(settings)
    for method in ("bootstrap_t", "percentile"):
        differences.intervals(replace(settings, method=method))
    differences.simultaneous(settings, ["members"] * (options.arms - 2) + ["combinations"] * 2)
    cpu_s, more_mb, losses_mb = time.process_time() - start, peak_mb() - before, sum(x.nbytes for x in loss_AN) / 1e6
    print(f"{cpu_s:.1f} CPU-s and {more_mb:.0f} MB more than the losses, which take {losses_mb:.0f} MB")


if __name__ == "__main__":
    main()
