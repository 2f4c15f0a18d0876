"""Peak memory of whole processes over an empty start, as multiples of the table, on tables of made-up votes.

    PYTHONPATH=src python benchmarks/bench_memory.py [--tables 100000x50x6] [--combiners average,geometric convex]

The table is rows x members x classes in float32, as it lies in memory. An empty start is the same command on 200 rows:
it loads the same libraries. Each command is a process of its own with one thread: `oof import` of an uncompressed .npz,
`stack` with the named combiners, `compare` of the first of these runs. The peak is the maximum resident set.
"""

import harness  # noqa: F401  # isort: skip  (pins the threads, for children as well)

import argparse
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from foldstill.data.simplex import row_blocks, softmax

EMPTY = 200
"""Rows of an empty start."""


def made_up(path: Path, rows: int, members: int, classes: int) -> None:
    """Members whose logits are the truth plus noise; about ten rows per group, 1 to 15 votes per row, five folds."""
    rng = np.random.default_rng(0)
    group_N = rng.integers(max(10, rows // 10), size=rows)
    truth_GC = 0.7 * rng.normal(size=(group_N.max() + 1, classes))
    pred_NMC, votes_NC = np.empty((rows, members, classes), np.float32), np.empty((rows, classes), np.int16)
    for part in row_blocks(rows, members * classes):
        group_B = group_N[part]
        truth_BC = truth_GC[group_B] + 1.2 * rng.normal(size=(len(group_B), classes))
        votes_NC[part] = rng.multinomial(rng.integers(1, 16, size=len(group_B)), softmax(truth_BC))
        noise_BMC = rng.uniform(0.6, 1.5, members)[:, None] * rng.normal(size=(len(group_B), members, classes))
        pred_NMC[part] = softmax(truth_BC[:, None] + noise_BMC)
    np.savez(path, pred=pred_NMC, votes=votes_NC, group=group_N, fold=(group_N % 5).astype(np.int16))


def measured(*command: str | Path) -> tuple[float, float]:
    """Peak in MB and CPU seconds of a command of foldstill."""
    arguments = [sys.executable, "-m", "foldstill", *map(str, command)]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with exit code {process.returncode}")
    return used.ru_maxrss / 1024, used.ru_utime + used.ru_stime


def all_commands(
    folder: Path, shape: tuple[int, int, int], combiners: list[list[str]]
) -> dict[str, tuple[float, float]]:
    """What each command takes on one table."""
    source, table = folder / f"{shape[0]}.npz", folder / f"{shape[0]}.parquet"
    made_up(source, *shape)
    results = {"import": measured("oof", "import", source, "--out", table, "--force")}
    for i, names in enumerate(combiners):
        run = folder / f"{shape[0]}-{i}"
        results[f"stack {', '.join(names)}"] = measured("stack", table, "--out", run, "--combiner", *names, "-q")
    return results | {"compare": measured("compare", folder / f"{shape[0]}-0")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="*", default=["100000x50x6"])
    parser.add_argument("--combiners", nargs="*", default=["average,geometric", "recalibrated", "convex", "log_pool"])
    options = parser.parse_args()
    combiners = [names.split(",") for names in options.combiners]
    for text in options.tables:
        rows, members, classes = map(int, text.split("x"))
        size = 4 * math.prod((rows, members, classes)) / 1e6
        with tempfile.TemporaryDirectory() as folder:
            empty = all_commands(Path(folder), (EMPTY, members, classes), combiners)
            full = all_commands(Path(folder), (rows, members, classes), combiners)
        print(f"\n{text}: {size:.0f} MB")
        for name, (peak, seconds) in full.items():
            over = (peak - empty[name][0]) * 2**20 / 1e6
            print(f"{name:28s}{peak:7.0f} MB, more than empty {over:6.0f} MB: {over / size:5.2f} x{seconds:8.1f} CPU-s")


if __name__ == "__main__":
    main()
