"""Arithmetic or geometric: how the results of the K fold models are pooled on rows that none of them saw.

    python benchmarks/fold_pooling.py RUN [RUN ...]

RUN is the folder of a finished `foldstill run` with locked rows. A combination is fitted to the scores of one fold
model per row and calibrated for them. On a locked row it is applied to the scores of each fold model, and the K results
are averaged. A mean of calibrated predictions is underconfident (Ranjan and Gneiting, 2010). For each combination this
prints its KL on the locked rows with the arithmetic mean, with the geometric mean, and with the geometric mean raised
to a power b. The power is found without a label of a locked row: each fold model scores a new row as it scores a row
that it did not see, so the cross-entropy of the mean logarithm is that of the out-of-fold rows, and b is where the
expectation of the mean logarithm under the prediction equals it. The last columns are the best power, which does look
at the labels, and its KL.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from foldstill.data.simplex import EPS, kl_divergence, softmax
from foldstill.oof import FoldScores, ScoreTable, read_labels, read_scores
from foldstill.stacking import load

Floats = NDArray[np.float64]
POWERS = np.arange(0.5, 2.01, 0.02)


def logarithm(proba: NDArray[np.floating]) -> Floats:
    return np.log(np.maximum(np.asarray(proba, np.float64), EPS))


def power_without_labels(logarithm_NC: Floats, cross_entropy: float) -> float:
    """The power for which the prediction expects the cross-entropy that one fold model has on held-out rows."""

    def excess(power: float) -> float:
        return float((softmax(power * logarithm_NC) * logarithm_NC).sum(axis=1).mean() + cross_entropy)

    return float(brentq(excess, 0.1, 5.0))


def show(run: Path) -> None:
    test = read_scores(run / "test.parquet")
    locked, held_out = read_labels(run / "test.parquet"), read_labels(run / "oof.parquet")
    assert isinstance(test, FoldScores), f"{run} has no scores of fold models"
    assert locked is not None, f"{run} has no labels of locked rows"
    assert held_out is not None, f"{run} has no labels"
    target_NC = locked.target_NC
    print(f"{run.name}: {len(test):,} locked rows, {test.n_models} fold models")
    print(f"{'combination':16}{'arithmetic':>12}{'geometric':>12}{'power b':>9}{'KL':>9}{'best b':>9}{'KL':>9}")
    for folder in sorted(path.parent for path in (run / "stacking").glob("*/done.json")):
        combiner = load(folder)
        of_fold_KNC = np.stack([combiner.apply(test.fold_model(k)) for k in range(test.n_models)])
        log_NC = logarithm(of_fold_KNC).mean(axis=0)
        oof = read_scores(folder / "oof.parquet")
        assert isinstance(oof, ScoreTable)
        oof_NC = oof.proba_NMC[:, 0]
        power = power_without_labels(log_NC, -float((held_out.target_NC * logarithm(oof_NC)).sum(axis=1).mean()))
        kl = {b: kl_divergence(target=target_NC, proba=softmax(b * log_NC)) for b in (1.0, power, *POWERS)}
        best = min(POWERS, key=kl.__getitem__)
        arithmetic = kl_divergence(target=target_NC, proba=of_fold_KNC.mean(axis=0))
        print(
            f"{folder.name:16}{arithmetic:12.4f}{kl[1.0]:12.4f}{power:9.3f}{kl[power]:9.4f}{best:9.2f}{kl[best]:9.4f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="+")
    for run in parser.parse_args().run:
        show(run)


if __name__ == "__main__":
    main()
