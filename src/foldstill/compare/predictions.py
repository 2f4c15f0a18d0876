"""What a metric is computed from: predictions of some rows, their vote shares, and values per row computed once.

N rows, C classes.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.compare.calibration import Bin, Halves, log_slope, reliability
from foldstill.compare.rejection import RejectionCurve, rejection_curve
from foldstill.compare.row_losses import row_log_loss
from foldstill.compare.weights import row_weights
from foldstill.data.simplex import EPS, check_rows, row_kl
from foldstill.errors import CompareError

Floats = NDArray[np.float64]

_PER_ROW = ("kl_N", "log_loss_N", "entropy_N", "log_NC")
"""The cached values that a subset of the rows takes over."""

_EQUAL = 1e-12
"""Errors that differ by less are equal: there is nothing to rank."""


@dataclass(frozen=True)
class Predictions:
    """Predicted probabilities of N rows and the vote shares they are scored against.

    What several metrics need per row is computed when it is first asked for, and kept. Make one with
    `Predictions.checked`, which accepts any array-like.

    Parameters
    ----------
    target_NC : array of shape (N, C)
        Vote shares; each row sums to one.
    proba_NC : array of shape (N, C)
        Predicted probabilities; each row sums to one.
    weight_N : array of shape (N,)
        Weight per row, 0 or more.

    Examples
    --------
    >>> predictions = Predictions.checked(target=[[1.0, 0.0], [0.5, 0.5]], proba=[[0.8, 0.2], [0.5, 0.5]])
    >>> print(predictions.kl_N.round(3), round(predictions.mean(predictions.kl_N), 3))
    [0.223 0.   ] 0.112
    """

    target_NC: Floats
    proba_NC: Floats
    weight_N: Floats

    @classmethod
    def checked(cls, *, target: ArrayLike, proba: ArrayLike, weight: ArrayLike | None = None) -> "Predictions":
        """Check the arrays, as `scores` does, and convert them to float64; all weights are one by default."""
        target_NC, proba_NC = check_rows(target, "target"), check_rows(proba, "proba")
        if target_NC.shape != proba_NC.shape or target_NC.ndim != 2:
            raise CompareError(
                f"target and proba must both be of shape (rows, classes), got {target_NC.shape} and {proba_NC.shape}: "
                "align them by id"
            )
        return cls(target_NC.astype(np.float64), proba_NC.astype(np.float64), row_weights(weight, len(target_NC)))

    def __len__(self) -> int:
        return len(self.target_NC)

    @cached_property
    def kl_N(self) -> Floats:
        """KL(votes || prediction) per row, in nats."""
        return row_kl(target=self.target_NC, proba=self.proba_NC)

    @cached_property
    def log_loss_N(self) -> Floats:
        """Cross-entropy of the prediction to the vote shares per row, in nats."""
        return row_log_loss(target=self.target_NC, proba=self.proba_NC)

    @cached_property
    def entropy_N(self) -> Floats:
        """Entropy of the prediction per row, in nats."""
        return row_log_loss(target=self.proba_NC, proba=self.proba_NC)

    @cached_property
    def rejection(self) -> RejectionCurve | None:
        """KL of the rows that remain as those of highest entropy are rejected; None when all rows have equal KL."""
        if np.ptp(self.kl_N) < _EQUAL:
            return None
        return rejection_curve(self.kl_N.clip(0), self.entropy_N, weight_N=self.weight_N)

    @cached_property
    def top(self) -> tuple[Floats, Floats]:
        """Probability and vote share of the predicted class per row."""
        place_N1 = self.proba_NC.argmax(axis=1)[:, None]
        proba_N, share_N = (np.take_along_axis(a, place_N1, axis=1)[:, 0] for a in (self.proba_NC, self.target_NC))
        return proba_N, share_N

    @cached_property
    def top_reliability(self) -> tuple[Bin, ...]:
        """Bins of the predicted class: its probability against its vote share."""
        return reliability(predicted_N=self.top[0], observed_N=self.top[1], weight=self.weight_N)

    @cached_property
    def slope(self) -> float:
        """The power of the predictions that fits the votes best."""
        return log_slope(target=self.target_NC, log_NC=self.log_NC, weight=self.weight_N)

    @cached_property
    def log_NC(self) -> Floats:
        """Log-probabilities, of at least EPS."""
        return np.log(np.maximum(self.proba_NC, EPS))

    @cached_property
    def order_CN(self) -> tuple[NDArray[np.intp], ...]:
        """What sorts the rows by the prediction of each class."""
        return tuple(np.argsort(proba_N) for proba_N in self.proba_NC.T)

    @cached_property
    def halves(self) -> Halves | None:
        """The halves of the rows that are calibrated by each other; None for fewer than two rows with weight."""
        return Halves.of(self.target_NC, self.weight_N)

    def with_halves(self, halves: Halves | None) -> "Predictions":
        """These predictions, with the halves of their rows that other predictions have found."""
        vars(self)["halves"] = halves
        return self

    @property
    def arrays(self) -> dict[str, Floats]:
        """The keyword arguments of functions of all rows: target, proba and weight."""
        return {"target": self.target_NC, "proba": self.proba_NC, "weight": self.weight_N}

    def mean(self, value_N: Floats) -> float:
        """Weighted mean of one value per row."""
        return float(np.average(value_N, weights=self.weight_N))

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> "Predictions":
        """The predictions of some of the rows, with the values per row that were computed already."""
        index: NDArray[np.intp] = np.arange(len(self))[rows]
        part = Predictions(_taken(self.target_NC, index), _taken(self.proba_NC, index), self.weight_N[index])
        # cached_property reads this dictionary.
        known = self.__dict__
        part.__dict__.update({name: _taken(known[name], index) for name in _PER_ROW if name in known})
        if "top" in known:
            part.__dict__["top"] = tuple(value_N[index] for value_N in self.top)
        if rows.dtype.kind == "b" and "order_CN" in known:
            # To leave rows out of a sorted order is faster than to sort again.
            place_N = np.cumsum(rows) - 1
            part.__dict__["order_CN"] = tuple(place_N[order_N.compress(rows[order_N])] for order_N in self.order_CN)
        return part


def _taken(values: Floats, index: NDArray[np.intp]) -> Floats:
    """Some rows; of two dimensions, each class lies in memory as a whole, as in `by_class`."""
    taken: Floats = np.take(values.T, index, axis=-1).T
    return taken


def by_class(values_NC: NDArray[np.floating[Any]]) -> Floats:
    """The same values in float64 with each class in memory as a whole: sums over few classes are twice as fast so."""
    return np.array(values_NC, dtype=np.float64, order="F")
