"""Calibration: whether predicted probabilities agree with vote shares.

N rows, C classes, Q bins.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import clip_rows, row_kl, row_sum, softmax

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
    # The order of tied rows is that of the sort, which decides nothing below.
    order = np.argsort(predicted_N)
    predicted_N, observed_N, mass_N = predicted_N[order], observed_N[order], weight_N[order]
    first = np.flatnonzero(np.r_[True, predicted_N[1:] != predicted_N[:-1]])
    # The middle of a row's mass decides its bin; tied rows take the bin of the first of them.
    before = np.r_[0.0, np.cumsum(mass_N)]
    middle = (before[first] + weight_N[np.minimum.reduceat(order, first)] / 2) / before[-1]
    bin_of_tie = np.minimum((middle * bins).astype(np.intp), bins - 1)
    bin_N = np.repeat(bin_of_tie, np.diff(np.r_[first, len(order)]))
    total = np.bincount(bin_N, mass_N, bins)
    predicted = np.bincount(bin_N, mass_N * predicted_N, bins)
    observed = np.bincount(bin_N, mass_N * observed_N, bins)
    return tuple(
        Bin(float(p / t), float(o / t), float(t / before[-1]))
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
    return _best_power(target, np.log(clip_rows(proba)), weight)


def _best_power(target: Floats, log_NC: Floats, weight: Floats | None, start: float = 1.0) -> float:
    """The slope for normalised log-probabilities, by Newton's method from `start`."""
    weight_N = np.full(len(target), 1 / len(target)) if weight is None else weight / weight.sum()
    wanted = float(weight_N @ np.einsum("nc,nc->n", target, log_NC))
    slope = start
    for _ in range(30):
        # Normalised log-probabilities are at most 0, and the largest of a row is near it: the powers cannot overflow.
        power_NC = np.exp(slope * log_NC)
        total_N = row_sum(power_NC)
        power_NC *= log_NC
        mean_N = row_sum(power_NC) / total_N
        gradient = float(weight_N @ mean_N) - wanted
        curvature = float(weight_N @ (np.einsum("nc,nc->n", power_NC, log_NC) / total_N - mean_N**2))
        if curvature <= 1e-12:
            break
        # Longer steps diverge where the softmax is flat.
        step = float(np.clip(gradient / curvature, -slope - 0.5, slope / 2 + 0.1))
        slope = float(np.clip(slope - step, 0.0, 20.0))
        # The error after a step is of the order of its square.
        if abs(step) < 1e-6:
            break
    return slope


def calibrated_kl(*, target: Floats, proba: Floats, weight: Floats | None = None, start: float = 1.0) -> float | None:
    """KL after temperature scaling of each half of the rows by the other; None for fewer than two rows with weight.

    The halves are drawn by position and are the same for every prediction of the same rows (Ashukha et al., 2020,
    *Pitfalls of in-domain uncertainty estimation*, section 5). `start` is a guess of the slope: it saves time.
    """
    counted = np.arange(len(target)) if weight is None else np.flatnonzero(weight > 0)
    if len(counted) < 2:
        return None
    halves = [np.sort(half) for half in np.array_split(np.random.default_rng(0).permutation(counted), 2)]
    log_NC = np.log(clip_rows(proba))
    total = 0.0
    parts = [(target[half], log_NC[half], None if weight is None else weight[half]) for half in halves]
    for half, (target_NC, log_HC, weight_N) in enumerate(parts):
        calibrated = softmax(_best_power(*parts[1 - half], start=start) * log_HC)
        loss_N = row_kl(target=target_NC, proba=calibrated)
        total += float(loss_N.sum() if weight_N is None else weight_N @ loss_N)
    return total / float(len(target) if weight is None else weight.sum())
