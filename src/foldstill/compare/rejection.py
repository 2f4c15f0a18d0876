"""Whether uncertainty foretells error: what is left of it when the least certain rows are handed to somebody else. N rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.compare.bootstrap import row_weights
from foldstill.errors import CompareError


@dataclass(frozen=True)
class RejectionCurve:
    """Risk when only the surest rows are kept: `risk_N[k]` is the mean error of the k + 1 surest rows."""

    risk_N: NDArray[np.float64]
    area: float
    """Mean risk over all coverages (AURC: Geifman et al., 2019)."""
    prediction_rejection_ratio: float
    """1 when uncertainty ranks rows by their error, 0 when it is worth no more than chance, below when it misleads."""


def rejection_curve(
    error_N: ArrayLike, uncertainty_N: ArrayLike, *, weight_N: ArrayLike | None = None
) -> RejectionCurve:
    """The curve of per-row errors (0 or 1, KL, ...) as rows are rejected, the least certain first.

    Rows of equal uncertainty share their mean error, so their order does not matter. The ratio is that of Malinin
    (2019), section 3.4: area won over random rejection, relative to what an oracle wins. Raises CompareError for errors
    that are negative or all alike: there is nothing to foretell.
    """
    error, uncertainty = (np.asarray(a, dtype=np.float64) for a in (error_N, uncertainty_N))
    if error.shape != uncertainty.shape or error.ndim != 1 or len(error) == 0:
        raise CompareError(f"errors and uncertainties must be one a row, got {error.shape} and {uncertainty.shape}")
    if not (error >= 0).all() or error.max() == error.min():
        raise CompareError("a rejection curve needs errors of 0 or more that differ between rows: these are all alike")
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
    error: NDArray[np.float64], by: NDArray[np.float64] | NDArray[np.intp], weight: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.intp]]:
    """Area under the errors summed up over rows in the order of `by`, their mean so far, and the order."""
    order = np.argsort(by, kind="stable")
    at, total = np.cumsum(weight[order]), np.cumsum((weight * error)[order])
    area = float(np.trapezoid(np.r_[0.0, total], np.r_[0.0, at]))
    return area, total / at, order
