"""One value per row from vote shares and predicted probabilities.

N rows, C classes. `target` and `proba` are keyword only: swapped, most of these give a number that looks plausible.
"""

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import EPS, finite_log, row_max, row_sum

Floats = NDArray[np.float64]


def row_log_loss(*, target: Floats, proba: Floats) -> Floats:
    """Cross-entropy -sum y log p per row, (N,), in nats; p is floored at EPS."""
    loss: Floats = -np.einsum("nc,nc->n", target, np.log(np.maximum(proba, EPS)))
    return loss


def row_brier(*, target: Floats, proba: Floats) -> Floats:
    """Squared distance per row, summed over classes, (N,), between 0 and 2."""
    off_NC = target - proba
    brier: Floats = np.einsum("nc,nc->n", off_NC, off_NC)
    return brier


def row_accuracy(*, target: Floats, proba: Floats) -> Floats:
    """1 where the predicted class has the most votes, else 0, (N,); ties give a fraction.

    When k classes tie for the most votes, predicting one of them counts 1/k. When several classes tie for the highest
    probability, each gets an equal share of the row. A perfect prediction of tied votes therefore scores 1/k, not 1.
    """
    voted, predicted = ((a >= row_max(a)[:, None] - 1e-9).astype(np.float64) for a in (target, proba))
    right: Floats = np.einsum("nc,nc->n", voted, predicted) / (row_sum(voted) * row_sum(predicted))
    return right


def row_class_kl(*, target: Floats, proba: Floats) -> Floats:
    """What each class adds to a row's KL, (N, C): y log(y / p) - y + p, never negative.

    The terms y log(y / p) alone can be negative. Adding p - y, which sums to zero over classes, makes every term the
    Bregman divergence of its class; the sum over classes is still the KL.
    """
    p = np.maximum(proba, EPS)
    ratio = finite_log(target) - np.log(p)
    part: Floats = target * ratio - target + proba
    return part
