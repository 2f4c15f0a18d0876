"""The minimum of a function of one number within bounds. SciPy's needs the import of its optimisers, which is slow."""

import math
from collections.abc import Callable

_GOLDEN = (3 - math.sqrt(5)) / 2
_ROUNDING = math.sqrt(2.2e-16)
_MOST_CALLS = 500


def bounded_minimum(function: Callable[[float], float], low: float, high: float, *, tolerance: float = 1e-5) -> float:
    """Return the x in [low, high] with the lowest value, to `tolerance`, for a function with one minimum there.

    Brent's method: parabolas through the three best points, and golden sections where these do not help. It gives the
    numbers of `scipy.optimize.minimize_scalar(method="bounded")`.

    References
    ----------
    R. P. Brent (1973), Algorithms for minimization without derivatives, chapter 5.

    Examples
    --------
    >>> round(bounded_minimum(lambda x: (x - 0.3) ** 2, 0.0, 1.0), 6)
    0.3
    """
    best = second = third = low + _GOLDEN * (high - low)
    value = value_second = value_third = function(best)
    step = before = 0.0
    for _ in range(_MOST_CALLS):
        middle = (low + high) / 2
        near = _ROUNDING * abs(best) + tolerance / 3
        if abs(best - middle) <= 2 * near - (high - low) / 2:
            break
        parabola = None
        if abs(before) > near:
            r = (best - second) * (value - value_third)
            q = (best - third) * (value - value_second)
            p = (best - third) * q - (best - second) * r
            q = 2 * (q - r)
            p, q = (-p, q) if q > 0 else (p, -q)
            inside = abs(p) < abs(0.5 * q * before) and q * (low - best) < p < q * (high - best)
            before, parabola = step, (p / q if inside else None)
        if parabola is not None:
            step = parabola
            if best + step - low < 2 * near or high - (best + step) < 2 * near:
                step = math.copysign(near, middle - best)
        else:
            before = (low if best >= middle else high) - best
            step = _GOLDEN * before
        x = best + math.copysign(max(abs(step), near), step)
        found = function(x)
        if found <= value:
            low, high = (best, high) if x >= best else (low, best)
            third, value_third, second, value_second = second, value_second, best, value
            best, value = x, found
        else:
            low, high = (x, high) if x < best else (low, x)
            if found <= value_second or second == best:
                third, value_third, second, value_second = second, value_second, x, found
            elif found <= value_third or third in (best, second):
                third, value_third = x, found
    return best
