"""Whether uncertainty predicts error: the risk that remains when the least certain rows are rejected. N rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.compare.weights import row_weights
from foldstill.errors import CompareError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RejectionCurve:
    """Risk when only the most certain rows are kept: `risk_N[k]` is the mean error of the k + 1 most certain rows."""

    risk_N: Floats
    area: float
    """Mean risk over all coverages (AURC: Geifman et al., 2019)."""
    prediction_rejection_ratio: float
    """1 when uncertainty ranks rows by their error, 0 when it ranks no better than chance, below 0 when it misleads."""


def rejection_curve(
    error_N: ArrayLike, uncertainty_N: ArrayLike, *, weight_N: ArrayLike | None = None
) -> RejectionCurve:
    """Compute the risk as rows are rejected, the least certain first.

    Rows of equal uncertainty share their mean error, so their order does not matter.

    Parameters
    ----------
    error_N : array-like of shape (N,)
        Error per row, 0 or more: 0 or 1, or KL.
    uncertainty_N : array-like of shape (N,)
        Uncertainty per row, on any scale.
    weight_N : array-like of shape (N,), optional
        Weight per row; all ones by default.

    Returns
    -------
    RejectionCurve

    Raises
    ------
    CompareError
        For errors that are negative or all equal: there is nothing to predict.

    References
    ----------
    A. Malinin (2019), Uncertainty estimation in deep learning, section 3.4: the area gained over random rejection,
    relative to that of an oracle.

    Examples
    --------
    >>> curve = rejection_curve([0, 1, 1, 0], [0.1, 0.9, 0.2, 0.3])
    >>> print(round(curve.area, 3), round(curve.prediction_rejection_ratio, 3))
    0.333 0.5
    """
    error, uncertainty = (np.asarray(a, dtype=np.float64) for a in (error_N, uncertainty_N))
    if error.shape != uncertainty.shape or error.ndim != 1 or len(error) == 0:
        raise CompareError(
            f"errors and uncertainties must be one number per row, got shapes {error.shape} and {uncertainty.shape}"
        )
    if not (error >= 0).all() or error.max() == error.min():
        raise CompareError(
            f"a rejection curve needs errors of 0 or more that differ between rows, got {error.min():g} to "
            f"{error.max():g}: these are negative or all alike"
        )
    weight = row_weights(weight_N, len(error))
    counted = weight > 0
    error, uncertainty, weight = error[counted], uncertainty[counted], weight[counted]
    _, tied = np.unique(uncertainty, return_inverse=True)
    shared = (np.bincount(tied, weight * error) / np.bincount(tied, weight))[tied]
    kept, risk, order = _accumulated(shared, tied, weight)
    oracle, _, _ = _accumulated(error, error, weight)
    mean = float(np.average(error, weights=weight))
    chance = mean * weight.sum() ** 2 / 2
    return RejectionCurve(
        risk, float(np.average(risk, weights=weight[order])), float((chance - kept) / (chance - oracle))
    )


def _accumulated(
    error: Floats, by: Floats | NDArray[np.intp], weight: Floats
) -> tuple[float, Floats, NDArray[np.intp]]:
    """Sort rows by `by`; give the area under their cumulative error, the running mean error, and the order."""
    order = np.argsort(by, kind="stable")
    at, total = np.cumsum(weight[order]), np.cumsum((weight * error)[order])
    area = float(np.trapezoid(np.r_[0.0, total], np.r_[0.0, at]))
    return area, total / at, order
