"""The vote-noise floor: the KL of a perfect model. Few votes are noisy, and no prediction can know the noise.

The floor of a row is the entropy of its truth minus the entropy of its vote shares. Votes show a part of the truth's
entropy without a model, -sum t log t = sum over k of t (1 - t)^k / k: the terms with k below the number of votes have
unbiased estimates. The rest follows from a model of the truth around a good prediction. N rows, C classes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.calibration import calibration_slope
from foldstill.compare.rows import ComparedRows
from foldstill.data.bounded import bounded_minimum
from foldstill.data.simplex import clip_rows, finite_log, row_blocks, softmax
from foldstill.data.strata import whole_totals

Floats = NDArray[np.float64]

_ROWS_FOR_A_FIT = 50
"""With fewer rows of two votes or more, the spread of the truth around a prediction cannot be estimated."""

_BINS = 4
"""Rows are divided by the entropy of their prediction: sure predictions have another spread than unsure ones."""

_TERMS = 60
"""Terms that are estimated from votes; what is left of the entropy after so many is small."""

_LARGEST_TAIL = 1.4
"""The largest plausible part of the entropy that votes leave open, divided by what the model says of it.

Bounds that follow from it hold the truth in 95 % of 130 kinds of simulated votes (`benchmarks/noise_floor.py`)."""

_ABOVE_THE_FLOOR = 1.1
"""A floor this many times above a score that was reached is not plausible: too low totals of votes raise it."""


def noise_floor(votes_NC: Floats, proba_NC: Floats, *, stratum_N: NDArray[Any] | None = None) -> Floats | None:
    """Estimate the KL(votes || truth) per row, whose mean is the score of a perfect model.

    The truth of a row is not known. It is modelled as Dirichlet(a p) around a good prediction p. Per stratum and
    quarter of the rows by the entropy of p, p is recalibrated and the precision a has the highest likelihood of the
    votes. The model supplies only what the votes leave open, scaled so that it agrees with what they show.

    On simulated votes (`benchmarks/noise_floor.py`) the mean is 0.86 to 1.02 times the truth. Where totals of votes are
    lower bounds, it is an upper bound.

    Parameters
    ----------
    votes_NC : array of shape (N, C)
        Votes per class.
    proba_NC : array of shape (N, C)
        A good prediction, such as that of the best arm.
    stratum_N : array of shape (N,), optional
        Stratum per row.

    Returns
    -------
    array of shape (N,) or None
        Estimate per row in nats, of which only means over many rows are useful; None when fewer than 50 rows have two
        votes or more, since one vote per row says nothing about the precision.

    References
    ----------
    A. Chao, Y. T. Wang, L. Jost (2013), Entropy and the species accumulation curve, Methods in Ecology and Evolution 4,
    equations 3 to 6.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.dirichlet(np.ones(3), 500)
    >>> floor_N = noise_floor(rng.multinomial(5, truth).astype(float), truth)
    >>> print(floor_N.shape, round(floor_N.mean(), 2))
    (500,) 0.21
    """
    parts = floor_parts(votes_NC, proba_NC, stratum_N)
    return None if parts is None else parts[0] + parts[1]


def floor_parts(votes_NC: Floats, proba_NC: Floats, stratum_N: NDArray[Any] | None) -> tuple[Floats, Floats] | None:
    """What votes show of the floor of each row, and what the model adds; None as in `noise_floor`."""
    total_N = whole_totals(votes_NC.sum(axis=1))
    share_NC = votes_NC / votes_NC.sum(axis=1, keepdims=True)
    prior_NC = clip_rows(proba_NC)
    model = _fit(votes_NC, prior_NC, total_N, _parts(prior_NC, total_N, stratum_N))
    if model is None:
        return None
    blocks = row_blocks(len(total_N), 8 * share_NC.shape[1])
    shown_N, agreed_N, modelled_N, tail_N = np.concatenate(
        [_entropy(*(values[rows] for values in (share_NC, total_N, *model))) for rows in blocks], axis=1
    )
    # The later terms that votes show say how large the terms after them are.
    scale = agreed_N.sum() / modelled_N.sum() if modelled_N.sum() > 0 else 1.0
    return shown_N + (share_NC * finite_log(share_NC)).sum(axis=1), scale * tail_N


def floor_bounds(shown_N: Floats, modelled_N: Floats, weight_N: Floats) -> tuple[float, float]:
    """The bounds of a mean floor: two standard errors below the estimate, and as many above its largest error.

    The error is that of the part that the model adds; `_LARGEST_TAIL` says how much too small it can be.
    """
    floor_N = shown_N + modelled_N
    estimate, modelled = np.average(np.column_stack([floor_N, modelled_N]), axis=0, weights=weight_N)
    error = np.sqrt((weight_N**2 * (floor_N - estimate) ** 2).sum()) / weight_N.sum()
    return float(estimate - 2 * error), float(estimate + (_LARGEST_TAIL - 1) * modelled + 2 * error)


def _parts(prior_NC: Floats, total_N: Floats, stratum_N: NDArray[Any] | None) -> list[NDArray[np.bool_]]:
    """Rows that share a model: quarters of a stratum by the entropy of the prediction; a small stratum as a whole."""
    entropy_N = -(prior_NC * np.log(prior_NC)).sum(axis=1)
    strata = [np.ones(len(total_N), bool)] if stratum_N is None else [stratum_N == s for s in np.unique(stratum_N)]
    parts: list[NDArray[np.bool_]] = []
    for rows in strata:
        edges = np.quantile(entropy_N[rows], np.arange(1, _BINS) / _BINS)
        bin_N = np.searchsorted(edges, entropy_N)
        quarters = [rows & (bin_N == b) for b in range(_BINS)]
        enough = all((quarter & (total_N >= 2)).sum() >= _ROWS_FOR_A_FIT for quarter in quarters)
        parts += quarters if enough else [rows]
    return parts


def _fit(
    votes_NC: Floats, prior_NC: Floats, total_N: Floats, parts: list[NDArray[np.bool_]]
) -> tuple[Floats, Floats] | None:
    """The recalibrated prediction and the precision per row; None when too few rows have two votes or more."""
    several_N = total_N >= 2
    if several_N.sum() < _ROWS_FOR_A_FIT:
        return None
    calibrated_NC = _recalibrated(votes_NC, prior_NC)
    precision_N = np.full(len(total_N), _precision(votes_NC[several_N], calibrated_NC[several_N]))
    for rows in parts:
        fitted_N = rows & several_N
        if fitted_N.sum() >= _ROWS_FOR_A_FIT:
            calibrated_NC[rows] = _recalibrated(votes_NC[rows], prior_NC[rows])
            precision_N[rows] = _precision(votes_NC[fitted_N], calibrated_NC[fitted_N])
    return calibrated_NC, precision_N


def _recalibrated(votes_NC: Floats, prior_NC: Floats) -> Floats:
    slope = calibration_slope(target=votes_NC / votes_NC.sum(axis=1, keepdims=True), proba=prior_NC)
    recalibrated: Floats = clip_rows(softmax(slope * np.log(prior_NC)))
    return recalibrated


def _precision(votes_NC: Floats, prior_NC: Floats) -> float:
    """The Dirichlet precision with the highest likelihood."""
    from scipy.special import gammaln

    total_N = votes_NC.sum(axis=1)
    seen = votes_NC > 0
    vote, share = votes_NC[seen], prior_NC[seen]

    def loss(log_a: float) -> float:
        a = np.exp(log_a)
        rise = gammaln(a * share + vote) - gammaln(a * share)
        return float((gammaln(total_N + a) - gammaln(a)).sum() - rise.sum())

    return float(np.exp(bounded_minimum(loss, np.log(0.05), np.log(1e5))))


def _entropy(
    share_NC: Floats, total_N: Floats, prior_NC: Floats, precision_N: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Per row: the terms of the entropy that votes show, their later half, that half by the model, and the rest by it.

    Term k is sum over classes of t (1 - t)^k / k. From n votes of which x are for a class, its unbiased estimate is
    x / n times the chance that none of k other votes is for it.
    """
    from scipy.special import psi

    n_N = np.maximum(np.rint(total_N), 1)
    n_N1, a_N1 = n_N[:, None], precision_N[:, None]
    other_NC, beta_NC = n_N1 * (1 - share_NC), a_N1 * (1 - prior_NC)
    tail_N = (prior_NC * (psi(a_N1 + 1) - psi(a_N1 * prior_NC + 1))).sum(axis=1)
    shown_N, agreed_N, modelled_N = np.zeros((3, len(n_N)))
    seen_NC, model_NC = share_NC.copy(), prior_NC.copy()
    for k in range(1, int(min(n_N.max() - 1, _TERMS)) + 1):
        known_N = k < n_N
        later_N = known_N & (2 * k >= n_N)
        seen_NC *= np.maximum(other_NC - k + 1, 0) / np.maximum(n_N1 - k, 1)
        model_NC *= (beta_NC + k - 1) / (a_N1 + k)
        term_N, model_N = seen_NC.sum(axis=1) / k, model_NC.sum(axis=1) / k
        shown_N += np.where(known_N, term_N, 0)
        tail_N -= np.where(known_N, model_N, 0)
        agreed_N += np.where(later_N, term_N, 0)
        modelled_N += np.where(later_N, model_N, 0)
    return shown_N, agreed_N, modelled_N, np.maximum(tail_N, 0)


