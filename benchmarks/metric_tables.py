"""How often `auto` leaves the plain average by a metric where nothing beats it, and where something does.

    OMP_NUM_THREADS=1 PYTHONPATH=src python benchmarks/metric_tables.py [--tables 100] [--metric auroc macro_f1]

Binary tables of 600 rows in 100 groups and four members. In null tables members are exchangeable, so that no weights
rank better than equal ones; all predict too little of the rare class, so that a calibration still helps metrics of
predicted classes. In the other tables two members carry no signal. Fresh rows are 6,000 further rows. A table counts as
harmed when `auto` is worse than the average there.
"""

import argparse

import numpy as np

import foldstill as fs
from foldstill.compare.choices import metric_of
from foldstill.compare.predictions import Predictions
from foldstill.oof import OOFTable
from foldstill.stacking.auto import Auto
from foldstill.stacking.averages import Average
from foldstill.stacking.convex import Convex
from foldstill.stacking.log_pool import LogPool
from foldstill.stacking.recalibrate import Recalibrated


def made(rng: np.random.Generator, groups: int, *, null: bool) -> OOFTable:
    """Six rows per group; the rare class has a share of 0.3."""
    group_N = np.repeat(np.arange(groups), 6)
    label_N = rng.random(len(group_N)) < 0.3
    signal_M = np.full(4, 1.0) if null else np.asarray([1.4, 1.4, 0.0, 0.0])
    shared_N = rng.normal(size=groups)[group_N]
    noise_NM = rng.normal(size=(len(group_N), 4)) + 0.5 * shared_N[:, None]
    logit_NM = signal_M * (2 * label_N[:, None] - 1) + noise_NM - 0.8
    proba_NM = 1 / (1 + np.exp(-logit_NM))
    return fs.oof_table(proba_NM[:, :, None], label_N.astype(int), groups=group_N, folds=group_N % 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=100)
    parser.add_argument("--metric", nargs="+", default=["auroc", "macro_f1"])
    options = parser.parse_args()
    for name in options.metric:
        metric = metric_of(name)
        sign = 1 if metric.better == "high" else -1
        auto = Auto(ladder=(Recalibrated(), Convex(metric=name), LogPool()), metric=name)
        for null in (True, False):
            gains, left = [], 0
            for seed in range(options.tables):
                rng = np.random.default_rng(seed)
                table, fresh = made(rng, 100, null=null), made(rng, 1000, null=null)
                fitted = [one.fit(table) for one in (Average(), auto)]
                scores = [
                    metric.score(
                        Predictions(fresh.labels.target_NC, one(fresh.proba_NMC), fresh.labels.sample_weight_N)
                    )
                    for one in fitted
                ]
                gains.append(sign * (scores[1] - scores[0]))
                left += fitted[1].index > 0
            print(
                f"{name}, {'null' if null else 'two members without signal'}: auto leaves the average in {left} of "
                f"{options.tables}, gain on fresh rows {np.mean(gains):+.4f}, harmed {np.sum(np.asarray(gains) < 0)}"
            )


if __name__ == "__main__":
    main()
