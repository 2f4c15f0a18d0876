"""foldstill and other libraries on the same table: KL on new groups, and the CPU seconds of each fit.

    PYTHONPATH=src python benchmarks/bench_peers.py [--rows 100000] [--peers autogluon phem ...]

15 members, 6 classes, vote counts, 20,000 rows of new groups. Each peer runs in its own process and its own virtual
environment (benchmarks/peers/.venv/<peer>, created on first use from the versions in peers/<peer>.txt), with one
thread, one after the other. Tables and predictions are exchanged in .npz files. Converting the input to the format of a
library is not timed; its fit is. Exits with 1 unless the best method of foldstill is no worse than the best peer, and
convex weights and greedy selection are ten times faster than the fastest peer that fits soft labels.
"""

import harness  # noqa: F401  # isort: skip  (pins the threads, for children as well)

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.compare import paired_intervals
from foldstill.data.simplex import row_kl
from foldstill.oof import OOFTable
from synthetic_tables import synthetic

HERE = Path(__file__).parent / "peers"
PEERS = sorted(path.stem for path in HERE.glob("*.txt"))
FASTER = 10


@dataclass(frozen=True)
class Method:
    """The result of one method on the new rows."""

    peer: str
    name: str
    loss_N: NDArray[np.float64]
    seconds: float
    soft: bool

    @property
    def kl(self) -> float:
        return float(self.loss_N.mean())


def python_of(peer: str) -> Path:
    """Return the interpreter of the peer's environment, which is created on first use."""
    if peer == "foldstill":
        return Path(sys.executable)
    environment = HERE / ".venv" / peer
    if not (environment / "bin" / "python").exists():
        print(f"creating the environment of {peer}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        # The files list every package, because some peers require versions that no longer build.
        requirements = ["-r", HERE / f"{peer}.txt"]
        subprocess.run(
            [environment / "bin" / "python", "-m", "pip", "install", "-q", "--no-deps", *requirements], check=True
        )
    return environment / "bin" / "python"


def write_problem(path: Path, table: OOFTable, new_NMC: NDArray[Any]) -> None:
    """Write the rows to fit on and the new rows in the form that peers read."""
    np.savez(
        path,
        proba_MNC=table.proba_NMC.transpose(1, 0, 2),
        votes_NC=table.labels.votes_NC,
        group_N=table.labels.groups,
        new_MNC=new_NMC.transpose(1, 0, 2),
        weight_N=table.labels.sample_weight_N,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--peers", nargs="*", default=PEERS, choices=PEERS)
    options = parser.parse_args()
    made = synthetic("hetero", rows=options.rows, holdout_rows=20_000, seed=1)
    target_NC = made.holdout_labels.target_NC
    methods: list[Method] = []
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder) / "problem.npz"
        write_problem(problem, made.table, made.holdout_once.proba_NMC)
        for peer in ("foldstill", *options.peers):
            out, repeats = Path(folder) / f"{peer}.npz", "3" if peer == "foldstill" else "1"
            subprocess.run([python_of(peer), HERE / f"fit_{peer}.py", repeats, problem, out], check=True)
            with np.load(out, allow_pickle=False) as results:
                for name in dict.fromkeys(key.rsplit("/", 1)[0] for key in results.files):
                    loss_N = row_kl(target=target_NC, proba=results[f"{name}/proba"])
                    methods.append(
                        Method(peer, name, loss_N, float(results[f"{name}/seconds"]), bool(results[f"{name}/soft"]))
                    )
            print(f"{peer} done", flush=True)
    judge(methods, made.holdout_labels.groups, options.rows)


def judge(methods: list[Method], groups: NDArray[np.str_], rows: int) -> None:
    ours = {method.name: method for method in methods if method.peer == "foldstill"}
    theirs = [method for method in methods if method.peer != "foldstill"]
    gains = paired_intervals(np.stack([method.loss_N - ours["average"].loss_N for method in methods], axis=1), groups)
    print(f"\n{rows} x 15 x 6, scored on {len(groups)} rows of {len(np.unique(groups))} new groups")
    print(f"{'':32s}{'CPU-s':>9s} {'labels':>7s} {'KL':>8s}   difference from the average")
    for method, gain in sorted(zip(methods, gains, strict=True), key=lambda pair: pair[0].kl):
        difference = f"{gain.estimate:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
        label = "soft" if method.soft else "hard"
        print(f"{method.peer + ' ' + method.name:32s}{method.seconds:9.3f} {label:>7s} {method.kl:8.4f}   {difference}")
    if not theirs:
        return
    best_peer, best_ours = min(theirs, key=lambda method: method.kl), min(ours.values(), key=lambda method: method.kl)
    print(
        f"\nbest of foldstill: {best_ours.name} {best_ours.kl:.4f}; "
        f"best peer: {best_peer.peer} {best_peer.name} {best_peer.kl:.4f}"
    )
    fastest = min((method for method in theirs if method.soft), key=lambda method: method.seconds, default=None)
    failed = ["worse than a peer"] * (best_ours.kl > best_peer.kl)
    for name in ("convex", "greedy") if fastest else ():
        assert fastest is not None
        times = fastest.seconds / ours[name].seconds
        print(f"{name}: {times:.1f} times faster than {fastest.peer} {fastest.name}")
        failed += [f"{name} is less than {FASTER} times faster"] * (times < FASTER)
    if failed:
        sys.exit("; ".join(failed))


if __name__ == "__main__":
    main()
