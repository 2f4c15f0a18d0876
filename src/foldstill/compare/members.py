"""The members as a group: score against their number, and how similar their errors are.

N rows, M members, C classes.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, count

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.calibration import Halves
from foldstill.compare.predictions import by_class
from foldstill.compare.results import SizePoint
from foldstill.data.simplex import EPS, Float

Floats = NDArray[np.float64]

_WORK = 4e8
"""Number of logarithms that the curve may cost; larger tables get fewer random orders."""

_ALL_SUBSETS = 12
"""Up to so many members all subsets are averaged and calibrated, if that is not too much work."""

_SUBSET_WORK = 2e8
"""Number of averaged probabilities that may be calibrated for the curve: some seconds."""

_MOST_ORDERS = 100
"""Maximum number of random orders that are calibrated."""

_KNOWN = 0.1
"""Standard error, in members, at which no more orders are drawn."""

_BLOCK = 4096
"""Number of rows that are processed together."""

_SAME = 1e-6
"""Members are float32: the average of all of them differs from the arm of that name by less than this."""


def size_curve(
    *, target: Floats, proba_NMC: Float, weight: Floats | None = None, orders: int = 20, seed: int = 0
) -> tuple[SizePoint, ...]:
    """KL of plain averages of 1..M members: over random subsets, and of the best members first.

    The random curve chooses nothing, so it is unbiased on any rows. `calibrated` is the mean over all subsets of a size
    of up to twelve members; of more members or very many rows, over random ones, until the number of members that it
    stands for is known to 0.1, or the work is used up. The best-first curve orders members by the rows it is
    scored on, so it is an optimistic bound on what pruning can keep.
    """
    weight_N = np.full(len(target), 1 / len(target)) if weight is None else weight / weight.sum()
    m = proba_NMC.shape[1]
    rng = np.random.default_rng(seed)
    n_cells = np.count_nonzero(target)
    order_OM = np.stack([rng.permutation(m) for _ in range(max(3, min(orders, int(_WORK / (n_cells * m)))))])
    single = _path_losses(target, proba_NMC, weight_N, np.arange(m)[:, None])[:, 0]
    best_first = np.argsort(single, kind="stable")
    *random, best = _path_losses(target, proba_NMC, weight_N, np.vstack([order_OM, best_first]))
    random_OM = np.stack(random)
    # The first and last points are exact: all single members, all members.
    random_OM[:, -1] = best[-1]
    mean = random_OM.mean(axis=0)
    mean[0] = single.mean()
    further = (rng.permutation(m) for _ in count())
    calibrated = _calibrated_means(target, proba_NMC, weight, chain(order_OM, further), len(order_OM))
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


def _path_losses(target: Floats, proba_NMC: Float, weight_N: Floats, order_OL: NDArray[np.intp]) -> Floats:
    """KL of the plain average of the first 1..L members of each order, (O, L)."""
    kl_OL = np.zeros(order_OL.shape)
    # A block of rows stays in the cache while all orders use it.
    for start in range(0, len(target), _BLOCK):
        rows = slice(start, start + _BLOCK)
        # Only cells with votes count in KL; on hard labels that is one in C.
        row, column = np.nonzero(target[rows])
        share = target[rows][row, column]
        mass = weight_N[rows][row] * share
        kl_OL += float(mass @ np.log(share))
        cell_MP = np.ascontiguousarray(proba_NMC[rows][row, :, column].T, dtype=np.float64)
        for o, order in enumerate(order_OL):
            total = np.zeros(len(share))
            for n, member in enumerate(order, start=1):
                total += cell_MP[member]
                kl_OL[o, n - 1] -= float(mass @ np.log(np.maximum(total / n, EPS)))
    return kl_OL


def _calibrated_means(
    target: Floats, proba_NMC: Float, weight: Floats | None, orders: Iterator[NDArray[np.intp]], enough: int
) -> list[float | None]:
    """Calibrated KL of plain averages of 1..M members: the mean over subsets of each size.

    Of few members, all subsets are used. Of many, `enough` orders are drawn at first, and more until the mean of every
    size is known well enough, or the work is used up; single members and the average of all are exact.
    """
    halves, m = Halves.of(target, weight), proba_NMC.shape[1]
    if halves is None:
        return [None] * m
    by_size: dict[int, list[float]] = {n: [] for n in range(1, m + 1)}
    slopes: dict[int, Floats] = {}
    log_NC = np.empty(target.shape, order="F")

    def add(sum_NC: Floats, n: int) -> None:
        np.divide(sum_NC, n, out=log_NC)
        np.log(np.maximum(log_NC, EPS, out=log_NC), out=log_NC)
        # Averages of equally many members have nearly equal slopes.
        slopes[n] = halves.slopes(log_NC, slopes.get(n, 1.0))
        by_size[n].append(halves.calibrated_kl(log_NC, slopes[n]))

    if m <= _ALL_SUBSETS and 2**m * target.size <= _SUBSET_WORK:

        def grow(sum_NC: Floats, n: int, first: int) -> None:
            """Add every subset that begins with the `n` members of a sum, and goes on with later ones."""
            for member in range(first, m):
                larger_NC = sum_NC + proba_NMC[:, member]
                add(larger_NC, n + 1)
                grow(larger_NC, n + 1, member + 1)

        grow(np.zeros(target.shape, order="F"), 0, 0)
    else:
        for member in range(m):
            add(by_class(proba_NMC[:, member]), 1)
        add(by_class(proba_NMC.sum(axis=1, dtype=np.float64)), m)
        drawn = range(2, m)
        affordable = max(2, min(_MOST_ORDERS, int(_SUBSET_WORK / (target.size * m))))
        for o, order in zip(range(affordable), orders, strict=False):
            if o >= enough and _known(by_size, drawn):
                break
            sum_NC = by_class(proba_NMC[:, order[0]])
            for n in drawn:
                sum_NC += proba_NMC[:, order[n - 1]]
                add(sum_NC, n)
    return [float(np.mean(by_size[n])) for n in range(1, m + 1)]


def _known(by_size: Mapping[int, Sequence[float]], drawn: Sequence[int]) -> bool:
    """Whether the error of the mean of each drawn size is a small part of the step to the next size."""
    for n in drawn:
        step = abs(float(np.mean(by_size[n + 1])) - float(np.mean(by_size[n])))
        if np.std(by_size[n], ddof=1) / math.sqrt(len(by_size[n])) > _KNOWN * step:
            return False
    return True


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
    # Errors of a row sum to zero, so they are centred already.
    product = np.zeros((proba_NMC.shape[1],) * 2)
    for start in range(0, len(target), _BLOCK):
        rows = slice(start, start + _BLOCK)
        error_MP = (proba_NMC[rows] - target[rows, None, :]).transpose(1, 0, 2).reshape(len(product), -1)
        product += error_MP @ error_MP.T
    scale = np.sqrt(np.diag(product))
    correlation = np.clip(product / np.maximum(np.outer(scale, scale), 1e-300), -1, 1)
    return tuple(tuple(float(x) for x in row) for row in correlation)
