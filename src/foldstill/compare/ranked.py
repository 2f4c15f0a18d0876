"""Average precision and top-k accuracy. N rows, C classes, G groups, T different scores."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.auroc import mean_of_defined
from foldstill.compare.metrics import Better, Metric, RowLoss
from foldstill.compare.predictions import Predictions
from foldstill.errors import CompareError

Floats = NDArray[np.float64]

_BLOCK_CELLS = 2**18
"""Number of (group, score) cells that are computed at once: two megabytes stay in a core's cache."""

_NOTHING = 1e-9
"""Weight below which a class has no rows: what subtraction leaves of zero."""


class AveragePrecision(Metric):
    """Average precision of each class against the rest, averaged over classes."""

    name: ClassVar[str] = "average_precision"
    title: ClassVar[str] = "average precision"
    better: ClassVar[Better] = "high"
    costly: ClassVar[bool] = True
    summary: ClassVar[str] = (
        "average precision of one class against the rest, rows weighted by vote share, averaged over classes; of two "
        "classes that of the second"
    )

    def score(self, predictions: Predictions) -> float | None:
        """The score of all rows."""
        precision_C = [_ClassRanking(predictions, c).average_precision() for c in _scored_classes(predictions)]
        return None if np.isnan(precision_C).all() else float(np.nanmean(precision_C))

    def without_groups(self, predictions: Predictions, group_N: NDArray[np.intp]) -> Floats:
        """The score without each group, (G,)."""
        ranked = [_ClassRanking(predictions, c).without_groups(group_N) for c in _scored_classes(predictions)]
        return mean_of_defined(np.stack(ranked))


class _ClassRanking:
    """The weight of positives and negatives at each different score of a class, from the highest score down."""

    def __init__(self, predictions: Predictions, c: int) -> None:
        _, self.tie_N = np.unique(-predictions.proba_NC[:, c], return_inverse=True)
        share_N = predictions.target_NC[:, c]
        self.positive_N = predictions.weight_N * share_N
        self.negative_N = predictions.weight_N * (1 - share_N)

    def average_precision(self) -> float:
        """Precision at each score, weighted by the positives there; NaN without positives."""
        positive_T, negative_T = self._totals()
        return float(_average_precision(positive_T[None], negative_T[None])[0])

    def _totals(self) -> tuple[Floats, Floats]:
        """Weight of positives and of negatives at each score, (T,) each."""
        positive_T: Floats = np.bincount(self.tie_N, self.positive_N).astype(np.float64)
        negative_T: Floats = np.bincount(self.tie_N, self.negative_N).astype(np.float64)
        return positive_T, negative_T

    def without_groups(self, group_N: NDArray[np.intp]) -> Floats:
        """The same without each group, (G,), from one sort; a few groups at a time, so that memory stays small."""
        positive_T, negative_T = self._totals()
        order_N = np.argsort(group_N, kind="stable")
        end_G = np.cumsum(np.bincount(group_N))
        per_block = max(1, _BLOCK_CELLS // len(positive_T))
        parts = []
        for first in range(0, len(end_G), per_block):
            n_block = min(per_block, len(end_G) - first)
            rows = order_N[end_G[first - 1] if first else 0 : end_G[first + n_block - 1]]
            left = np.tile(positive_T, (n_block, 1)), np.tile(negative_T, (n_block, 1))
            for whole_BT, part_N in zip(left, (self.positive_N, self.negative_N), strict=True):
                np.subtract.at(whole_BT, (group_N[rows] - first, self.tie_N[rows]), part_N[rows])
                np.maximum(whole_BT, 0, out=whole_BT)
            parts.append(_average_precision(left[0], left[1]))
        return np.concatenate(parts)


def _average_precision(positive_XT: Floats, negative_XT: Floats) -> Floats:
    """Average precision of several sets of rows at once, (X,); NaN where there is no positive."""
    found_XT = np.cumsum(positive_XT, axis=1)
    drawn_XT = found_XT + np.cumsum(negative_XT, axis=1)
    precision_XT = np.divide(found_XT, drawn_XT, out=np.zeros_like(found_XT), where=drawn_XT > 0)
    total_X = found_XT[:, -1]
    average_X = np.full(len(total_X), np.nan)
    hits_X = np.einsum("xt,xt->x", positive_XT, precision_XT)
    np.divide(hits_X, total_X, out=average_X, where=total_X > _NOTHING)
    return average_X


def _scored_classes(predictions: Predictions) -> range:
    n_classes = predictions.target_NC.shape[1]
    return range(1, 2) if n_classes == 2 else range(n_classes)


def top_k(k: int) -> Metric:
    """The metric `top_<k>`: the share of votes for the k most probable classes.

    >>> predictions = Predictions.checked(target=[[0, 1, 0], [1, 0, 0]], proba=[[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]])
    >>> top_k(2).name, top_k(2).score(predictions)
    ('top_2', 0.5)
    """
    if k < 1:
        raise CompareError(f"top-k accuracy needs k of 1 or more, got {k}: top_3 is usual")

    class TopK(RowLoss):
        name: ClassVar[str] = f"top_{k}"
        title: ClassVar[str] = f"top-{k} accuracy"
        better: ClassVar[Better] = "high"
        unit: ClassVar[str] = "share of votes"
        summary: ClassVar[str] = f"share of the votes for one of the {k} most probable classes"

        def rows(self, predictions: Predictions) -> Floats:
            return _votes_of_top(predictions, k)

    return TopK()


def _votes_of_top(predictions: Predictions, k: int) -> Floats:
    """Vote share of the k most probable classes per row, (N,); classes that tie for the last place share it."""
    proba_NC = predictions.proba_NC
    k = min(k, proba_NC.shape[1])
    last_N1 = -np.partition(-proba_NC, k - 1, axis=1)[:, k - 1 : k]
    above_NC, tied_NC = proba_NC > last_N1, proba_NC == last_N1
    free_N1 = k - above_NC.sum(axis=1, keepdims=True)
    kept_NC = above_NC + tied_NC * free_N1 / tied_NC.sum(axis=1, keepdims=True)
    votes_N: Floats = (predictions.target_NC * kept_NC).sum(axis=1)
    return votes_N
