"""Calibration: whether predicted probabilities agree with vote shares.

N rows, C classes, Q bins.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import EPS, clip_rows, row_sum

Floats = NDArray[np.float64]

BINS = 15
_LOG_EPS = float(np.log(EPS))


@dataclass(frozen=True)
class Bin:
    """Rows with similar predictions: mean prediction, mean vote share, and their share of the total weight."""

    predicted: float
    observed: float
    share: float


def reliability(
    *,
    predicted_N: Floats,
    observed_N: Floats,
    weight: Floats | None = None,
    bins: int = BINS,
    order: NDArray[np.intp] | None = None,
) -> tuple[Bin, ...]:
    """Bins of equal mass over the prediction; equal predictions stay in one bin, so there may be fewer bins.

    `order` sorts the predictions, where it is known.
    """
    weight_N = np.ones(len(predicted_N)) if weight is None else weight
    # The order of tied rows is that of the sort, which decides nothing below.
    order = np.argsort(predicted_N) if order is None else order
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


def class_calibration_error(
    *, target: Floats, proba: Floats, weight: Floats | None = None, order_CN: Sequence[NDArray[np.intp]] | None = None
) -> float:
    """Calibration error of each class on its own, averaged over classes (Kull et al., 2019, equation 3).

    `order_CN` sorts the predictions of each class, where it is known.
    """
    errors = [
        _error(
            reliability(
                predicted_N=proba[:, c],
                observed_N=target[:, c],
                weight=weight,
                order=None if order_CN is None else order_CN[c],
            )
        )
        for c in range(target.shape[1])
    ]
    return float(np.mean(errors))


def calibration_slope(*, target: Floats, proba: Floats, weight: Floats | None = None) -> float:
    """The power b for which p^b, normalised, has the smallest cross-entropy to the votes; 1 is calibrated.

    The slope is one over the best temperature. Newton's method on a convex function of one number, kept in [0, 20].
    """
    return log_slope(target=target, log_NC=np.log(clip_rows(proba)), weight=weight)


def log_slope(*, target: Floats, log_NC: Floats, weight: Floats | None) -> float:
    """As `calibration_slope`, of log-probabilities from which `clip_rows` took zeros."""
    weight_N = np.full(len(target), 1 / len(target)) if weight is None else weight / weight.sum()
    return _best_power(float(weight_N @ np.einsum("nc,nc->n", target, log_NC)), log_NC, weight_N)


def _best_power(wanted: float, log_NC: Floats, weight_N: Floats, start: float = 1.0) -> float:
    """The slope for normalised log-probabilities whose mean under the votes is `wanted`, by Newton's method."""
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


@dataclass(frozen=True)
class Halves:
    """Two halves of the rows, each calibrated by the temperature of the other.

    The halves are drawn by position and are the same for every prediction of the same rows (Ashukha et al., 2020,
    *Pitfalls of in-domain uncertainty estimation*, section 5).
    """

    order: NDArray[np.intp]
    """The rows with weight, those of the first half before those of the second."""
    parts: tuple[tuple[slice, Floats, Floats, float], ...]
    """Of each half: where it is in that order, its targets, its weights, and what its votes add to the KL."""

    @classmethod
    def of(cls, target: Floats, weight: Floats | None) -> "Halves | None":
        """The halves of some rows; None for fewer than two rows with weight."""
        counted = np.arange(len(target)) if weight is None else np.flatnonzero(weight > 0)
        if len(counted) < 2:
            return None
        weight_N = np.full(len(target), 1 / len(target)) if weight is None else weight / weight.sum()
        rows = [np.sort(half) for half in np.array_split(np.random.default_rng(0).permutation(counted), 2)]
        bounds = (slice(0, len(rows[0])), slice(len(rows[0]), len(counted)))
        parts = []
        for half, bound in zip(rows, bounds, strict=True):
            target_HC, weight_H = target[half], weight_N[half]
            of_votes = np.einsum("nc,nc->n", target_HC, np.log(np.where(target_HC > 0, target_HC, 1.0)))
            parts.append((bound, target_HC, weight_H, float(weight_H @ of_votes)))
        return cls(np.concatenate(rows), tuple(parts))

    def calibrated_kl(self, log_NC: Floats, start: float = 1.0) -> float:
        """KL of a prediction; `start` is a guess of the slope.

        `log_NC` are its log-probabilities, after `clip_rows`, with rows in the order of the halves.
        """
        slopes = []
        for bound, target_HC, weight_H, _ in self.parts:
            share_H = weight_H / weight_H.sum()
            wanted = float(share_H @ np.einsum("nc,nc->n", target_HC, log_NC[bound]))
            slopes.append(_best_power(wanted, log_NC[bound], share_H, start))
        total = 0.0
        for (bound, target_HC, weight_H, of_votes), slope in zip(self.parts, reversed(slopes), strict=True):
            # Logarithms of a softmax: powers of normalised log-probabilities cannot overflow.
            scaled_HC = slope * log_NC[bound]
            scaled_HC -= np.log(row_sum(np.exp(scaled_HC)))[:, None]
            np.maximum(scaled_HC, _LOG_EPS, out=scaled_HC)
            total += of_votes - float(weight_H @ np.einsum("nc,nc->n", target_HC, scaled_HC))
        return total
