"""The members as a group: score against their number, and how similar their errors are.

N rows, M members, C classes.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.calibration import calibrated_kl
from foldstill.compare.results import SizePoint
from foldstill.data.simplex import EPS, Float

Floats = NDArray[np.float64]

_WORK = 4e8
"""Number of logarithms that the curve may cost; larger tables get fewer random orders."""

_CALIBRATED_WORK = 2e7
"""Number of probabilities that may be calibrated for it, which costs far more."""

_SAME = 1e-6
"""Members are float32: the average of all of them differs from the arm of that name by less than this."""


def size_curve(
    *, target: Floats, proba_NMC: Float, weight: Floats | None = None, orders: int = 20, seed: int = 0
) -> tuple[SizePoint, ...]:
    """KL of plain averages of 1..M members: over random subsets, and of the best members first.

    The random curve chooses nothing, so it is unbiased on any rows; for a large table `calibrated` is the mean over
    fewer of its subsets. The best-first curve orders members by the rows it is scored on, so it is an optimistic bound
    on what pruning can keep.
    """
    # Only cells with votes count in KL; on hard labels that is one in C.
    row, column = np.nonzero(target)
    share = target[row, column]
    cell_PM = np.ascontiguousarray(proba_NMC[row, :, column], dtype=np.float64)
    weight_N = np.full(len(target), 1 / len(target)) if weight is None else weight / weight.sum()
    mass = weight_N[row] * share
    constant = float(mass @ np.log(share))

    def path(order: NDArray[np.intp]) -> Floats:
        total, kl = np.zeros(len(share)), np.empty(len(order))
        for n, member in enumerate(order, start=1):
            total += cell_PM[:, member]
            kl[n - 1] = constant - float(mass @ np.log(np.maximum(total / n, EPS)))
        return kl

    m = proba_NMC.shape[1]
    rng = np.random.default_rng(seed)
    affordable = max(3, min(orders, int(_WORK / max(1, cell_PM.size))))
    order_OM = np.stack([rng.permutation(m) for _ in range(affordable)])
    random_OM = np.stack([path(order) for order in order_OM])
    single = constant - mass @ np.log(np.maximum(cell_PM, EPS))
    best = path(np.argsort(single, kind="stable"))
    # The first and last points are exact: all single members, all members.
    random_OM[:, -1] = best[-1]
    mean = random_OM.mean(axis=0)
    mean[0] = single.mean()
    affordable = max(2, int(_CALIBRATED_WORK / proba_NMC.size))
    calibrated = _calibrated_means(target, proba_NMC, weight, order_OM[:affordable])
    return tuple(
        SizePoint(
            n + 1,
            float(mean[n]),
            float(random_OM[:, n].min()),
            float(random_OM[:, n].max()),
            float(best[n]),
            calibrated[n],
        )
        for n in range(m)
    )


def _calibrated_means(
    target: Floats, proba_NMC: Float, weight: Floats | None, order_OM: NDArray[np.intp]
) -> list[float | None]:
    """Calibrated KL of plain averages of 1..M members: the mean over these orders, and over all members for one."""
    m = proba_NMC.shape[1]

    def mean_over(subsets: Iterable[NDArray[np.intp]]) -> float | None:
        each = [
            calibrated_kl(target=target, proba=proba_NMC[:, members].mean(axis=1, dtype=np.float64), weight=weight)
            for members in subsets
        ]
        defined = [kl for kl in each if kl is not None]
        return float(np.mean(defined)) if defined else None

    between = [mean_over(order_OM[:, :n]) for n in range(2, m)]
    ends = [mean_over(np.arange(m)[:, None]), mean_over(np.arange(m)[None])]
    return [ends[0], *between, ends[1]] if m > 1 else ends[:1]


def worth_in_members(calibrated: float | None, curve: Sequence[SizePoint]) -> float | None:
    """The number of plainly averaged members that reach this calibrated KL, interpolated; None when no number does.

    The deep-ensemble equivalent of Ashukha et al. (2020), section 5. Scores are calibrated, so that a temperature,
    which is easy to set, does not change the result. 0 for an arm that is worse than one member.
    """
    points = [(point.n, point.calibrated) for point in curve if point.calibrated is not None]
    if calibrated is None or not points or calibrated < min(kl for _, kl in points) - _SAME:
        return None
    (before, above), *rest = points
    if calibrated > above:
        return 0.0
    for n, kl in rest:
        if kl <= calibrated + _SAME:
            span = above - kl
            return before + (n - before) * (above - calibrated) / span if span > 0 else float(n)
        before, above = n, kl
    return float(before)


def error_correlation(*, target: Floats, proba_NMC: Float) -> tuple[tuple[float, ...], ...]:
    """Correlation between members of prediction minus vote share, over rows and classes, (M, M)."""
    error_MP = (proba_NMC - target[:, None, :]).transpose(1, 0, 2).reshape(proba_NMC.shape[1], -1)
    # Errors of a row sum to zero, so they are centred already.
    product = error_MP.astype(np.float64) @ error_MP.T
    scale = np.sqrt(np.diag(product))
    correlation = np.clip(product / np.maximum(np.outer(scale, scale), 1e-300), -1, 1)
    return tuple(tuple(float(x) for x in row) for row in correlation)
