"""Scores without each group in turn, and what each row adds to a score. N rows, G groups.

The delete-one-group jackknife rests on scores without a group. Most metrics give all of them at about the cost of one
score: `Metric` says how.
"""

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.metrics import Metric
from foldstill.compare.predictions import Predictions
from foldstill.errors import CompareError

Floats = NDArray[np.float64]

_MOST_SCORES = 500
"""A metric without a faster way is computed at most this many times: more groups are left out several at a time."""


def scores_without_groups(metric: Metric, predictions: Predictions, group_N: NDArray[np.intp]) -> Floats:
    """The score of all rows but those of each group, (G,); `group_N` numbers the groups from 0.

    Raises CompareError where the score is not defined without a group.

    >>> from foldstill.compare.metrics import Accuracy
    >>> predictions = Predictions.checked(target=[[1, 0], [0, 1], [0, 1]], proba=[[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    >>> scores_without_groups(Accuracy(), predictions, np.array([0, 1, 2])).tolist()
    [0.5, 0.5, 1.0]
    """
    scores_G = _without_groups(metric, predictions, group_N)
    if (n_undefined := int(np.isnan(scores_G).sum())) > 0:
        raise CompareError(
            f"{metric.title} is not defined without {n_undefined} of {len(scores_G)} groups, so it has no interval "
            "over groups: name a finer group, or another metric"
        )
    return scores_G


def row_values(metric: Metric, predictions: Predictions, group_N: NDArray[np.intp]) -> Floats:
    """What each row adds to the score, (N,): values whose weighted mean is the score.

    A row loss has values of its own. For other metrics the rows of a group share the jackknife's pseudo-value of the
    group, so that intervals of differences of means over groups are those of the delete-one-group jackknife.

    References
    ----------
    R. G. Miller (1974), The jackknife: a review, Biometrika 61, section 2.
    """
    own = getattr(metric, "rows", None)
    if own is not None:
        values_N: Floats = own(predictions)
        return values_N
    score = metric.score(predictions)
    if score is None:
        raise CompareError(f"{metric.title} is not defined for these {len(predictions)} rows: name another metric")
    block_N = group_N
    costly = not hasattr(metric, "without_groups") or getattr(metric, "costly", False)
    if costly and group_N.max() >= _MOST_SCORES:
        # Blocks of groups are left out together, drawn at random so that their order means nothing.
        order_G = np.random.default_rng(0).permutation(int(group_N.max()) + 1)
        block_N = order_G[group_N] % _MOST_SCORES
    weight_B = np.bincount(block_N, predictions.weight_N)
    step_B = score - scores_without_groups(metric, predictions, block_N)
    value_B = np.zeros_like(step_B)
    np.divide(step_B * (weight_B.sum() - weight_B), weight_B, out=value_B, where=weight_B > 0)
    # The mean of the pseudo-values is the score with less bias; the score itself is what is reported.
    value_B += score - np.average(value_B, weights=weight_B)
    pseudo_N: Floats = value_B[block_N]
    return pseudo_N


def row_losses(metric: Metric, predictions: Predictions, group_N: NDArray[np.intp]) -> Floats:
    """What each row adds to the score, negated where high values are better, (N,)."""
    value_N = row_values(metric, predictions, group_N)
    return -value_N if metric.better == "high" else value_N


def sums_without_groups(value_ND: Floats, weight_N: Floats, group_N: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Weighted sums of columns over all rows but those of each group, (G, D), and the weight of these rows, (G,)."""
    n_groups = int(group_N.max()) + 1
    own_GD = np.stack([np.bincount(group_N, weight_N * value_N, n_groups) for value_N in value_ND.T], axis=1)
    own_G = np.bincount(group_N, weight_N, n_groups)
    return own_GD.sum(axis=0) - own_GD, own_G.sum() - own_G


def _without_groups(metric: Metric, predictions: Predictions, group_N: NDArray[np.intp]) -> Floats:
    """The score without each group by the fastest way that the metric has."""
    if (own := getattr(metric, "without_groups", None)) is not None:
        left_out_G: Floats = own(predictions, group_N)
        return left_out_G
    if (rows := getattr(metric, "rows", None)) is not None:
        sum_G1, weight_G = sums_without_groups(rows(predictions)[:, None], predictions.weight_N, group_N)
        return np.divide(sum_G1[:, 0], weight_G, out=np.full_like(weight_G, np.nan), where=weight_G > 0)
    scores = [metric.score(predictions.take(group_N != g)) for g in range(int(group_N.max()) + 1)]
    return np.asarray([np.nan if score is None else score for score in scores])
