"""Calibration: whether predicted probabilities agree with vote shares.

N rows, C classes, Q bins.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import EPS, clip_rows, finite_log, row_sum

Floats = NDArray[np.float64]

BINS = 15
_BLOCK = 2**14
"""Number of rows that are processed together."""
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
    rising_N, mass_N = predicted_N[order], weight_N[order]
    starts = _bin_starts(rising_N, order, weight_N, mass_N, bins)
    total, predicted, observed = (
        np.add.reduceat(values, starts) for values in (mass_N, mass_N * rising_N, mass_N * observed_N[order])
    )
    return tuple(
        Bin(float(p / t), float(o / t), float(t / total.sum()))
        for p, o, t in zip(predicted, observed, total, strict=True)
        if t > 0
    )


def _bin_starts(
    rising_N: Floats, order: NDArray[np.intp], weight_N: Floats, mass_N: Floats, bins: int
) -> NDArray[np.intp]:
    """The first row of each bin among sorted predictions; a bin that would be empty is left out.

    The middle of a row's mass decides its bin; tied rows take the bin of the first of them.
    """
    before = np.concatenate([[0.0], np.cumsum(mass_N)])
    bounds = np.arange(1, bins) / bins * before[-1]
    # Only the ties around a bound can lie on either side of it.
    last = np.searchsorted(before, bounds) - 1
    first, after = (np.searchsorted(rising_N, rising_N[last], side) for side in ("left", "right"))
    half = [weight_N[order[a:b].min()] / 2 for a, b in zip(first.tolist(), after.tolist(), strict=True)]
    starts = np.unique(np.append(0, np.where(before[first] + half >= bounds, first, after)))
    return starts[starts < len(order)]


def calibration_error(bins: tuple[Bin, ...]) -> float:
    """Expected calibration error (Guo et al., 2017, equation 3, with bins of equal mass)."""
    return float(sum(b.share * abs(b.predicted - b.observed) for b in bins))


def class_calibration_error(
    *, target: Floats, proba: Floats, weight: Floats | None = None, order_CN: Sequence[NDArray[np.intp]] | None = None
) -> float:
    """Calibration error of each class on its own, averaged over classes (Kull et al., 2019, equation 3).

    `order_CN` sorts the predictions of each class, where it is known.
    """
    errors = [
        calibration_error(
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

    The slope is one over the best temperature. It minimises a convex function of one number, and is kept in [0, 20].
    """
    return log_slope(target=target, log_NC=np.log(clip_rows(proba)), weight=weight)


def log_slope(*, target: Floats, log_NC: Floats, weight: Floats | None) -> float:
    """As `calibration_slope`, of log-probabilities from which EPS took zeros; rows need not be normalised."""
    weight_N = np.full(len(target), 1 / len(target)) if weight is None else weight / weight.sum()
    wanted = weight_N @ np.einsum("nc,nc->n", target, log_NC)
    return float(_best_powers(np.array([wanted]), log_NC, weight_N[None], np.zeros(len(target), np.intp), 1.0)[0])


def _best_powers(
    wanted_P: Floats, log_NC: Floats, share_PN: Floats, part_N: NDArray[np.intp], start: float | Floats
) -> Floats:
    """The slope of each part of the rows for which the mean of the log-probabilities is `wanted_P`, as under the votes.

    Halley's method, which is Newton's with the third derivative: each pass over the rows triples the number of correct
    digits. `share_PN` are the weights of each part, which sum to one and are zero for other rows.
    """
    slope_P: Floats = np.full(len(wanted_P), start, dtype=np.float64)
    for _ in range(30):
        moments_P3 = np.zeros((len(wanted_P), 3))
        for rows in _blocks(log_NC):
            moments_P3 += share_PN[:, rows] @ _moments(log_NC[rows], slope_P[part_N[rows]])
        gradient_P, curvature_P, third_P = moments_P3[:, 0] - wanted_P, moments_P3[:, 1], moments_P3[:, 2]
        curved_P = curvature_P > 1e-12
        newton_P = np.divide(gradient_P, curvature_P, out=np.zeros_like(slope_P), where=curved_P)
        bend_P = np.divide(third_P, 2 * curvature_P, out=np.zeros_like(slope_P), where=curved_P)
        step_P = newton_P / np.maximum(1 - newton_P * bend_P, 0.5)
        # Longer steps diverge where the softmax is flat.
        moved_P = np.clip(slope_P - np.clip(step_P, -slope_P - 0.5, slope_P / 2 + 0.1), 0.0, 20.0)
        step = float(np.abs(moved_P - slope_P).max())
        slope_P = moved_P
        # The error after a step is of the order of its cube.
        if step < 1e-4:
            break
    return slope_P


