"""Where the time of ten (member, fold) jobs on two cores goes, which G6 of `bench_training.py` compares.

    PYTHONPATH=src python benchmarks/fold_processes.py [--repeats 3]

The ten jobs are done by one plain process of one thread, by two such processes at once with five jobs each, by one
plain process of two threads, and by `train_members` in one process and in two. Plain processes only fit; imports and
the start of processes are not counted. Two plain processes at once show what the machine gives to any way of spreading.
Wall times count only where every process had a core for itself, and CPU times nearly always: the share of a core is
printed beside both.
"""

import harness  # isort: skip  (pins the threads, so it comes first)

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from bench_training import fit, make_data
from bench_workers import cpu_of_tree
from foldstill.base_models import Recipe, TimmMember, train_members
from foldstill.data.folds import make_plan
from foldstill.workers import Work

Seconds = tuple[float, float]
"""Wall time, and CPU time of all processes together."""

DATA = make_data(500, 32, 64)
PLAN = make_plan(DATA.labels, n_folds=5, test_share=0)
RECIPE = Recipe(epochs=4, batch_size=32)
MEMBERS = [TimmMember(name, name, recipe=RECIPE) for name in ("test_efficientnet", "test_resnet")]
JOBS = [(member, fold) for fold in range(PLAN.n_folds) for member in MEMBERS]


def fit_part(threads: int, part: int, parts: int) -> None:
    """Fit every `parts`-th job once somebody writes a line, and print the CPU time that it took."""
    torch.set_num_threads(threads)
    for member in MEMBERS:  # the warm-up
        fit(DATA, member, PLAN.training(0))
    print("ready", flush=True)
    sys.stdin.readline()
    start = harness.cpu_seconds()
    for member, fold in JOBS[part * len(JOBS) // parts : (part + 1) * len(JOBS) // parts]:
        fit(DATA, member, PLAN.training(fold))
    print(harness.cpu_seconds() - start, flush=True)


def plain(processes: int, threads: int) -> Seconds:
    """All jobs in processes that only fit."""
    command = [sys.executable, __file__, "--fit", str(threads)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    started = [subprocess.Popen([*command, str(part), str(processes)], text=True, **pipes) for part in range(processes)]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    start = time.perf_counter()
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    cpu_s = sum(float(process.stdout.readline()) for process in started)
    wall_s = time.perf_counter() - start
    for process in started:
        process.communicate()
    return wall_s, cpu_s


def ours(workers: int) -> Seconds:
    """All jobs by `train_members`, which also predicts, scores and writes each of them."""
    with tempfile.TemporaryDirectory() as folder:
        start, cpu_s = time.perf_counter(), cpu_of_tree()
        train_members(MEMBERS, DATA, PLAN, Path(folder), work=Work(workers, device="cpu"))
        return time.perf_counter() - start, cpu_of_tree() - cpu_s


WAYS: dict[str, tuple[int, Callable[[], Seconds]]] = {
    "one plain process of one thread": (1, lambda: plain(1, 1)),
    "two plain processes at once": (2, lambda: plain(2, 1)),
    "one plain process of two threads": (2, lambda: plain(1, 2)),
    "train_members in one process": (1, lambda: ours(1)),
    "train_members in two processes": (2, lambda: ours(2)),
}
"""Number of cores of each way, and the way."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--fit", type=int, nargs=3, metavar=("THREADS", "PART", "PARTS"), help="for the processes")
    options = parser.parse_args()
    if options.fit:
        fit_part(*options.fit)
        return
    print(f"load {os.getloadavg()[0]:.1f}")
    ours(2)  # the warm-up starts the workers
    rounds: dict[str, list[Seconds]] = {name: [] for name in WAYS}
    for _ in range(options.repeats):
        for name, (_, way) in WAYS.items():
            rounds[name].append(way())
    walls, cpus = ([statistics.median(one[i] for one in found) for found in rounds.values()] for i in (0, 1))
    for (name, (cores, _)), wall_s, cpu_s in zip(WAYS.items(), walls, cpus, strict=True):
        print(f"{name}: {wall_s:.2f} s, {cpu_s:.2f} CPU-s, {cpu_s / wall_s / cores:.0%} of each core")
    one, two, threads, _, ours_two = walls
    print(
        f"two plain processes at once are {one / two:.2f}x and two threads {one / threads:.2f}x as fast as one thread; "
        f"so spreading can be {threads / two:.2f}x as fast as two threads, and is {threads / ours_two:.2f}x; "
        f"predicting, scoring and writing take {cpus[3] / cpus[0] - 1:.0%} more CPU time than fitting alone"
    )


if __name__ == "__main__":
    main()
