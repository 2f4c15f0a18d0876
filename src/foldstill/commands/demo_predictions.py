"""The demo of predictions: files as a competitor has them, from models whose faults are known, and a verdict on them.

N rows, C classes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.comparison import Comparison
from foldstill.csv_files import write_csv
from foldstill.data.simplex import kl_divergence, softmax
from foldstill.oof.import_settings import ImportSettings
from foldstill.pipeline.compare import compare_stage
from foldstill.pipeline.opening import open_imported
from foldstill.pipeline.run import Run
from foldstill.pipeline.stack import stack_stage
from foldstill.workers import Work

CLASSES = ("seizure", "periodic", "other")
COMBINERS = ("recalibrated", "convex", "log_pool", "lightgbm", "auto")
"""The combiners of the demo: without the MLP, which imports torch."""
PATIENTS, ROWS_EACH, FOLDS = 300, 4, 5


@dataclass(frozen=True)
class Fault:
    """How the scores of a model differ from the truth."""

    noise: float
    """Standard deviation of its errors, in logits."""
    sharpness: float
    """Factor on its logits: above 1 it is too sure, below 1 not sure enough."""


FAULTS = {"cnn": Fault(0.8, 1.0), "vit": Fault(0.9, 2.5), "gbm": Fault(1.0, 0.6), "knn": Fault(2.5, 1.0)}


def run_predictions_demo(out: Path, *, seed: int = 0, work: Work = Work()) -> tuple[Comparison, Run, float]:
    """Write prediction files below `out`, and compare every combination of them with their plain average.

    The last value is the KL of the true probabilities, which no model can be expected to beat.
    """
    folder = out / "files"
    truth_kl = write_predictions(folder, seed)
    paths = sorted((folder / "preds").glob("*.csv"))
    settings = ImportSettings(labels=str(folder / "train.csv"), group="patient")
    run = open_imported(paths, settings, out / "verdict", work=work)
    stack_stage(run, COMBINERS)
    return compare_stage(run), run, truth_kl


def write_predictions(folder: Path, seed: int) -> float:
    """Write preds/<model>.csv and train.csv; returns the KL of the true probabilities.

    Votes are drawn from the true probabilities: 1 to 12 annotators per row. Rows of a patient are alike.
    """
    rng = np.random.default_rng(seed)
    patient_N = np.repeat(np.arange(PATIENTS), ROWS_EACH)
    logits_NC = 1.5 * rng.normal(size=(PATIENTS, len(CLASSES)))[patient_N] + rng.normal(size=(len(patient_N), 3))
    truth_NC = softmax(logits_NC)
    votes_NC = rng.multinomial(rng.integers(1, 13, len(patient_N)), truth_NC)
    ids = [f"row{i:04}" for i in range(len(patient_N))]
    truth_kl = kl_divergence(target=votes_NC / votes_NC.sum(axis=1, keepdims=True), proba=truth_NC)
    # Written last, so that where it is, all files are. They are not written again: they may be somebody's own by now.
    if (folder / "train.csv").exists():
        return truth_kl
    for name, fault in FAULTS.items():
        wrong_NC = fault.sharpness * (logits_NC + fault.noise * rng.normal(size=logits_NC.shape))
        scores: NDArray[np.float64] = softmax(wrong_NC)
        columns = {c: scores[:, i] for i, c in enumerate(CLASSES)}
        write_csv(folder / "preds" / f"{name}.csv", {"id": ids} | columns, float_format="%.6f")
    labels = {"id": ids, "patient": patient_N, "fold": patient_N % FOLDS}
    write_csv(folder / "train.csv", labels | {f"{c}_vote": votes_NC[:, i] for i, c in enumerate(CLASSES)})
    return truth_kl