@dataclass(frozen=True)
class Floors:
    """Vote-noise floor of all rows and per stratum; None where it cannot be estimated or is not plausible."""

    overall: float | None
    bounds: tuple[float, float] | None
    by_stratum: tuple[float | None, ...]

    @classmethod
    def estimate(cls, rows: ComparedRows, proba_NC: Floats, reached_N: Floats) -> "Floors":
        """Floors around the prediction of the best arm, which reached the KL `reached_N` per row."""
        labels = rows.labels
        parts = floor_parts(labels.votes_NC, proba_NC, labels.stratum_N)
        if parts is None:
            return cls(None, None, tuple(None for _ in rows.strata))
        both = np.column_stack([parts[0] + parts[1], reached_N])

        def plausible(mask_N: NDArray[np.bool_]) -> float | None:
            floor, reached = np.average(both[mask_N], axis=0, weights=rows.weight_N[mask_N])
            return float(floor) if floor <= _ABOVE_THE_FLOOR * reached else None

        by_stratum = tuple(plausible(rows.of_stratum(name)) for name in rows.strata)
        # One stratum whose totals are wrong makes the floor of all rows wrong.
        overall = None if None in by_stratum else plausible(rows.weight_N > 0)
        if overall is None:
            return cls(None, None, by_stratum)
        low, high = floor_bounds(*parts, rows.weight_N)
        # A perfect model is no worse than what was reached.
        reached = float(np.average(reached_N, weights=rows.weight_N))
        return cls(overall, (low, max(min(high, reached), overall)), by_stratum)

    def reducible(self, kl: float, baseline_kl: float) -> float | None:
        """Share of the baseline's KL above the floor that is removed; None where the baseline is at the floor."""
        if self.overall is None or baseline_kl - self.overall < 0.01 * baseline_kl:
            return None
        return (baseline_kl - kl) / (baseline_kl - self.overall)
