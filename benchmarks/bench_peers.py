"""foldstill and its peers on the same table: KL on new groups, and the CPU seconds of each fit.

    PYTHONPATH=src python benchmarks/bench_peers.py [--rows 100000] [--peers autogluon phem ...]

15 members, 6 classes, vote counts, 20,000 rows of new groups. Each peer runs in its own process and its own virtual
environment (benchmarks/peers/.venv/<peer>, made on first use from the versions in peers/<peer>.txt), one thread, one after
the other; tables and predictions travel in .npz files. The form a way takes its input in is not timed, its fit is.
Exits with 1 unless the best of ours is no worse than the best peer, and convex weights and greedy selection are ten times
faster than the fastest peer that fits soft labels.
"""

import harness  # noqa: F401  # isort: skip  (pins the threads, for children as well)

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foldstill.compare import paired_intervals
from foldstill.data.simplex import row_kl
from synthetic_tables import synthetic

HERE = Path(__file__).parent / "peers"
PEERS = sorted(path.stem for path in HERE.glob("*.txt"))
FASTER = 10


@dataclass(frozen=True)
class Way:
    """One way to combine, on the new rows."""

    peer: str
    name: str
    loss_N: NDArray[np.float64]
    seconds: float
    soft: bool

    @property
    def kl(self) -> float:
        return float(self.loss_N.mean())


def python_of(peer: str) -> Path:
    """The interpreter of the peer's environment, which is made when there is none."""
    if peer == "foldstill":
        return Path(sys.executable)
    place = HERE / ".venv" / peer
    if not (place / "bin" / "python").exists():
        print(f"making the environment of {peer}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        # The files list every package, so that a peer that asks for versions which no longer build runs all the same.
        wanted = ["-r", HERE / f"{peer}.txt"]
        subprocess.run([place / "bin" / "python", "-m", "pip", "install", "-q", "--no-deps", *wanted], check=True)
    return place / "bin" / "python"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--peers", nargs="*", default=PEERS, choices=PEERS)
    options = parser.parse_args()
    made = synthetic("hetero", rows=options.rows, holdout_rows=20_000, seed=1)
    target_NC = made.holdout_labels.target_NC
    ways: list[Way] = []
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder) / "problem.npz"
        np.savez(
            problem,
            proba_MNC=made.table.proba_NMC.transpose(1, 0, 2),
            votes_NC=made.table.labels.votes_NC,
            group_N=made.table.labels.groups,
            new_MNC=made.holdout_once.proba_NMC.transpose(1, 0, 2),
        )
        for peer in ("foldstill", *options.peers):
            out, repeats = Path(folder) / f"{peer}.npz", "3" if peer == "foldstill" else "1"
            subprocess.run([python_of(peer), HERE / f"fit_{peer}.py", problem, out, repeats], check=True)
            with np.load(out, allow_pickle=False) as found:
                for name in dict.fromkeys(key.rsplit("/", 1)[0] for key in found.files):
                    loss_N = row_kl(target=target_NC, proba=found[f"{name}/proba"])
                    ways.append(Way(peer, name, loss_N, float(found[f"{name}/seconds"]), bool(found[f"{name}/soft"])))
            print(f"{peer} done", flush=True)
    judge(ways, made.holdout_labels.groups, options.rows)


def judge(ways: list[Way], groups: NDArray[np.str_], rows: int) -> None:
    ours = {way.name: way for way in ways if way.peer == "foldstill"}
    theirs = [way for way in ways if way.peer != "foldstill"]
    gains = paired_intervals(np.stack([way.loss_N - ours["average"].loss_N for way in ways], axis=1), groups)
    print(f"\n{rows} x 15 x 6, scored on {len(groups)} rows of {len(np.unique(groups))} new groups")
    print(f"{'':32s}{'CPU-s':>9s} {'labels':>7s} {'KL':>8s}   minus the average")
    for way, gain in sorted(zip(ways, gains, strict=True), key=lambda pair: pair[0].kl):
        told = f"{gain.estimate:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
        label = "soft" if way.soft else "hard"
        print(f"{way.peer + ' ' + way.name:32s}{way.seconds:9.3f} {label:>7s} {way.kl:8.4f}   {told}")
    if not theirs:
        return
    best, mine = min(theirs, key=lambda way: way.kl), min(ours.values(), key=lambda way: way.kl)
    print(f"\nbest of ours {mine.name} {mine.kl:.4f}, best peer {best.peer} {best.name} {best.kl:.4f}")
    fastest = min((way for way in theirs if way.soft), key=lambda way: way.seconds, default=None)
    failed = ["worse than a peer"] * (mine.kl > best.kl)
    for name in ("convex", "greedy") if fastest else ():
        assert fastest is not None
        times = fastest.seconds / ours[name].seconds
        print(f"{name}: {times:.1f} times faster than {fastest.peer} {fastest.name}")
        failed += [f"{name} is less than {FASTER} times faster"] * (times < FASTER)
    if failed:
        sys.exit("; ".join(failed))


if __name__ == "__main__":
    main()
