"""The same jobs in processes, on Dask and on Ray: wall time, overhead per job, equal bytes; and cross-fitting on Dask.

    PYTHONPATH=src python benchmarks/bench_workers.py [--repeats 3]

G20: 15 jobs (three members over five folds), one at a time in this process, then by two workers of each kind. The
processes of a kind are started by a first round, which is shown by itself. The overhead per job is the CPU time of this
process and of all that it started, less the CPU time of the jobs in one process; a busy machine changes it far less
than wall time. It needs /proc, as on Linux. G21: 15 cross-fits of one table that Dask sends to each worker once,
compared with sending it with each of them. Dask and Ray are left out where they are not installed:
pip install 'foldstill[dask,ray]'.
"""

import harness  # isort: skip  (pins the threads, so it comes first)

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from bench_stacking import votes_table
from foldstill.base_models import SklearnMember, train_members
from foldstill.data.dataset import Dataset
from foldstill.data.features import FeatureTable
from foldstill.data.folds import FoldPlan, make_plan
from foldstill.data.labels import Labels
from foldstill.oof.table import OOFTable
from foldstill.workers import Work, Workers, spread

TWO = 2
FOLDS = 5
JOBS = 15
ROWS = 4_000
KINDS = {"processes": "2", "dask": "dask=local", "ray": "ray=local"}
PACKAGES = {"dask": "distributed", "ray": "ray"}
MEMBERS = [
    SklearnMember(name, "RandomForestClassifier", options={"n_estimators": trees, "min_samples_leaf": 20})
    for name, trees in (("forest-20", 20), ("forest-25", 25), ("forest-30", 30))
]


def installed() -> list[str]:
    return [kind for kind in KINDS if kind not in PACKAGES or find_spec(PACKAGES[kind])]


def made_up() -> tuple[Dataset, FoldPlan]:
    rng = np.random.default_rng(0)
    x_NF = rng.normal(size=(ROWS, 20))
    class_N = np.digitize(x_NF[:, 0] + rng.normal(size=ROWS), [-1, 1])
    labels = Labels.from_hard(class_N, classes=("low", "middle", "high"), groups=np.arange(ROWS) // 4)
    return Dataset(labels, {"features": FeatureTable.of(x_NF)}), make_plan(labels, n_folds=FOLDS, strategy="grouped")


def scores(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("oof.parquet"))}


def cpu_of_tree() -> float:
    """CPU seconds of this process and of all processes that it started, directly or not."""
    ticks: dict[int, tuple[int, int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks[int(path.parent.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    tree = {os.getpid()}
    while more := {pid for pid, (parent, _) in ticks.items() if parent in tree} - tree:
        tree |= more
    return sum(ticks[pid][1] for pid in tree) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Round:
    """All jobs once: wall and CPU seconds, and the scores that they left."""

    wall_s: float
    cpu_s: float
    scores: dict[str, bytes]


def timed(workers: str, data: Dataset, plan: FoldPlan) -> Round:
    """All jobs in a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        start, cpu = time.perf_counter(), cpu_of_tree()
        train_members(MEMBERS, data, plan, Path(folder), work=Work(workers, device="cpu"))
        return Round(time.perf_counter() - start, cpu_of_tree() - cpu, scores(Path(folder)))


def g20(repeats: int) -> None:
    """15 jobs by two workers of each kind."""
    data, plan = made_up()
    right = timed("1", data, plan).scores  # also the warm-up
    alone = [timed("1", data, plan) for _ in range(repeats)]
    job_s = statistics.median(each.cpu_s for each in alone) / JOBS
    print(f"one process: {statistics.median(each.wall_s for each in alone):.2f} s, {1e3 * job_s:.0f} ms of CPU a job")
    walls: dict[str, float] = {}
    for kind in installed():
        first = timed(KINDS[kind], data, plan)
        rounds = [timed(KINDS[kind], data, plan) for _ in range(repeats)]
        assert all(each.scores == right for each in (first, *rounds)), f"{kind}: other bytes"
        seconds = [each.wall_s for each in rounds]
        walls[kind] = statistics.median(seconds)
        overhead_ms = 1e3 * (statistics.median(each.cpu_s for each in rounds) / JOBS - job_s)
        print(
            f"G20 {kind}: {walls[kind]:.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), "
            f"{walls[kind] / walls['processes']:.2f}x the time of processes, overhead {overhead_ms:.0f} ms of CPU a "
            f"job, with the start {first.wall_s:.1f} s; equal bytes",
            flush=True,
        )


def mean_of(table: OOFTable, fold_N: NDArray[Any], fold: int) -> float:
    """A combiner that costs little, so that the way of the table is what is measured."""
    return float(table.proba_NMC[fold_N != fold].mean())


def g21(repeats: int) -> None:
    """15 cross-fits of a table of 20,000 x 15 x 6 on Dask, which is sent once or with each of them."""
    table, workers = votes_table(20_000), Workers.parse("dask=local")
    fold_N = np.arange(len(table)) % FOLDS
    folds = [index % FOLDS for index in range(JOBS)]

    def once() -> list[float]:
        return [kl for _, kl in sorted(spread(mean_of, [(k,) for k in folds], workers, shared=(table, fold_N)))]

    def each() -> list[float]:
        return [kl for _, kl in sorted(spread(mean_of, [(table, fold_N, k) for k in folds], workers))]

    def same(one: list[float], other: list[float]) -> None:
        assert one == other

    name = f"G21 cross-fitting, a table of {table.proba_NMC.nbytes / 1e6:.1f} MB"
    harness.side_by_side(name, ours=once, baseline=each, same=same, repeats=repeats, clock="wall")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    joblib.cpu_count = lambda *_, **__: TWO  # local clusters have one process per core
    print(f"load {os.getloadavg()[0]:.1f}")
    g20(options.repeats)
    if "dask" in installed():
        g21(options.repeats)


if __name__ == "__main__":
    main()
