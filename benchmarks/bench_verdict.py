"""CPU seconds of whole processes, start-up included: `foldstill verdict`, and other libraries on the same tables.

    PYTHONPATH=src python benchmarks/bench_verdict.py [--tables 4000x6x3 12992x33x6] [--peers autogluon phem] [--mlp]

Each table is written as one CSV per member and one of labels for foldstill, and as one .npz for the peers. A line of
foldstill is the process from CSV files to the report: import, audit, cross-fitting of the named combiners, comparison
with intervals. A line of a peer is the process that reads the .npz, makes one search or one fit, and predicts: no
cross-fitting, no interval, no report. Processes run one after the other with one thread, each `--repeats` times; the
lowest CPU time (user + system, with children) is shown, because a busy machine only adds to it.
"""

import harness  # noqa: F401  # isort: skip  (pins the threads, for children as well)

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench_peers import HERE, PEERS, python_of
from foldstill.csv_files import write_csv
from foldstill.data import Labels
from foldstill.data.simplex import softmax

FREE = ("best_member", "geometric", "recalibrated", "convex", "log_pool", "lightgbm", "auto")
"""The default combiners without the MLP, which imports torch; the average is always added."""


@dataclass(frozen=True)
class Files:
    """One table in the forms that foldstill and the peers read."""

    folder: Path
    members: tuple[Path, ...]

    @property
    def labels(self) -> Path:
        return self.folder / "labels.csv"

    @property
    def problem(self) -> Path:
        return self.folder / "problem.npz"


def made_up(folder: Path, rows: int, members: int, classes: int, seed: int = 0) -> Files:
    """Members whose logits are the truth times a gain plus noise; about ten rows per group, 1 to 15 votes per row."""
    rng = np.random.default_rng(seed)
    n_groups = rows // 10
    group_N = rng.integers(n_groups, size=rows)
    truth_NC = 0.7 * rng.normal(size=(n_groups, classes))[group_N] + 1.2 * rng.normal(size=(rows, classes))
    votes_NC = rng.multinomial(rng.integers(1, 16, size=rows), softmax(truth_NC))
    proba_MNC = np.empty((members, rows, classes), np.float32)
    for m in range(members):
        noise_NC = rng.uniform(0.6, 1.5) * rng.normal(size=(rows, classes))
        proba_MNC[m] = softmax(rng.uniform(0.5, 1.2) * truth_NC + noise_NC)
    labels = Labels.from_votes(votes_NC, groups=group_N)
    names = [f"c{c}" for c in range(classes)]
    ids = {"id": labels.ids}
    files = Files(folder, tuple(folder / f"m{m}.csv" for m in range(members)))
    for path, proba_NC in zip(files.members, proba_MNC, strict=True):
        write_csv(path, ids | dict(zip(names, proba_NC.T, strict=True)))
    columns = ids | {"group": labels.groups, "fold": group_N % 5}
    votes = {f"{name}_votes": column for name, column in zip(names, votes_NC.T, strict=True)}
    write_csv(files.labels, columns | votes)
    new_MNC, weight_N = proba_MNC[:, :1000], np.ones(rows)
    np.savez(files.problem, proba_MNC=proba_MNC, votes_NC=votes_NC, group_N=group_N, new_MNC=new_MNC, weight_N=weight_N)
    return files


def cpu_seconds(command: Sequence[str | Path]) -> float:
    """CPU seconds of one process and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def commands(files: Files, peers: Sequence[str], *, mlp: bool) -> dict[str, list[str | Path]]:
    """The command of each line."""
    verdict = [sys.executable, "-m", "foldstill", "verdict", *files.members, "--labels", files.labels, "--force"]
    verdict += ["--out", files.folder / "verdict", "--quiet", "--combiner"]
    lines: dict[str, list[str | Path]] = {
        "foldstill verdict, auto": [*verdict, "auto"],
        "foldstill verdict, eight arms": [*verdict, *FREE],
    }
    if mlp:
        lines["foldstill verdict, nine arms"] = [*verdict, *FREE, "mlp"]
    out = files.folder / "out.npz"
    return lines | {f"{peer}": [python_of(peer), HERE / f"fit_{peer}.py", "1", files.problem, out] for peer in peers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="*", default=["4000x6x3", "12992x33x6"])
    parser.add_argument("--peers", nargs="*", default=PEERS, choices=PEERS)
    parser.add_argument("--mlp", action="store_true", help="also with the MLP")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    for table in options.tables:
        with tempfile.TemporaryDirectory() as folder:
            lines = commands(made_up(Path(folder), *map(int, table.split("x"))), options.peers, mlp=options.mlp)
            seconds: dict[str, list[float]] = {name: [] for name in lines}
            for _ in range(options.repeats):
                for name, command in lines.items():
                    seconds[name].append(cpu_seconds(command))
            print(f"\n{table}: rows x members x classes", flush=True)
            for name, each in sorted(seconds.items(), key=lambda item: min(item[1])):
                print(f"{name:32s}{min(each):9.2f} CPU-s", flush=True)


if __name__ == "__main__":
    main()
