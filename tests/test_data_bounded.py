"""Brent's method gives the numbers of SciPy's."""

import numpy as np
from scipy.optimize import minimize_scalar

from foldstill.data.bounded import bounded_minimum


def test_the_minimum_within_bounds_is_that_of_scipy(rng):
    for _ in range(100):
        a, b, c, d = rng.normal(size=4)
        low, high = sorted(rng.uniform(-5, 5, 2))
        tolerance = 10.0 ** -rng.integers(2, 6)

        def bumpy(x, a=a, b=b, c=c, d=d):
            return (x - a) ** 2 * (1 + 0.3 * np.sin(b * x)) + abs(c) * abs(x) ** 1.5 + d * x

        expected = minimize_scalar(bumpy, bounds=(low, high), method="bounded", options={"xatol": tolerance}).x
        assert bounded_minimum(bumpy, low, high, tolerance=tolerance) == expected
