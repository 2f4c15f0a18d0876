"""How `auto` compares with the plain average on tables other than HMS, all scored on rows that it was not fitted to.

    OMP_NUM_THREADS=1 PYTHONPATH=src python benchmarks/real_tables.py FOLDER [--only cifar10h sleep rsna synthetic]

`FOLDER` holds cifar10h/{cifar10h,model_probs}.npz, sleep_dodh/dodh.npz and rsna2023_oof/*.parquet; `synthetic` needs
none of them. Exits with 1 if `auto` is significantly worse than the average, or if the audit does not name a duplicate.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foldstill.compare import Interval, paired_intervals
from foldstill.data.labels import Labels
from foldstill.data.simplex import row_kl
from foldstill.oof import ImportSettings, OOFTable, import_scores, oof_table, smooth_labels
from foldstill.oof.arrays import with_folds
from foldstill.oof.audit import audit
from foldstill.stacking import Combiner, crossfit_all, fit
from foldstill.stacking.auto import Auto
from foldstill.stacking.averages import Average
from foldstill.stacking.log_pool import LogPool
from foldstill.stacking.recalibrate import Recalibrated
from synthetic_tables import Kind, synthetic

ARMS: tuple[Combiner, ...] = (Average(), Recalibrated(), LogPool(), LogPool(name="log_pool_free", ridge=0.0), Auto())

RSNA_HEADS = ("kidney", "liver", "spleen")
"""Each has three classes of its own."""

Result = tuple[str, list[float], list[Interval], str]
"""Title of the rows, KL per arm, its difference from the first arm, the choice of auto."""


def cross_fitted(title: str, table: OOFTable, *, workers: int) -> Result:
    """Cross-fit every arm over the table's own folds."""
    fits = crossfit_all(ARMS, table, workers=workers)
    difference_NA = np.stack([one.row_kl_N - fits[0].row_kl_N for one in fits], axis=1)
    gains = paired_intervals(difference_NA, table.labels.groups, weight_N=table.labels.sample_weight_N)
    chosen = ", ".join(dict.fromkeys(note.split(" ")[0] for note in fits[-1].notes))
    return title, [one.kl for one in fits], gains, chosen


def on_others(title: str, table: OOFTable, others: OOFTable) -> Result:
    """Fit every arm to one table and score it on another."""
    fitted = [fit(arm, table) for arm in ARMS]
    target_NC, groups = others.labels.target_NC, others.labels.groups
    loss_NA = np.stack([row_kl(target=target_NC, proba=one.apply(others.scores)) for one in fitted], axis=1)
    gains = paired_intervals(loss_NA - loss_NA[:, :1], groups)
    return title, loss_NA.mean(axis=0).tolist(), gains, fitted[-1].explanation.split(" ")[0]


def cifar10h_table(folder: Path) -> OOFTable:
    """Seven members without leaks, 50 votes per row; folds are drawn, because the members have none."""
    with (
        np.load(folder / "cifar10h/model_probs.npz", allow_pickle=False) as probs,
        np.load(folder / "cifar10h/cifar10h.npz", allow_pickle=False) as truth,
    ):
        members = [str(m) for m in probs["members"]]
        return oof_table(probs["pred"], votes=truth["counts"], classes=truth["classes"].tolist(), members=members)


def cifar10h(folder: Path, workers: int) -> Iterator[Result]:
    """All rows, and 500 rows with the rest as new rows."""
    table = cifar10h_table(folder)
    yield cross_fitted("cifar10h", table, workers=workers)
    for draw in range(5):
        order = np.random.default_rng(draw).permutation(len(table))
        yield on_others(f"cifar10h, 500 rows, draw {draw}", table.take(order[:500]), table.take(order[500:]))


