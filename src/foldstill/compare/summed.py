"""Metrics of predicted classes and of ordered classes, each a function of sums over rows.

Sums without a group are the difference of two sums, so that a score without each group costs as much as one score.

N rows, C classes, D sums.
"""

from abc import abstractmethod
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.left_out import sums_without_groups
from foldstill.compare.metrics import Better, Metric
from foldstill.compare.predictions import Predictions

Floats = NDArray[np.float64]

_NOTHING = 1e-9
"""Share of the total weight below which a class has no rows: what subtraction leaves of zero."""


class SummedMetric(Metric, Protocol):
    """A metric that is a function of weighted sums over rows."""

    @abstractmethod
    def statistics(self, predictions: Predictions) -> Floats:
        """What is summed, (N, D)."""

    @abstractmethod
    def of_means(self, mean_XD: Floats) -> Floats:
        """The score of weighted means, (X, D) to (X,); NaN where it is not defined."""

    def score(self, predictions: Predictions) -> float | None:
        """The score of all rows."""
        mean_D = predictions.weight_N @ self.statistics(predictions) / predictions.weight_N.sum()
        value = float(self.of_means(mean_D[None])[0])
        return None if np.isnan(value) else value

    def without_groups(self, predictions: Predictions, group_N: NDArray[np.intp]) -> Floats:
        """The score without each group, (G,)."""
        sum_GD, weight_G = sums_without_groups(self.statistics(predictions), predictions.weight_N, group_N)
        mean_GD = np.full_like(sum_GD, np.nan)
        np.divide(sum_GD, weight_G[:, None], out=mean_GD, where=weight_G[:, None] > 0)
        return self.of_means(mean_GD)


class _Decided(SummedMetric, Protocol):
    """A metric of the predicted class. The class of a row is the one with the most votes; ties are shared equally."""

    of_classes: ClassVar[bool] = True

    def statistics(self, predictions: Predictions) -> Floats:
        """Shares of the true class, of the predicted class, and of hits per class, (N, 3 C)."""
        true_NC, predicted_NC = most_likely(predictions.target_NC), most_likely(predictions.proba_NC)
        return np.concatenate([true_NC, predicted_NC, true_NC * predicted_NC], axis=1)


class BalancedAccuracy(_Decided):
    """Recall averaged over classes."""

    name: ClassVar[str] = "balanced_accuracy"
    title: ClassVar[str] = "balanced accuracy"
    better: ClassVar[Better] = "high"
    summary: ClassVar[str] = "recall averaged over classes; the class of a row is the one with the most votes"

    def of_means(self, mean_XD: Floats) -> Floats:
        true_XC, _, hit_XC = np.split(mean_XD, 3, axis=1)
        return _mean_of_ratios(hit_XC, true_XC)


class MacroF1(_Decided):
    """F1 averaged over classes."""

    name: ClassVar[str] = "macro_f1"
    title: ClassVar[str] = "macro F1"
    better: ClassVar[Better] = "high"
    summary: ClassVar[str] = (
        "harmonic mean of precision and recall, averaged over classes; the class of a row is the one with the most "
        "votes"
    )

    def of_means(self, mean_XD: Floats) -> Floats:
        true_XC, predicted_XC, hit_XC = np.split(mean_XD, 3, axis=1)
        return _mean_of_ratios(2 * hit_XC, true_XC + predicted_XC)


class QuadraticKappa(SummedMetric):
    """Cohen's kappa with quadratic weights."""

    name: ClassVar[str] = "quadratic_kappa"
    title: ClassVar[str] = "quadratic weighted kappa"
    better: ClassVar[Better] = "high"
    ordered: ClassVar[bool] = True
    of_classes: ClassVar[bool] = True
    summary: ClassVar[str] = (
        "agreement beyond chance with quadratic weights, classes in their order; the class of a row is the one with "
        "the most votes"
    )

    def statistics(self, predictions: Predictions) -> Floats:
        """Squared distance of the two classes, then mean and mean square of each, (N, 5)."""
        place_C = np.arange(predictions.target_NC.shape[1], dtype=np.float64)
        powers_C2 = np.stack([place_C, place_C**2], axis=1)
        true_N2, predicted_N2 = (most_likely(p) @ powers_C2 for p in (predictions.target_NC, predictions.proba_NC))
        apart_N = true_N2[:, 1] - 2 * true_N2[:, 0] * predicted_N2[:, 0] + predicted_N2[:, 1]
        return np.concatenate([apart_N[:, None], true_N2, predicted_N2], axis=1)

    def of_means(self, mean_XD: Floats) -> Floats:
        apart_X, true_X, true_square_X, predicted_X, predicted_square_X = mean_XD.T
        by_chance_X = true_square_X - 2 * true_X * predicted_X + predicted_square_X
        kappa_X = np.full(len(mean_XD), np.nan)
        np.divide(by_chance_X - apart_X, by_chance_X, out=kappa_X, where=by_chance_X > _NOTHING)
        return kappa_X


class OrdinalRMSE(SummedMetric):
    """Root mean squared error of the expected class."""

    name: ClassVar[str] = "ordinal_rmse"
    title: ClassVar[str] = "ordinal RMSE"
    better: ClassVar[Better] = "low"
    ordered: ClassVar[bool] = True
    summary: ClassVar[str] = (
        "root mean squared error of the expected class, numbered 0, 1, ... in their order, to the mean of the votes"
    )

    def statistics(self, predictions: Predictions) -> Floats:
        """Squared error, (N, 1)."""
        place_C = np.arange(predictions.target_NC.shape[1])
        return (((predictions.proba_NC - predictions.target_NC) @ place_C) ** 2)[:, None]

    def of_means(self, mean_XD: Floats) -> Floats:
        return np.asarray(np.sqrt(np.maximum(mean_XD[:, 0], 0)), dtype=np.float64)


def most_likely(share_NC: Floats) -> Floats:
    """One-hot rows of the largest share; where several are equally large, each gets an equal part.

    >>> most_likely(np.array([[0.2, 0.8], [0.5, 0.5]])).tolist()
    [[0.0, 1.0], [0.5, 0.5]]
    """
    largest_NC = share_NC >= share_NC.max(axis=1, keepdims=True) - 1e-9
    part_NC: Floats = largest_NC / largest_NC.sum(axis=1, keepdims=True)
    return part_NC


def _mean_of_ratios(top_XC: Floats, bottom_XC: Floats) -> Floats:
    """Mean over the classes that have rows; NaN where none has."""
    has_XC = bottom_XC > _NOTHING
    ratio_XC = np.divide(top_XC, bottom_XC, out=np.zeros_like(top_XC), where=has_XC)
    mean_X = np.full(len(top_XC), np.nan)
    np.divide(ratio_XC.sum(axis=1), has_XC.sum(axis=1), out=mean_X, where=has_XC.any(axis=1))
    return mean_X
