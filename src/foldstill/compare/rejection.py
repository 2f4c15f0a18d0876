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
    order = np.argsort(uncertainty)
    rising = uncertainty[order]
    differs = rising[1:] != rising[:-1]
    if not differs.all():
        # Only the order of tied rows takes a stable sort, which is several times slower.
        order = np.argsort(uncertainty, kind="stable")
    mass, mistakes = weight[order], (weight * error)[order]
    if not differs.all():
        tied = np.cumsum(np.append(0, differs))
        mistakes = mass * (np.bincount(tied, mistakes) / np.bincount(tied, mass))[tied]
    kept, risk = _accumulated(mistakes, mass)
    # Of equal errors the order does not matter.
    by_error = np.argsort(error)
    oracle, _ = _accumulated((weight * error)[by_error], weight[by_error])
    chance = mistakes.sum() * weight.sum() / 2
    return RejectionCurve(risk, float(np.average(risk, weights=mass)), float((chance - kept) / (chance - oracle)))


def _accumulated(mistakes: Floats, mass: Floats) -> tuple[float, Floats]:
    """The area under the cumulative mistakes of sorted rows, and the running mean error."""
    at, total = np.cumsum(mass), np.cumsum(mistakes)
    # Trapezoids; the first begins at zero.
    area = mass @ total - mass @ mistakes / 2
    return float(area), total / at
