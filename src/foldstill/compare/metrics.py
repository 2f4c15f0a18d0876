"""Losses of each row and scores of a whole prediction, all against vote shares.

N rows, C classes. `target` and `proba` are keyword only: the other way round, most of these give a plausible number.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.compare.calibration import calibration_slope, class_calibration_error, top_calibration_error
from foldstill.compare.rejection import rejection_curve
from foldstill.data.simplex import EPS, check_rows, row_kl, softmax
from foldstill.errors import CompareError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """How a score is called and read."""

    title: str
    better: Literal["low", "high", "one", "zero"]
    meaning: str


METRICS = {
    "kl": Metric("KL", "low", "KL(votes || prediction), nats a row; 0 is perfect"),
    "log_loss": Metric("log loss", "low", "cross-entropy to the vote shares, nats a row"),
    "calibrated_kl": Metric(
        "calibrated KL",
        "low",
        "KL at a temperature fitted on the other half of the rows: what is left of it when all are set right",
    ),
    "brier": Metric("Brier", "low", "squared distance to the vote shares, summed over classes"),
    "accuracy": Metric(
        "accuracy", "high", "rows whose predicted class has the most votes; one of k tied classes counts 1/k"
    ),
    "auroc": Metric("AUROC", "high", "one class against the rest, rows weighted by vote share, averaged over classes"),
    "ece": Metric("ECE", "low", "calibration error of the predicted class, 15 bins of equal mass"),
    "class_ece": Metric(
        "class ECE", "low", "calibration error of every class, 15 bins of equal mass, averaged over classes"
    ),
    "slope": Metric("slope", "one", "power of the prediction that fits the votes best: below 1 is overconfident"),
    "entropy_excess": Metric(
        "entropy excess", "zero", "log loss minus the prediction's own entropy: above 0 is overconfident"
    ),
    "aurc": Metric(
        "AURC", "low", "mean KL of the rows that are kept as those of highest entropy are handed to somebody else"
    ),
    "prr": Metric(
        "PRR",
        "high",
        "prediction-rejection ratio of that: 1 when entropy ranks rows by their KL, 0 when it is worth chance",
    ),
}
"""The scores of every arm, in the order they are shown."""


def scores(*, target: ArrayLike, proba: ArrayLike, weight: ArrayLike | None = None) -> dict[str, float | None]:
    """Every score of METRICS; None where it is not defined (AUROC without two classes, rejection of equal errors).

    `target` and `proba` are (N, C) and sum to one; `weight` (N,) makes every mean a weighted one. Raises DataError for
    logits and CompareError for shapes that differ.
    """
    target_NC, proba_NC = checked(target=target, proba=proba)
    weight_N = None if weight is None else np.asarray(weight, dtype=np.float64)
    loss = row_log_loss(target=target_NC, proba=proba_NC)
    auroc_C = class_auroc(target=target_NC, proba=proba_NC, weight=weight_N)
    entropy, kl = row_log_loss(target=proba_NC, proba=proba_NC), row_kl(target=target_NC, proba=proba_NC)
    rejection = None if np.ptp(kl) < 1e-12 else rejection_curve(kl.clip(0), entropy, weight_N=weight_N)
    return {
        "kl": _mean(kl, weight_N),
        "log_loss": _mean(loss, weight_N),
        "calibrated_kl": calibrated_kl(target_NC, proba_NC, weight_N),
        "brier": _mean(row_brier(target=target_NC, proba=proba_NC), weight_N),
        "accuracy": _mean(row_accuracy(target=target_NC, proba=proba_NC), weight_N),
        "auroc": None if np.isnan(auroc_C).all() else float(np.nanmean(auroc_C)),
        "ece": top_calibration_error(target=target_NC, proba=proba_NC, weight=weight_N),
        "class_ece": class_calibration_error(target=target_NC, proba=proba_NC, weight=weight_N),
        "slope": calibration_slope(target=target_NC, proba=proba_NC, weight=weight_N),
        "entropy_excess": _mean(loss - entropy, weight_N),
        "aurc": None if rejection is None else rejection.area,
        "prr": None if rejection is None else rejection.prediction_rejection_ratio,
    }


def calibrated_kl(target_NC: Floats, proba_NC: Floats, weight_N: Floats | None) -> float | None:
    """KL after temperature scaling of each half of the rows by the other (Ashukha et al., 2020, *Pitfalls*, section 5).

    The halves are the same for every prediction of the same rows; None for fewer than two rows of any weight.
    """
    counted = np.arange(len(target_NC)) if weight_N is None else np.flatnonzero(weight_N > 0)
    if len(counted) < 2:
        return None
    first, second = np.array_split(np.random.default_rng(0).permutation(counted), 2)
    loss_N = np.zeros(len(target_NC))
    for fitted, judged in ((first, second), (second, first)):
        part = None if weight_N is None else weight_N[fitted]
        slope = calibration_slope(target=target_NC[fitted], proba=proba_NC[fitted], weight=part)
        power = softmax(slope * np.log(np.clip(proba_NC[judged], EPS, None)))
        loss_N[judged] = row_kl(target=target_NC[judged], proba=power)
    return _mean(loss_N, weight_N)


def checked(*, target: ArrayLike, proba: ArrayLike) -> tuple[Floats, Floats]:
    """Both as float64 (N, C) whose rows sum to one."""
    target_NC, proba_NC = check_rows(target, "target"), check_rows(proba, "proba")
    if target_NC.shape != proba_NC.shape or target_NC.ndim != 2:
        raise CompareError(
            f"target {target_NC.shape} and proba {proba_NC.shape} must both be (rows, classes): align them by id"
        )
    return target_NC.astype(np.float64), proba_NC.astype(np.float64)


def _mean(value_N: Floats, weight_N: Floats | None) -> float:
    return float(np.average(value_N, weights=weight_N))


def row_log_loss(*, target: Floats, proba: Floats) -> Floats:
    """Cross-entropy -sum y log p of each row, (N,), in nats; p is floored at EPS."""
    loss: Floats = -(target * np.log(np.maximum(proba, EPS))).sum(axis=1)
    return loss


def row_brier(*, target: Floats, proba: Floats) -> Floats:
    """Squared distance of each row, summed over classes, (N,), 0 to 2."""
    brier: Floats = ((target - proba) ** 2).sum(axis=1)
    return brier


def row_accuracy(*, target: Floats, proba: Floats) -> Floats:
    """1 where the predicted class has the most votes, (N,).

    Ties are settled as by lot: with k classes tied for the most votes a hit counts 1/k, and classes tied for the
    highest prediction share the row. A perfect prediction of tied votes therefore scores 1/k, not 1.
    """
    voted, predicted = (a >= a.max(axis=1, keepdims=True) - 1e-9 for a in (target, proba))
    right: Floats = (voted & predicted).sum(axis=1) / (voted.sum(axis=1) * predicted.sum(axis=1))
    return right


def row_class_kl(*, target: Floats, proba: Floats) -> Floats:
    """What each class adds to a row's KL, (N, C): y log(y / p) - y + p, never negative.

    The terms y log(y / p) alone can be negative. Adding p - y, which sums to zero over classes, makes every term the
    Bregman divergence of its class; the row sum stays KL.
    """
    p = np.maximum(proba, EPS)
    ratio = np.log(np.where(target > 0, target, 1.0)) - np.log(p)
    part: Floats = target * ratio - target + proba
    return part


def class_auroc(*, target: Floats, proba: Floats, weight: Floats | None = None) -> Floats:
    """AUROC of each class against the rest with soft labels, (C,); NaN where a class has all votes or none.

    Every row is a positive with its share y and a negative with 1 - y. Even the true shares score below 1 then: it
    ranks arms on the same rows and is not comparable to AUROC on hard labels.
    """
    weight_N = np.ones(len(target)) if weight is None else weight
    auroc_C = np.full(target.shape[1], np.nan)
    for c in range(target.shape[1]):
        _, tie = np.unique(proba[:, c], return_inverse=True)
        positive = np.bincount(tie, weight_N * target[:, c])
        negative = np.bincount(tie, weight_N * (1 - target[:, c]))
        pairs = positive.sum() * negative.sum()
        if pairs > 0:
            # A tie counts one half (Mann-Whitney).
            auroc_C[c] = (positive * (np.cumsum(negative) - negative / 2)).sum() / pairs
    return auroc_C
