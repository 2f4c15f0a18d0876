"""What a perfect model would score: few votes are noisy, and no prediction can foresee the noise.

N rows, C classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import clip_rows, row_kl

Floats = NDArray[np.float64]

_ROWS_FOR_A_FIT = 50
"""Below this many rows with two votes or more, the spread of the truth around a prediction cannot be told."""


def noise_floor(
    votes_NC: Floats, proba_NC: Floats, *, stratum_N: NDArray[Any] | None = None, draws: int = 20, seed: int = 0
) -> Floats | None:
    """Expected KL(votes || truth) of each row, (N,), by simulation; None when votes are too few to tell.

    The truth of a row is unknown. It is modelled as Dirichlet(a p) around a good prediction p, where the precision a is
    fitted to the votes by Dirichlet-multinomial likelihood, in each stratum by itself; then truths and votes are drawn
    and scored. One vote a row says nothing about a, so rows with two or more must exist. Where totals are lower bounds,
    the floor is an upper one.
    """
    total_N = votes_NC.sum(axis=1)
    prior_NC = clip_rows(proba_NC)
    whole = _precision(votes_NC, prior_NC, total_N >= 2)
    if whole is None:
        return None
    precision_N = np.full(len(votes_NC), whole)
    if stratum_N is not None:
        for name in np.unique(stratum_N):
            rows = stratum_N == name
            own = _precision(votes_NC, prior_NC, rows & (total_N >= 2))
            precision_N[rows] = whole if own is None else own
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