def _blocks(log_NC: Floats) -> Iterator[slice]:
    """Parts of the rows that stay in the cache."""
    return (slice(start, start + _BLOCK) for start in range(0, len(log_NC), _BLOCK))


def _moments(log_NC: Floats, slope_N: Floats) -> Floats:
    """Mean, variance and third central moment of the log-probabilities under their powers, (N, 3)."""
    # Log-probabilities are at most 0, and the largest of a row is near it: the powers cannot overflow.
    power_NC = np.exp(slope_N[:, None] * log_NC)
    total_N = row_sum(power_NC)
    power_NC *= log_NC
    mean_N = row_sum(power_NC) / total_N
    square_N = np.einsum("nc,nc->n", power_NC, log_NC) / total_N
    power_NC *= log_NC
    cube_N = np.einsum("nc,nc->n", power_NC, log_NC) / total_N
    return np.stack([mean_N, square_N - mean_N**2, cube_N + mean_N * (2 * mean_N**2 - 3 * square_N)], axis=1)


@dataclass(frozen=True)
class Halves:
    """Two halves of the rows, each calibrated by the temperature of the other.

    The halves are drawn by position and are the same for every prediction of the same rows (Ashukha et al., 2020,
    *Pitfalls of in-domain uncertainty estimation*, section 5).
    """

    target_NC: Floats
    weight_N: Floats
    """Weights that sum to one."""
    half_N: NDArray[np.intp]
    """0 or 1; rows without weight are in neither half, whatever their number."""
    share_2N: Floats
    """The weights of each half, which sum to one."""
    of_votes: float
    """What votes add to the KL."""

    @classmethod
    def of(cls, target: Floats, weight: Floats | None) -> "Halves | None":
        """The halves of some rows; None for fewer than two rows with weight."""
        weight_N = np.full(len(target), 1 / len(target)) if weight is None else weight / weight.sum()
        counted = np.flatnonzero(weight_N > 0)
        if len(counted) < 2:
            return None
        half_N = np.zeros(len(target), np.intp)
        half_N[np.array_split(np.random.default_rng(0).permutation(counted), 2)[1]] = 1
        share_2N = np.stack([np.where(half_N == half, weight_N, 0.0) for half in (0, 1)])
        share_2N /= share_2N.sum(axis=1, keepdims=True)
        of_votes = float(weight_N @ np.einsum("nc,nc->n", target, finite_log(target)))
        return cls(target, weight_N, half_N, share_2N, of_votes)

    def slopes(self, log_NC: Floats, start: float | Floats = 1.0) -> Floats:
        """The slope of each half, (2,), for log-probabilities; `start` is a guess."""
        wanted_2 = self.share_2N @ np.einsum("nc,nc->n", self.target_NC, log_NC)
        return _best_powers(wanted_2, log_NC, self.share_2N, self.half_N, start)

    def calibrated_kl(self, log_NC: Floats, slope_2: Floats) -> float:
        """KL of a prediction each half of which is calibrated by the slope of the other."""
        kl = self.of_votes
        for rows in _blocks(log_NC):
            # Logarithms of a softmax: powers of log-probabilities cannot overflow.
            scaled_BC = slope_2[1 - self.half_N[rows]][:, None] * log_NC[rows]
            scaled_BC -= np.log(row_sum(np.exp(scaled_BC)))[:, None]
            np.maximum(scaled_BC, _LOG_EPS, out=scaled_BC)
            kl -= float(self.weight_N[rows] @ np.einsum("nc,nc->n", self.target_NC[rows], scaled_BC))
        return kl
