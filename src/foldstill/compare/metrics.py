"""Metrics of a prediction against vote shares. To add one, write a class and name it in METRICS.

A metric gives one number for all rows. A row loss is a metric that is the mean of one value per row, so that two
predictions can be compared row by row: differences and their confidence intervals rest on row losses.

N rows, C classes.
"""

from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.compare.auroc import auroc_without_groups, class_auroc, mean_of_defined
from foldstill.compare.calibration import calibration_error, class_calibration_error
from foldstill.compare.predictions import Predictions
from foldstill.compare.row_losses import row_accuracy, row_brier

Floats = NDArray[np.float64]

Better = Literal["low", "high", "one", "zero"]
"""Which values are better: low ones, high ones, those near one, or those near zero."""


class Metric(Protocol):
    """One number for a prediction of all rows.

    `foldstill.testing.check_metric` tests whether an object is a metric.

    Examples
    --------
    >>> class Confidence:
    ...     name, title, better = "confidence", "confidence", "high"
    ...     summary = "mean probability of the class with the most votes"
    ...
    ...     def score(self, predictions):
    ...         top_N = predictions.target_NC.argmax(axis=1)
    ...         return predictions.mean(predictions.proba_NC[range(len(top_N)), top_N])
    >>> predictions = Predictions.checked(target=[[1.0, 0.0], [0.0, 1.0]], proba=[[0.8, 0.2], [0.3, 0.7]])
    >>> round(Confidence().score(predictions), 2)
    0.75
    """

    name: ClassVar[str]
    """Key of the score in tables and files."""
    title: ClassVar[str]
    """Short name for reports."""
    better: ClassVar[Better]
    """Which values are better."""
    summary: ClassVar[str]
    """What the metric measures, for reports and the documentation."""

    def score(self, predictions: Predictions) -> float | None:
        """The score; None where it is not defined for these rows.

        A metric can also have `without_groups(predictions, group_N)`, the scores without each group (G,), where that is
        faster than G calls of `score`.
        """


class RowLoss(Metric, Protocol):
    """A metric that is the weighted mean of one value per row."""

    unit: ClassVar[str]
    """Unit of a value."""

    def rows(self, predictions: Predictions) -> Floats:
        """One value per row, (N,)."""

    def score(self, predictions: Predictions) -> float | None:
        """The weighted mean of the values."""
        return predictions.mean(self.rows(predictions))


class KL(RowLoss):
    """Kullback-Leibler divergence from the prediction to the vote shares."""

    name: ClassVar[str] = "kl"
    title: ClassVar[str] = "KL"
    better: ClassVar[Better] = "low"
    unit: ClassVar[str] = "nats per row"
    summary: ClassVar[str] = "KL(votes || prediction) in nats per row; 0 is perfect"

    def rows(self, predictions: Predictions) -> Floats:
        return predictions.kl_N


class LogLoss(RowLoss):
    """Cross-entropy of the prediction to the vote shares."""

    name: ClassVar[str] = "log_loss"
    title: ClassVar[str] = "log loss"
    better: ClassVar[Better] = "low"
    unit: ClassVar[str] = "nats per row"
    summary: ClassVar[str] = "cross-entropy to the vote shares, in nats per row"

    def rows(self, predictions: Predictions) -> Floats:
        return predictions.log_loss_N


class CalibratedKL:
    """KL after temperature scaling: what remains when every prediction is set to its best temperature."""

    name: ClassVar[str] = "calibrated_kl"
    title: ClassVar[str] = "calibrated KL"
    better: ClassVar[Better] = "low"
    summary: ClassVar[str] = "KL after temperature scaling; the temperature is fitted on the other half of the rows"

    def score(self, predictions: Predictions) -> float | None:
        halves = predictions.halves
        if halves is None:
            return None
        return halves.calibrated_kl(predictions.log_NC, halves.slopes(predictions.log_NC, predictions.slope))


class Brier(RowLoss):
    """Squared distance between prediction and vote shares."""

    name: ClassVar[str] = "brier"
    title: ClassVar[str] = "Brier"
    better: ClassVar[Better] = "low"
    unit: ClassVar[str] = "squared probability per row"
    summary: ClassVar[str] = "squared distance to the vote shares, summed over classes"

    def rows(self, predictions: Predictions) -> Floats:
        return row_brier(target=predictions.target_NC, proba=predictions.proba_NC)


class Accuracy(RowLoss):
    """Share of rows whose predicted class has the most votes."""

    name: ClassVar[str] = "accuracy"
    title: ClassVar[str] = "accuracy"
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "share of rows"
    summary: ClassVar[str] = (
        "share of rows whose predicted class has the most votes; with k classes tied a hit counts 1/k"
    )

    def rows(self, predictions: Predictions) -> Floats:
        return row_accuracy(target=predictions.target_NC, proba=predictions.proba_NC)


class Auroc:
    """Area under the ROC curve, averaged over classes."""

    name: ClassVar[str] = "auroc"
    title: ClassVar[str] = "AUROC"
    better: ClassVar[Better] = "high"
    summary: ClassVar[str] = "one class against the rest, rows weighted by vote share, averaged over classes"

    def score(self, predictions: Predictions) -> float | None:
        auroc_C = class_auroc(**predictions.arrays, order_CN=predictions.order_CN)
        return None if np.isnan(auroc_C).all() else float(np.nanmean(auroc_C))

    def without_groups(self, predictions: Predictions, group_N: NDArray[np.intp]) -> Floats:
        """The score without each group, (G,)."""
        shares = zip(predictions.target_NC.T, predictions.proba_NC.T, strict=True)
        auroc_CG = np.stack(
            [
                auroc_without_groups(target_N=y_N, proba_N=p_N, weight_N=predictions.weight_N, group_N=group_N)
                for y_N, p_N in shares
            ]
        )
        return mean_of_defined(auroc_CG)


