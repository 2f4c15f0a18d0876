"""Searches that improve a metric directly: weights of members, and weights of classes.

Metrics of ranks and of predicted classes have no gradient, so a search tries steps and keeps those that help.

N samples, C classes, D columns (members, or families whose members share a weight).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.choices import metric_of
from foldstill.compare.predictions import Predictions
from foldstill.data.row_weights import RowWeight
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.stacking.combiner import Proba

Loss = Callable[[Proba], float]
"""How bad probabilities (N, C) are; lower is better."""

_WORTH = 1e-7
"""Smallest improvement that counts: below it only rounding is left."""
_TOWARD = (0.4, 0.15, 0.05, -0.05, -0.15, -0.4)
"""Steps of the weighted average towards a column, as shares of the way; negative ones lead away from it."""
_CLASS_STEPS = (1.0, 0.5, 0.25, 0.12, 0.06)
"""Steps of the logarithm of a class weight, from coarse to fine."""
_SWEEPS = 6
_PATIENCE = 6
"""Number of picks without a lower loss after which a greedy search ends."""


def is_kl(metric: Any) -> bool:
    """Whether a metric is minimised where the KL is, which has a search of its own."""
    return metric_of(metric).name in ("kl", "log_loss")


def metric_loss(metric: Any, table: OOFTable, row_weight: RowWeight = "none") -> Loss:
    """The metric on the rows of a table as a loss; raises StackError where it is not defined for them."""
    chosen = metric_of(metric)
    target_NC, weight_N = table.labels.target_NC, table.labels.weight_N(row_weight)
    sign = -1.0 if chosen.better == "high" else 1.0

    def loss(proba_NC: Proba) -> float:
        score = chosen.score(Predictions(target_NC, proba_NC, weight_N))
        if score is None:
            raise StackError(f"{chosen.title} is not defined for these {len(table)} rows: name another metric")
        return sign * score

    return loss


def column_scores(table: OOFTable, columns: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """The scores of each column, (D, N, C), the average of its members."""
    return np.stack([table.proba_NMC[:, list(column)].mean(axis=1) for column in columns])


def improved_weights(proba_DNC: NDArray[np.float32], weight_D: NDArray[np.float64], loss: Loss) -> NDArray[np.float64]:
    """Weights on the simplex whose average has a lower loss, by coordinate search from the given ones.

    Each step moves the average towards one column or away from it, as long as all weights stay at 0 or above.
    """
    weight_D = weight_D.copy()
    pooled_NC = np.tensordot(weight_D, proba_DNC, 1)
    best = loss(pooled_NC)
    for _ in range(_SWEEPS):
        before = best
        for d, column_NC in enumerate(proba_DNC):
            nearest = -weight_D[d] / (1 - weight_D[d]) if weight_D[d] < 1 else 0.0
            steps = {max(step, nearest) for step in _TOWARD} - {0.0}
            trials = {step: loss((1 - step) * pooled_NC + step * column_NC) for step in sorted(steps)}
            step = min(trials, key=lambda one: trials[one], default=0.0)
            if trials and trials[step] < best - _WORTH:
                best, pooled_NC = trials[step], (1 - step) * pooled_NC + step * column_NC
                weight_D *= 1 - step
                weight_D[d] += step
        if best >= before - _WORTH:
            break
    weight_D = np.maximum(weight_D, 0)
    normal_D: NDArray[np.float64] = weight_D / weight_D.sum()
    return normal_D


def picks_by_metric(
    proba_DNC: NDArray[np.float32], picks: int, loss: Loss, *, start: int, allowed: NDArray[np.intp]
) -> list[int]:
    """Columns picked one after the other, the best `start` first, as far as the average with the lowest loss.

    The search ends when the last picks have not helped: metrics of predicted classes stand still for some picks.
    """
    alone = [loss(proba_DNC[d].astype(np.float64)) for d in allowed]
    chosen = [int(d) for d in allowed[np.argsort(alone, kind="stable")[: min(start, picks)]]]
    sum_NC = proba_DNC[chosen].sum(axis=0, dtype=np.float64)
    best, n_best = loss(sum_NC / len(chosen)), len(chosen)
    while len(chosen) < min(picks, n_best + _PATIENCE):
        losses = [loss((sum_NC + proba_DNC[d]) / (len(chosen) + 1)) for d in allowed]
        pick = int(allowed[int(np.argmin(losses))])
        chosen.append(pick)
        sum_NC += proba_DNC[pick]
        if min(losses) < best - _WORTH:
            best, n_best = min(losses), len(chosen)
    return chosen[:n_best]


def class_weights(proba_NC: Proba, loss: Loss) -> NDArray[np.float64]:
    """Weights of the classes, (C,), that lower the loss of the weighted probabilities; their geometric mean is 1.

    The class with the largest weighted probability is predicted, so that a weight of a class is its threshold.
    """
    log_C = np.zeros(proba_NC.shape[1])
    best = loss(proba_NC)
    for step in _CLASS_STEPS:
        for _ in range(_SWEEPS):
            before = best
            for c in range(len(log_C)):
                trials = {}
                for sign in (-1, 1):
                    moved_C = log_C.copy()
                    moved_C[c] += sign * step
                    trials[loss(weighted(proba_NC, np.exp(moved_C)))] = moved_C
                if min(trials) < best - _WORTH:
                    best = min(trials)
                    log_C = trials[best]
            if best >= before - _WORTH:
                break
    weight_C: NDArray[np.float64] = np.exp(log_C - log_C.mean())
    return weight_C


def weighted(proba_NC: Proba, weight_C: NDArray[np.float64]) -> Proba:
    """Probabilities multiplied by class weights; each row sums to one.

    >>> weighted(np.array([[0.5, 0.5]]), np.array([3.0, 1.0])).tolist()
    [[0.75, 0.25]]
    """
    scaled_NC = proba_NC * weight_C
    normal_NC: Proba = scaled_NC / scaled_NC.sum(axis=1, keepdims=True)
    return normal_NC
