"""The minimum of a convex quadratic function on a box: one step of Newton's method with bounds. P parameters."""

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

_CHANCES = 3
"""Exchanges of many bounds that may fail before bounds are exchanged one by one."""


def box_minimum(hessian_PP: Vector, gradient_P: Vector, low_P: Vector, high_P: Vector) -> Vector:
    """Return the x in [low, high] that minimises gradient x + x hessian x / 2, for a positive definite Hessian.

    Parameters outside their bounds are held at them, those that want back are released, and the rest is solved exactly
    until nothing changes (block principal pivoting). Exchanges one by one follow where that does not help; they always
    end.

    References
    ----------
    J. J. Júdice, F. M. Pires (1994), A block principal pivoting algorithm for large-scale strictly monotone linear
    complementarity problems, Computers & Operations Research 21.

    Examples
    --------
    >>> hessian = np.array([[2.0, 1.0], [1.0, 2.0]])
    >>> box_minimum(hessian, np.array([-1.0, 1.0]), np.zeros(2), np.full(2, np.inf)).tolist()
    [0.5, 0.0]
    """
    held_P = np.zeros(len(gradient_P), np.int8)
    fewest, chances = len(gradient_P) + 1, _CHANCES
    tolerance = 1e-12 * (1 + np.abs(gradient_P).max())
    x_P = np.zeros(len(gradient_P))
    for _ in range(20 * len(gradient_P) + 20):
        free_P = held_P == 0
        x_P = np.where(held_P < 0, low_P, np.where(held_P > 0, high_P, 0.0))
        if free_P.any():
            right = -(gradient_P + hessian_PP @ x_P)[free_P]
            x_P[free_P] = np.linalg.solve(hessian_PP[np.ix_(free_P, free_P)], right)
        slope_P = gradient_P + hessian_PP @ x_P
        below_P, above_P = free_P & (x_P < low_P), free_P & (x_P > high_P)
        back_P = (held_P < 0) & (slope_P < -tolerance) | (held_P > 0) & (slope_P > tolerance)
        wrong_P = below_P | above_P | back_P
        n_wrong = int(wrong_P.sum())
        if not n_wrong:
            break
        if n_wrong < fewest:
            fewest, chances = n_wrong, _CHANCES
        elif chances:
            chances -= 1
        else:
            wrong_P &= np.arange(len(wrong_P)) == np.flatnonzero(wrong_P)[-1]
        held_P[wrong_P & back_P], held_P[wrong_P & below_P], held_P[wrong_P & above_P] = 0, -1, 1
    return np.clip(x_P, low_P, high_P)