def sleep_table(folder: Path) -> tuple[OOFTable, NDArray[np.int64]]:
    """Members that predict only a class, smoothed to 0.9, and their classes (N, M); nights are the groups."""
    with np.load(folder / "sleep_dodh/dodh.npz", allow_pickle=False) as file:
        names = [str(m) for m in file["model_names"]]
        labels = Labels.from_annotators(
            file["scorers"], classes=("wake", "n1", "n2", "n3", "rem"), groups=file["record"]
        )
        models_NM = file["models"].astype(np.int64)
    scored = (models_NM >= 0).all(axis=1)
    models_NM = models_NM[scored]
    smooth_NMC = smooth_labels(models_NM, len(labels.classes), 0.9)
    return oof_table(smooth_NMC, labels=labels.take(scored), members=names), models_NM


def sleep(folder: Path, workers: int) -> Iterator[Result]:
    """Three draws of folds, and three members that are copies."""
    table, models_NM = sleep_table(folder)
    for seed in range(3):
        table = with_folds(table.scores, table.labels, None, seed=seed)
        yield cross_fitted(f"sleep, fold seed {seed}", table, workers=workers)
    names = table.members
    same = [f"{a} = {b}" for i, a in enumerate(names) for j, b in enumerate(names[:i]) if _equal(models_NM, i, j)]
    finding = audit(table)["A4"]
    print(f"copies: {'; '.join(same)}\nA4 {finding.verdict}: {finding.evidence}")
    if missed := [pair for pair in same if not all(name in finding.evidence for name in pair.split(" = "))]:
        sys.exit(f"the audit does not name the copies {missed}")


def _equal(models_NM: NDArray[np.int64], i: int, j: int) -> bool:
    return bool((models_NM[:, i] == models_NM[:, j]).all())


def rsna(folder: Path, workers: int) -> Iterator[Result]:
    """One table per label, patients as groups, the folds in which the members were trained, sample weights."""
    for head in RSNA_HEADS:
        yield cross_fitted(f"rsna {head}", rsna_table(folder, head), workers=workers)


def rsna_table(folder: Path, head: str) -> OOFTable:
    files = sorted((folder / "rsna2023_oof").glob("*3d*.parquet"))
    return import_scores(files, rsna_settings(head, folder / "rsna2023_oof/folds.parquet"))


def rsna_settings(head: str, folds: Path) -> ImportSettings:
    """The columns of one head."""
    return ImportSettings(
        classes=tuple(f"{head}_{grade}" for grade in ("healthy", "low", "high")),
        id="scan_id",
        group="patient_id",
        sample_weight=f"{head}_weight",
        folds=str(folds),
        fold="fold*",
    )


def clean(folder: Path, workers: int) -> Iterator[Result]:
    """Clean synthetic tables, 20 per kind, scored on new groups that are each predicted by one fold model."""
    kinds: tuple[Kind, ...] = ("homog", "hetero")
    for kind in kinds:
        for seed in range(20):
            made = synthetic(kind, rows=2000, holdout_rows=4000, seed=seed)
            new = OOFTable(made.holdout_once, made.holdout_labels, np.zeros(len(made.holdout_labels), np.int16))
            yield on_others(f"synthetic {kind}, seed {seed}", made.table, new)


TABLES = {"cifar10h": cifar10h, "sleep": sleep, "rsna": rsna, "synthetic": clean}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    worse: list[str] = []
    print(f"{'':30s}" + "".join(f"{arm.name:>15s}" for arm in ARMS) + "   auto compared with the average")
    for name in options.only:
        for title, kl_A, gains, chosen in TABLES[name](options.folder, options.workers):
            last = gains[-1]
            difference = f"{last.estimate:+.4f} [{last.low:+.4f}, {last.high:+.4f}] {chosen}"
            print(f"{title:30s}" + "".join(f"{kl:15.4f}" for kl in kl_A) + f"   {difference}", flush=True)
            worse += [title] * (last.low > 0)
    if worse:
        sys.exit(f"auto is worse than the average on {worse}")


if __name__ == "__main__":
    main()
