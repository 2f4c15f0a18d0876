"""Whether uncertainty foretells error, as one number."""

import numpy as np
import pytest

from foldstill.compare import scores
from foldstill.compare.rejection import rejection_curve
from foldstill.errors import CompareError


def test_rejection_by_the_error_itself_is_perfect_and_random_rejection_gains_nothing(rng):
    error = rng.random(5000)
    assert rejection_curve(error, error).prediction_rejection_ratio == pytest.approx(1)
    assert rejection_curve(error, -error).prediction_rejection_ratio == pytest.approx(-1, abs=0.05)
    assert rejection_curve(error, rng.random(5000)).prediction_rejection_ratio == pytest.approx(0, abs=0.05)
    assert rejection_curve(error, np.zeros(5000)).prediction_rejection_ratio == pytest.approx(0)


def test_the_area_under_the_risk_curve_equals_that_of_a_loop():
    error, uncertainty = np.array([0.0, 1.0, 1.0, 0.0]), np.array([0.1, 0.9, 0.2, 0.3])
    order = np.argsort(uncertainty)
    risks = [error[order[:k]].mean() for k in range(1, 5)]
    curve = rejection_curve(error, uncertainty)
    np.testing.assert_allclose(curve.risk_N, risks)
    assert curve.area == pytest.approx(np.mean(risks))


def test_equal_errors_make_no_curve():
    with pytest.raises(CompareError, match="all alike"):
        rejection_curve(np.zeros(4), np.arange(4.0))


def test_rows_without_weight_do_not_count_and_weights_act_like_repeated_rows(rng):
    error, uncertainty, times = rng.random(200), np.round(rng.random(200), 1), np.arange(200) % 3
    weighted = rejection_curve(error, uncertainty, weight_N=times)
    repeated = rejection_curve(np.repeat(error, times), np.repeat(uncertainty, times))
    assert weighted.prediction_rejection_ratio == pytest.approx(repeated.prediction_rejection_ratio, abs=1e-9)
    assert weighted.area == pytest.approx(repeated.area, abs=0.01)


def test_every_arm_is_scored_by_the_entropy_of_its_own_prediction(rng):
    target = np.eye(3)[rng.integers(3, size=400)]
    knows = np.where(rng.random((400, 1)) < 0.5, 0.9 * target + 1 / 30, 1 / 3)
    scored = scores(target=target, proba=knows)
    assert scored["prr"] == pytest.approx(1)
    assert scored["aurc"] < scored["kl"]
    undecided = scores(target=rng.dirichlet(np.ones(3), 400), proba=np.full((400, 3), 1 / 3))
    assert undecided["prr"] == pytest.approx(0, abs=1e-9)
    even = scores(target=np.full((4, 2), 0.5), proba=np.full((4, 2), 0.5))
    assert even["prr"] is None
    assert even["aurc"] is None