class CalibrationError:
    """Expected calibration error of the predicted class."""

    name: ClassVar[str] = "ece"
    title: ClassVar[str] = "ECE"
    better: ClassVar[Better] = "low"
    summary: ClassVar[str] = "expected calibration error of the predicted class, in 15 bins of equal mass"

    def score(self, predictions: Predictions) -> float | None:
        return calibration_error(predictions.top_reliability)


class ClassCalibrationError:
    """Calibration error of every class, averaged over classes."""

    name: ClassVar[str] = "class_ece"
    title: ClassVar[str] = "class ECE"
    better: ClassVar[Better] = "low"
    summary: ClassVar[str] = "calibration error of every class in 15 bins of equal mass, averaged over classes"

    def score(self, predictions: Predictions) -> float | None:
        return class_calibration_error(**predictions.arrays, order_CN=predictions.order_CN)


class Slope:
    """Calibration slope: one over the best temperature."""

    name: ClassVar[str] = "slope"
    title: ClassVar[str] = "slope"
    better: ClassVar[Better] = "one"
    summary: ClassVar[str] = "power of the prediction that fits the votes best; below 1 the prediction is overconfident"

    def score(self, predictions: Predictions) -> float | None:
        return predictions.slope


class EntropyExcess:
    """Log loss minus the log loss that the prediction itself expects."""

    name: ClassVar[str] = "entropy_excess"
    title: ClassVar[str] = "entropy excess"
    better: ClassVar[Better] = "zero"
    summary: ClassVar[str] = "log loss minus the entropy of the prediction; above 0 the prediction is overconfident"

    def score(self, predictions: Predictions) -> float | None:
        return predictions.mean(predictions.log_loss_N - predictions.entropy_N)


class RiskCoverageArea:
    """Area under the risk-coverage curve."""

    name: ClassVar[str] = "aurc"
    title: ClassVar[str] = "AURC"
    better: ClassVar[Better] = "low"
    summary: ClassVar[str] = "mean KL of the rows that are kept as rows are rejected, those of highest entropy first"

    def score(self, predictions: Predictions) -> float | None:
        return None if predictions.rejection is None else predictions.rejection.area


class RejectionRatio:
    """Prediction-rejection ratio: how well entropy ranks rows by their KL."""

    name: ClassVar[str] = "prr"
    title: ClassVar[str] = "PRR"
    better: ClassVar[Better] = "high"
    summary: ClassVar[str] = (
        "prediction-rejection ratio: 1 when entropy ranks rows by their KL, 0 when it ranks by chance"
    )

    def score(self, predictions: Predictions) -> float | None:
        return None if predictions.rejection is None else predictions.rejection.prediction_rejection_ratio


METRICS: tuple[type[Metric], ...] = (
    KL,
    LogLoss,
    CalibratedKL,
    Brier,
    Accuracy,
    Auroc,
    CalibrationError,
    ClassCalibrationError,
    Slope,
    EntropyExcess,
    RiskCoverageArea,
    RejectionRatio,
)
"""The metrics of every arm, in the order they are shown."""

ROW_LOSSES: tuple[type[RowLoss], ...] = (KL, LogLoss, Brier)
"""The losses that differences between arms can be measured in."""


def scores(*, target: ArrayLike, proba: ArrayLike, weight: ArrayLike | None = None) -> dict[str, float | None]:
    """Compute every metric of METRICS for one prediction.

    Parameters
    ----------
    target : array-like of shape (N, C)
        Vote shares, or one-hot labels; each row sums to one.
    proba : array-like of shape (N, C)
        Predicted probabilities; each row sums to one.
    weight : array-like of shape (N,), optional
        Weight per row, 0 or more; all ones by default.

    Returns
    -------
    dict of str to float or None
        One score per metric name. A score is None where it is not defined, such as AUROC on rows of one class.

    Raises
    ------
    DataError
        For logits, counts, and values that are not finite.
    CompareError
        For shapes that differ, and for weights that are negative or all zero.

    Examples
    --------
    >>> result = scores(target=[[1, 0], [0, 1], [0.5, 0.5]], proba=[[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    >>> print(round(result["kl"], 4), round(result["brier"], 4), round(result["accuracy"], 4))
    0.1163 0.04 0.8333
    """
    return scores_of(Predictions.checked(target=target, proba=proba, weight=weight))


def scores_of(predictions: Predictions) -> dict[str, float | None]:
    """Every metric of METRICS by its name, of predictions that were checked."""
    return {metric.name: metric().score(predictions) for metric in METRICS}


def badness(better: Better, value: float) -> float:
    """The value on a scale where lower is better.

    >>> badness("high", 0.9) < badness("high", 0.8), badness("one", 1.1) < badness("one", 0.5)
    (True, True)
    """
    if better == "low":
        return value
    if better == "high":
        return -value
    return abs(value - 1) if better == "one" else abs(value)
