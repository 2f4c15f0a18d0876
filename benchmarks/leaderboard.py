"""Every combiner of foldstill and other libraries on real tables, cross-fitted over the same folds of groups.

    PYTHONPATH=src python benchmarks/leaderboard.py FOLDER [--only hms sleep] [--peers autogluon phem]

`FOLDER` holds hms_oof/hms_oof.npz, cifar10h/{cifar10h,model_probs}.npz, sleep_dodh/dodh.npz and rsna2023_oof/*.parquet;
tables whose files are missing are skipped. Writes docs/leaderboard.md. Every fold is predicted by a combiner that was
fitted to the other folds; CPU seconds are those of one fit with one thread (median over the folds). Peers run in their
own environments; see bench_peers.py. What was measured is kept in `--results`, one file per table and method, and is
not measured again: delete the folder to start anew.
"""

import harness  # noqa: F401  # isort: skip  (pins the threads, for children as well)

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench_peers import HERE, PEERS, python_of, write_problem
from foldstill.oof import OOFTable
from foldstill.stacking import COMBINERS, Combination, Combiner, crossfit
from hms_oof import hms_table
from leaderboard_page import Board, Entry, page
from real_tables import RSNA_HEADS, cifar10h_table, rsna_table, sleep_table

ROOT = Path(__file__).parents[1]
OURS = "foldstill"


def hms_rows(folder: Path, quality: int | None) -> OOFTable:
    table, quality_N = hms_table(folder / "hms_oof/hms_oof.npz")
    return table if quality is None else table.take(quality_N == quality)


TABLES: Mapping[str, tuple[str, Callable[[Path], OOFTable]]] = {
    "hms": ("HMS brain activity, all rows", lambda folder: hms_rows(folder, None)),
    "hms_many": ("HMS brain activity, rows with ten votes or more", lambda folder: hms_rows(folder, 2)),
    "cifar10h": ("CIFAR-10H", cifar10h_table),
    "sleep": ("Sleep stages (DOD-H)", lambda folder: sleep_table(folder)[0]),
} | {
    f"rsna_{head}": (f"RSNA 2023 abdominal trauma, {head}", lambda folder, head=head: rsna_table(folder, head))
    for head in RSNA_HEADS
}
"""Title and reader of each table."""


@dataclass(frozen=True)
class Timed:
    """Another combiner, with the CPU seconds of each of its fits."""

    combiner: Combiner
    seconds: list[float] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return self.combiner.kind

    @property
    def name(self) -> str:
        return self.combiner.name

    def fit(self, table: OOFTable) -> Combination:
        start = time.process_time()
        combination = self.combiner.fit(table)
        self.seconds.append(time.process_time() - start)
        return combination


def ours(combiner: Combiner, table: OOFTable) -> dict[str, Any]:
    """Held-out predictions of one combiner, in the form in which peers write theirs."""
    timed = Timed(combiner)
    cross = crossfit(timed, table)  # type: ignore[arg-type]  # it is fitted only, and neither saved nor restored
    results = {"proba": cross.proba_NC, "seconds": np.median(timed.seconds), "soft": True, "notes": cross.notes}
    return {f"{combiner.name}/{what}": value for what, value in results.items()}


def of_peer(peer: str, table: OOFTable) -> dict[str, Any]:
    """Held-out predictions of every method of a peer, or the reason for which it has none."""
    parts: list[tuple[NDArray[np.bool_], dict[str, Any]]] = []
    with tempfile.TemporaryDirectory() as folder:
        paths = [(Path(folder) / f"problem{fold}.npz", Path(folder) / f"out{fold}.npz") for fold in table.folds]
        for fold, (problem, _) in zip(table.folds, paths, strict=True):
            held_N = table.fold_N == fold
            write_problem(problem, table.take(~held_N), table.proba_NMC[held_N])
        command = [python_of(peer), HERE / f"fit_{peer}.py", "1", *(path for pair in paths for path in pair)]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        if done.returncode:
            return {"refused": done.stderr.strip().splitlines()[-1]}
        for fold, (_, out) in zip(table.folds, paths, strict=True):
            with np.load(out, allow_pickle=False) as results:
                parts.append((table.fold_N == fold, dict(results)))
    results = {}
    for key in parts[0][1]:
        name, what = key.rsplit("/", 1)
        if what == "proba":
            proba_NC = np.empty((len(table), len(table.classes)))
            for held_N, part in parts:
                proba_NC[held_N] = part[key]
            results[key] = proba_NC
            results[f"{name}/seconds"] = np.median([part[f"{name}/seconds"] for _, part in parts])
            results[f"{name}/soft"] = parts[0][1][f"{name}/soft"]
    return results


def measured(path: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the file holds; it is measured first where there is no file."""
    if not path.exists():
        results = measure()
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part.npz")
        np.savez(unfinished, **results)
        unfinished.replace(path)
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def board(name: str, table: OOFTable, options: argparse.Namespace) -> Board:
    """All methods on one table."""
    sources: dict[tuple[str, str], Callable[[], dict[str, Any]]] = {
        (OURS, kind().name): lambda kind=kind: ours(kind(), table)  # type: ignore[misc]
        for kind in COMBINERS
    }
    sources |= {(peer, peer): lambda peer=peer: of_peer(peer, table) for peer in options.peers}
    entries, refused = [], {}
    for (library, source), measure in sources.items():
        results = measured(options.results / name / f"{library}-{source}.npz", measure)
        print(f"{name}: {library} {source}", flush=True)
        if "refused" in results:
            refused[library] = str(results["refused"])
        for key in results:
            method, _, what = key.rpartition("/")
            if what == "proba":
                seconds, soft = float(results[f"{method}/seconds"]), bool(results[f"{method}/soft"])
                notes = tuple(map(str, results.get(f"{method}/notes", ())))
                entries.append(Entry(library, method, results[key], seconds, soft, notes))
    return Board(name, TABLES[name][0], table, tuple(entries), refused)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--peers", nargs="*", default=PEERS, choices=PEERS)
    parser.add_argument("--results", type=Path, default=ROOT / "runs/leaderboard")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/leaderboard.md")
    options = parser.parse_args()
    boards = []
    for name in options.only:
        title, read = TABLES[name]
        try:
            table = read(options.folder)
        except FileNotFoundError as error:
            print(f"skipped {title}: no {error.filename}", flush=True)
            continue
        boards.append(board(name, table, options))
    if not boards:
        sys.exit(f"no table was found in {options.folder}")
    left_out = [title for name, (title, _) in TABLES.items() if name not in {one.key for one in boards}]
    options.page.write_text(page(boards, left_out), encoding="utf-8")
    print(f"wrote {options.page}")


if __name__ == "__main__":
    main()
