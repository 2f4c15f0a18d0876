"""The vote-noise floor: the KL of a perfect model. Few votes are noisy, and no prediction can know the noise.

N rows, C classes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.rows import ComparedRows
from foldstill.data.labels import whole_totals
from foldstill.data.simplex import clip_rows, row_kl

Floats = NDArray[np.float64]

_ROWS_FOR_A_FIT = 50
"""With fewer rows of two votes or more, the spread of the truth around a prediction cannot be estimated."""

_ABOVE_THE_FLOOR = 1.1
"""A floor this many times above a score that was reached is not plausible: too low totals of votes raise it."""


def noise_floor(
    votes_NC: Floats, proba_NC: Floats, *, stratum_N: NDArray[Any] | None = None, draws: int = 20, seed: int = 0
) -> Floats | None:
    """Estimate the expected KL(votes || truth) per row by simulation.

    The truth of a row is not known. It is modelled as Dirichlet(a p) around a good prediction p. The precision a is
    fitted to the votes by Dirichlet-multinomial likelihood, per stratum; then truths and votes are drawn and scored.
    Where totals of votes are lower bounds, the floor is an upper bound.

    Parameters
    ----------
    votes_NC : array of shape (N, C)
        Votes per class.
    proba_NC : array of shape (N, C)
        A good prediction, such as that of the best arm.
    stratum_N : array of shape (N,), optional
        Stratum per row; the precision is fitted per stratum where it has 50 rows of two votes or more.
    draws : int, default 20
        Number of simulated truths per row.
    seed : int, default 0
        Seed of the simulation.

    Returns
    -------
    array of shape (N,) or None
        Floor per row in nats; None when fewer than 50 rows have two votes or more, since one vote per row says nothing
        about the precision.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.dirichlet(np.ones(3), 500)
    >>> floor_N = noise_floor(rng.multinomial(5, truth).astype(float), truth)
    >>> print(floor_N.shape, round(floor_N.mean(), 2))
    (500,) 0.21
    """
    total_N = whole_totals(votes_NC.sum(axis=1))
    prior_NC = clip_rows(proba_NC)
    overall = _precision(votes_NC, prior_NC, total_N >= 2)
    if overall is None:
        return None
    precision_N = np.full(len(votes_NC), overall)
    if stratum_N is not None:
        for name in np.unique(stratum_N):
            rows = stratum_N == name
            own = _precision(votes_NC, prior_NC, rows & (total_N >= 2))
            precision_N[rows] = overall if own is None else own
    rng = np.random.default_rng(seed)
    count_N = np.maximum(np.rint(total_N), 1).astype(np.int64)
    floor_N = np.zeros(len(votes_NC))
    for _ in range(draws):
        gamma = np.maximum(rng.standard_gamma(precision_N[:, None] * prior_NC), 1e-300)
        truth_NC = gamma / gamma.sum(axis=1, keepdims=True)
        drawn_NC = rng.multinomial(count_N, truth_NC)
        floor_N += row_kl(target=drawn_NC / count_N[:, None], proba=truth_NC)
    return floor_N / draws


def _precision(votes_NC: Floats, prior_NC: Floats, rows: NDArray[np.bool_]) -> float | None:
    """The Dirichlet precision with the highest likelihood on `rows`."""
    from scipy.optimize import minimize_scalar
    from scipy.special import gammaln

    if rows.sum() < _ROWS_FOR_A_FIT:
        return None
    votes, prior = votes_NC[rows], prior_NC[rows]
    total = votes.sum(axis=1)
    seen = votes > 0
    vote, share = votes[seen], prior[seen]

    def loss(log_a: float) -> float:
        a = np.exp(log_a)
        rise = gammaln(a * share + vote) - gammaln(a * share)
        return float((gammaln(total + a) - gammaln(a)).sum() - rise.sum())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(1e5)), method="bounded").x))


@dataclass(frozen=True)
class Floors:
    """Vote-noise floor of all rows and per stratum; None where it cannot be estimated or is not plausible."""

    overall: float | None
    by_stratum: tuple[float | None, ...]

    @classmethod
    def estimate(cls, rows: ComparedRows, proba_NC: Floats, reached_N: Floats, *, seed: int) -> "Floors":
        """Floors around the prediction of the best arm, which reached the KL `reached_N` per row."""
        labels = rows.labels
        floor_N = noise_floor(labels.votes_NC, proba_NC, stratum_N=labels.stratum_N, seed=seed)
        if floor_N is None:
            return cls(None, tuple(None for _ in rows.strata))
        both = np.column_stack([floor_N, reached_N])

        def plausible(mask_N: NDArray[np.bool_]) -> float | None:
            floor, reached = np.average(both[mask_N], axis=0, weights=rows.weight_N[mask_N])
            return float(floor) if floor <= _ABOVE_THE_FLOOR * reached else None

        by_stratum = tuple(plausible(rows.of_stratum(name)) for name in rows.strata)
        # One stratum whose totals are wrong makes the floor of all rows wrong.
        return cls(None if None in by_stratum else plausible(rows.weight_N > 0), by_stratum)

    def reducible(self, kl: float, baseline_kl: float) -> float | None:
        """Share of the baseline's KL above the floor that is removed; None where the baseline is at the floor."""
        if self.overall is None or baseline_kl - self.overall < 0.01 * baseline_kl:
            return None
        return (baseline_kl - kl) / (baseline_kl - self.overall)
