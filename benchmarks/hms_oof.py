"""Combiners on real HMS out-of-fold predictions, cross-fitted over their folds: all rows and by number of votes.

    OMP_NUM_THREADS=1 PYTHONPATH=src python benchmarks/hms_oof.py PATH/hms_oof.npz [--workers 2] [--all | --judged]

The file holds `pred` (N, M, C), `target` shares, `min_votes`, `quality` (0: 1-2 votes, 1: 3-9, 2: 10 or more), `fold`,
`patient_id`, `members`, `classes`. Second inference runs (`*_nb`, `*_nbtta`) are left out. A family is a pair of input
and stage. `--all` adds the slow combiners. `--judged` fits `auto` to all rows and scores it on rows with ten votes or
more: by both rules, judged on all rows and on these.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from foldstill.compare import paired_intervals
from foldstill.data.labels import Labels
from foldstill.oof.table import OOFTable, ScoreTable
from foldstill.stacking import Combiner, crossfit_all, default_combiners, fit_all
from foldstill.stacking.auto import Auto
from foldstill.stacking.averages import Average, Median, Trimmed
from foldstill.stacking.convex import Convex
from foldstill.stacking.gated import Gated
from foldstill.stacking.greedy import Greedy
from foldstill.stacking.log_pool import LogPool
from foldstill.stacking.logistic import Logistic, linear_logits
from foldstill.stacking.mlp import report_mlp
from foldstill.stacking.pruned import Pruned
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.stacking.super_learner import Super
from foldstill.stacking.tempered import Tempered

FAST: tuple[Combiner, ...] = (
    Median(),
    Trimmed(),
    Recalibrated(name="vector_scaled", slope="per_class"),
    Recalibrated(name="convex+recal", of=Convex()),
    Recalibrated(name="convex_tied+recal", of=Convex(tied=True)),
    LogPool(name="log_pool_tied", tied=True),
    Greedy(),
    *(Recalibrated(name=f"best_{n}+recal", of=Pruned(budget=n)) for n in (1, 3, 5, 10)),
    Gated(),
    Tempered(name="tempered_average", of=Average()),
    Tempered(name="tempered+recal"),
)
SLOW: tuple[Combiner, ...] = (
    Logistic(),
    Logistic(name="logistic_stats", features="statistics"),
    linear_logits(),
    report_mlp(),
    Super(),
)
ROWS = {"all rows": None, ">= 10 votes": 2, "3-9 votes": 1}
GOALS = {"all rows": 0.4344, ">= 10 votes": 0.2100, "3-9 votes": 0.5100}
"""Cross-fitted KL that `auto` or `super` should reach, to four digits."""


def hms_table(path: Path) -> tuple[OOFTable, np.ndarray]:
    """Return the table without second inference runs, and the vote stratum per row."""
    with np.load(path, allow_pickle=False) as file:
        members = [str(m) for m in file["members"]]
        kept = [i for i, m in enumerate(members) if not m.endswith(("_nb", "_nbtta"))]
        target = file["target"].astype(np.float64)
        labels = Labels.from_shares(
            target / target.sum(axis=1, keepdims=True),
            file["min_votes"],
            ids=np.arange(len(target)),
            groups=file["patient_id"],
            classes=[str(c) for c in file["classes"]],
            stratum=file["quality"],
        )
        names = tuple(members[i] for i in kept)
        families = tuple(f"{m.split('_')[0]}-{'stage2' if 'stage2' in m else 'stage1'}" for m in names)
        scores = ScoreTable(labels.ids, names, labels.classes, np.ascontiguousarray(file["pred"][:, kept]), families)
        return OOFTable(scores, labels, file["fold"].astype(np.int16)), file["quality"]


def print_judged(table: OOFTable, workers: int) -> None:
    """One line per `auto`: its KL on rows with ten votes or more, and the difference from the average there."""
    many_N = table.labels.stratum_N == "2"
    autos = [
        Auto(name=f"{rule}, judged on {stratum or 'all'}", rule=rule, judged_on=stratum)
        for rule in ("proved", "expected")
        for stratum in ("", "2")
    ]
    average, *fits = crossfit_all((Average(), *autos), table, workers=workers)
    print(f"rows with ten votes or more, fitted to all rows: average {average.row_kl_N[many_N].mean():.4f}")
    for fit in fits:
        difference_N = (fit.row_kl_N - average.row_kl_N)[many_N]
        [gain] = paired_intervals(difference_N[:, None], table.labels.groups[many_N])
        kl = fit.row_kl_N[many_N].mean()
        print(f"  {fit.name:24s} {kl:.4f}  {gain.estimate:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--judged", action="store_true")
    options = parser.parse_args()
    table, quality_N = hms_table(options.path)
    if options.judged:
        print_judged(table, options.workers)
        return
    defaults = default_combiners()
    for title in options.rows:
        quality = ROWS[title]
        rows = table if quality is None else table.take(quality_N == quality)
        start = time.perf_counter()
        fits = crossfit_all(defaults, rows, workers=options.workers)
        fit_all(defaults, rows, workers=options.workers)
        seconds = time.perf_counter() - start
        fits += crossfit_all(FAST + (SLOW if options.all else ()), rows, workers=options.workers)
        difference_NA = np.stack([fit.row_kl_N - fits[0].row_kl_N for fit in fits], axis=1)
        gains = paired_intervals(difference_NA, rows.labels.groups)
        print(f"\n{title}: {len(rows)} rows, {len(np.unique(rows.labels.groups))} patients, defaults {seconds:.0f} s")
        for fit, gain in zip(fits, gains, strict=True):
            print(f"  {fit.name:20s} {fit.kl:.4f}  {gain.estimate:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]")
            for note in dict.fromkeys(note for note in fit.notes if note):
                print(f"      {note}")
        reached = {fit.name: round(fit.kl, 4) for fit in fits if fit.name in ("auto", "super")}
        goals = ", ".join(
            f"{name} {kl:.4f} {'met' if kl <= GOALS[title] else 'missed'}" for name, kl in reached.items()
        )
        print(f"  goal {GOALS[title]:.4f}: {goals}", flush=True)


if __name__ == "__main__":
    main()
