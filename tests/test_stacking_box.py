"""Quadratic functions on boxes, against SciPy's least squares."""

import numpy as np
from scipy.optimize import lsq_linear, nnls

from foldstill.stacking.box import box_minimum


def problem(rng, n):
    root = rng.normal(size=(n + 3, n)) * rng.uniform(0.2, 5, n)
    right = rng.normal(size=n + 3)
    return root, right, root.T @ root, -root.T @ right


def test_weights_of_zero_or_more_are_those_of_non_negative_least_squares(rng):
    for n in (1, 2, 7, 40):
        root, right, hessian, gradient = problem(rng, n)
        found = box_minimum(hessian, gradient, np.zeros(n), np.full(n, np.inf))
        np.testing.assert_allclose(found, nnls(root, right)[0], atol=1e-9)


def test_both_bounds_hold_and_the_value_is_the_lowest(rng):
    for n in (1, 3, 12):
        root, right, hessian, gradient = problem(rng, n)
        low, high = -rng.uniform(0, 0.3, n), rng.uniform(0, 0.3, n)
        found = box_minimum(hessian, gradient, low, high)
        expected = lsq_linear(root, right, (low, high), method="bvls", tol=1e-14).x
        assert ((found >= low) & (found <= high)).all()
        np.testing.assert_allclose(found, expected, atol=1e-8)


def test_columns_that_are_nearly_equal_do_not_run_forever(rng):
    root = np.repeat(rng.normal(size=(30, 4)), 3, axis=1) + 1e-7 * rng.normal(size=(30, 12))
    hessian, gradient = root.T @ root + 1e-9 * np.eye(12), -root.T @ rng.normal(size=30)
    found = box_minimum(hessian, gradient, np.zeros(12), np.full(12, np.inf))
    slope = gradient + hessian @ found
    assert (found >= 0).all()
    assert slope.min() > -1e-6
    assert np.abs(slope[found > 1e-6]).max(initial=0.0) < 1e-6
