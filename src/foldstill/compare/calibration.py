"""Calibration: whether predicted probabilities agree with vote shares.

N rows, C classes, Q bins.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import EPS, clip_rows, row_kl, softmax

Floats = NDArray[np.float64]

BINS = 15


@dataclass(frozen=True)
class Bin:
    """Rows with similar predictions: mean prediction, mean vote share, and their share of the total weight."""

    predicted: float
    observed: float
    share: float


def reliability(
    *, predicted_N: Floats, observed_N: Floats, weight: Floats | None = None, bins: int = BINS
) -> tuple[Bin, ...]:
    """Bins of equal mass over the prediction; equal predictions stay in one bin, so there may be fewer bins."""
    weight_N = np.ones(len(predicted_N)) if weight is None else weight
    order = np.argsort(predicted_N, kind="stable")
    mass = np.cumsum(weight_N[order])
    bin_by_row = np.empty(len(order), dtype=np.intp)
    # The middle of a row's mass decides its bin; tied rows take the bin of the first of them.
    middle = (mass - weight_N[order] / 2) / mass[-1]
    bin_by_row[order] = np.minimum((middle * bins).astype(np.intp), bins - 1)
    _, first, tie = np.unique(predicted_N[order], return_index=True, return_inverse=True)
    bin_N = np.empty_like(bin_by_row)
    bin_N[order] = bin_by_row[order][first][tie]
    total = np.bincount(bin_N, weight_N, bins)
    predicted = np.bincount(bin_N, weight_N * predicted_N, bins)
    observed = np.bincount(bin_N, weight_N * observed_N, bins)
    return tuple(
        Bin(float(p / t), float(o / t), float(t / mass[-1]))
        for p, o, t in zip(predicted, observed, total, strict=True)
        if t > 0
    )


def top_reliability(*, target: Floats, proba: Floats, weight: Floats | None = None) -> tuple[Bin, ...]:
    """Bins of the predicted class: its probability against its vote share."""
    top_N = proba.argmax(axis=1)[:, None]
    predicted_N, observed_N = (np.take_along_axis(a, top_N, axis=1)[:, 0] for a in (proba, target))
    return reliability(predicted_N=predicted_N, observed_N=observed_N, weight=weight)


def _error(bins: tuple[Bin, ...]) -> float:
    return float(sum(b.share * abs(b.predicted - b.observed) for b in bins))


def top_calibration_error(*, target: Floats, proba: Floats, weight: Floats | None = None) -> float:
    """Expected calibration error of the predicted class (Guo et al., 2017, equation 3, with bins of equal mass)."""
    return _error(top_reliability(target=target, proba=proba, weight=weight))


def class_calibration_error(*, target: Floats, proba: Floats, weight: Floats | None = None) -> float:
    """Calibration error of each class on its own, averaged over classes (Kull et al., 2019, equation 3)."""
    errors = [
        _error(reliability(predicted_N=proba[:, c], observed_N=target[:, c], weight=weight))
        for c in range(target.shape[1])
    ]
    return float(np.mean(errors))


def calibration_slope(*, target: Floats, proba: Floats, weight: Floats | None = None) -> float:
    """The power b for which p^b, normalised, has the smallest cross-entropy to the votes; 1 is calibrated.

    The slope is one over the best temperature. Newton's method on a convex function of one number, kept in [0, 20].
    """
    log_NC = np.log(clip_rows(proba))
    weight_N = np.full(len(target), 1 / len(target)) if weight is None else weight / weight.sum()
    wanted = float(weight_N @ (target * log_NC).sum(axis=1))
    slope = 1.0
    for _ in range(30):
        p_NC = softmax(slope * log_NC)
        mean_N = (p_NC * log_NC).sum(axis=1)
        gradient = float(weight_N @ mean_N) - wanted
        curvature = float(weight_N @ ((p_NC * log_NC**2).sum(axis=1) - mean_N**2))
        if curvature <= 1e-12:
            break
        # Longer steps diverge where the softmax is flat.
        step = float(np.clip(gradient / curvature, -slope - 0.5, slope / 2 + 0.1))
        slope = float(np.clip(slope - step, 0.0, 20.0))
        if abs(step) < 1e-8:
            break
    return slope


def calibrated_kl(*, target: Floats, proba: Floats, weight: Floats | None = None) -> float | None:
    """KL after temperature scaling of each half of the rows by the other; None for fewer than two rows with weight.

    The halves are drawn by position and are the same for every prediction of the same rows (Ashukha et al., 2020,
    *Pitfalls of in-domain uncertainty estimation*, section 5).
    """
    counted = np.arange(len(target)) if weight is None else np.flatnonzero(weight > 0)
    if len(counted) < 2:
        return None
    first, second = np.array_split(np.random.default_rng(0).permutation(counted), 2)
    loss_N = np.zeros(len(target))
    for fitted, scored in ((first, second), (second, first)):
        part = None if weight is None else weight[fitted]
        slope = calibration_slope(target=target[fitted], proba=proba[fitted], weight=part)
        calibrated = softmax(slope * np.log(np.clip(proba[scored], EPS, None)))
        loss_N[scored] = row_kl(target=target[scored], proba=calibrated)
    return float(np.average(loss_N, weights=weight))
