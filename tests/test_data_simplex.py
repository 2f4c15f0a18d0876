import numpy as np
import pytest

from foldstill.data.simplex import EPS, check_rows, clip_rows, kl_divergence, row_kl, softmax
from foldstill.errors import DataError


def test_a_perfect_prediction_scores_exactly_zero():
    """A reference evaluation gave 0.90: its arguments were swapped, and it took a softmax of probabilities."""
    proba = [[0.2, 0.3, 0.5], [0.0, 1.0, 0.0]]
    assert kl_divergence(target=proba, proba=proba) == 0.0


def test_kl_is_what_ten_lines_of_numpy_say(rng):
    target, proba = rng.dirichlet(np.ones(4), 50), rng.dirichlet(np.ones(4), 50)
    weight = rng.random(50)
    expected = 0.0
    for y, p, w in zip(target, proba, weight, strict=True):
        expected += w * sum(yi * (np.log(yi) - np.log(pi)) for yi, pi in zip(y, p, strict=True) if yi > 0)
    assert kl_divergence(target=target, proba=proba, weight=weight) == pytest.approx(expected / weight.sum(), rel=1e-12)


def test_the_two_directions_differ_so_the_arguments_are_keyword_only():
    """A reference project passed (prediction, target) into a function of (target, logits), and published the result."""
    target, proba = [[0.9, 0.1]], [[0.5, 0.5]]
    assert kl_divergence(target=target, proba=proba) != pytest.approx(kl_divergence(target=proba, proba=target))
    with pytest.raises(TypeError, match="positional"):
        kl_divergence(target, proba)


def test_a_probability_of_zero_is_floored_once():
    assert kl_divergence(target=[[1.0, 0.0]], proba=[[0.0, 1.0]]) == pytest.approx(-np.log(EPS))


@pytest.mark.parametrize(
    ("proba", "message"),
    [
        ([[2.0, -1.0]], "look like logits"),
        ([[0.5, 0.4]], "rows must sum to 1, 1 of 1 do not"),
        ([[np.nan, 1.0]], "row 0 holds NaN"),
        ([3.0, 4.0], "must be at least two-dimensional"),
        ([[3, 1]], "look like logits or counts"),
    ],
)
def test_what_is_no_distribution_is_refused(proba, message):
    with pytest.raises(DataError, match=message):
        check_rows(proba, "scores")


def test_shapes_that_differ_are_refused_not_broadcast():
    with pytest.raises(DataError, match=r"same shape"):
        kl_divergence(target=[[0.5, 0.5]], proba=[[0.5, 0.5], [0.5, 0.5]])


def test_float16_rows_are_inside_the_tolerance(rng):
    proba = rng.dirichlet(np.ones(6), 200).astype(np.float16)
    assert check_rows(proba, "scores").dtype == np.float16


def test_clipped_rows_sum_to_one_and_have_finite_logarithms():
    clipped = clip_rows(np.array([[0.0, 1.0], [0.5, 0.5]], dtype=np.float32))
    assert clipped.dtype == np.float64
    assert np.allclose(clipped.sum(axis=1), 1, atol=1e-15)
    assert np.isfinite(np.log(clipped)).all()


def test_softmax_survives_large_logits():
    assert softmax(np.array([[1000.0, 0.0]])).tolist() == [[1.0, 0.0]]


def test_row_kl_broadcasts_one_target_over_members(rng):
    target, proba = rng.dirichlet(np.ones(3), 5), rng.dirichlet(np.ones(3), (5, 4))
    found = row_kl(target=target[:, None], proba=proba)
    assert found.shape == (5, 4)
    assert found[2, 3] == pytest.approx(kl_divergence(target=target[[2]], proba=proba[[2], 3]))
