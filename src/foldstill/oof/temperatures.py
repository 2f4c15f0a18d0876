"""One temperature per member, fitted on held-out scores, to calibrate members that are too confident.

N samples (rows), M members, C classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.bounded import bounded_minimum
from foldstill.data.simplex import Float, clip_rows, softmax
from foldstill.oof.table import OOFTable

TEMPERATURE_RANGE = (0.25, 8.0)


def fit_temperature(proba_NC: Float, votes_NC: Float) -> float:
    """The T in [0.25, 8] that maximises the likelihood of the votes under softmax(log p / T).

    Above 1 the scores were too confident. The minimum of sum_i n_i CE(y_i, .) is found by the bounded method of Brent
    in log T (temperature scaling: Guo et al., 2017, section 4.2).
    """
    logit_NC = np.log(clip_rows(proba_NC))

    def loss(log_t: float) -> float:
        return -float((votes_NC * np.log(clip_rows(softmax(logit_NC / np.exp(log_t))))).sum() / votes_NC.sum())

    low, high = np.log(TEMPERATURE_RANGE)
    return float(np.exp(bounded_minimum(loss, low, high, tolerance=1e-3)))


def member_temperatures(table: OOFTable) -> NDArray[np.float64]:
    """One temperature per member (M,), fitted on its held-out scores."""
    votes_NC = table.labels.votes_NC
    return np.asarray([fit_temperature(table.proba_NMC[:, m], votes_NC) for m in range(len(table.members))])


def tempered(proba: Float, temperature: Any) -> NDArray[np.float64]:
    """Probabilities (..., C) to the power 1 / T, normalised; `temperature` broadcasts over the leading axes."""
    return softmax(np.log(clip_rows(proba)) / np.asarray(temperature, dtype=np.float64)[..., None])
