import numpy as np
import pytest

from foldstill.compare import noise_floor, scores
from foldstill.compare.auroc import class_auroc
from foldstill.compare.calibration import Halves, calibration_slope, reliability
from foldstill.compare.floor import floor_bounds, floor_parts
from foldstill.compare.metrics import METRICS, ROW_LOSSES, scores_of
from foldstill.compare.predictions import Predictions
from foldstill.compare.row_losses import row_accuracy, row_class_kl
from foldstill.data.simplex import row_kl, softmax
from foldstill.errors import FoldstillError
from foldstill.testing import check_metric


@pytest.fixture
def soft(rng):
    """Vote shares of 300 rows with 4 classes, and a prediction."""
    target = rng.multinomial(7, rng.dirichlet(np.ones(4), 300)) / 7
    return target, rng.dirichlet(np.ones(4), 300) * 0.7 + target * 0.3


def test_scores_per_row_equal_those_of_ten_lines_of_numpy(soft):
    target, proba = soft
    ours = scores(target=target, proba=proba)
    kl = brier = right = loss = claimed = 0.0
    for y, p in zip(target, proba, strict=True):
        kl += sum(a * np.log(a / b) for a, b in zip(y, p, strict=True) if a > 0)
        loss -= (y * np.log(p)).sum()
        claimed -= (p * np.log(p)).sum()
        brier += ((y - p) ** 2).sum()
        top = np.flatnonzero(y == y.max())
        right += (p.argmax() in top) / len(top)
    expected = {"kl": kl, "log_loss": loss, "brier": brier, "accuracy": right, "entropy_excess": loss - claimed}
    for name, total in expected.items():
        assert ours[name] == pytest.approx(total / len(target), abs=1e-12), name
    assert list(ours) == [metric.name for metric in METRICS]


def test_on_hard_labels_auroc_equals_that_of_scikit_learn(rng):
    from sklearn.metrics import roc_auc_score

    label = rng.integers(3, size=200)
    proba = np.round(rng.dirichlet(np.ones(3), 200) + 0.3 * np.eye(3)[label], 1) + 1e-3  # with ties
    proba /= proba.sum(axis=1, keepdims=True)
    weight = rng.uniform(0.2, 3, 200)
    ours = class_auroc(target=np.eye(3)[label], proba=proba, weight=weight)
    for c in range(3):
        assert ours[c] == pytest.approx(roc_auc_score(label == c, proba[:, c], sample_weight=weight), abs=1e-12)


def test_soft_auroc_equals_that_of_rows_split_into_a_positive_and_a_negative(soft):
    from sklearn.metrics import roc_auc_score

    target, proba = soft
    truth, score = np.repeat([1, 0], 300), np.tile(proba[:, 1], 2)
    expected = roc_auc_score(truth, score, sample_weight=np.r_[target[:, 1], 1 - target[:, 1]])
    assert class_auroc(target=target, proba=proba)[1] == pytest.approx(expected, abs=1e-12)


def test_a_class_without_votes_has_no_auroc_and_does_not_change_the_mean(soft):
    target, proba = soft
    wider = [np.pad(a, ((0, 0), (0, 1))) for a in (target, proba)]
    assert np.isnan(class_auroc(target=wider[0], proba=wider[1])[-1])
    ours = scores(target=wider[0], proba=wider[1])
    assert ours["auroc"] == pytest.approx(scores(target=target, proba=proba)["auroc"], abs=1e-12)


def test_a_perfect_prediction_scores_zero(soft):
    target, _ = soft
    ours = scores(target=target, proba=target)
    assert [ours[name] for name in ("kl", "brier", "ece", "class_ece")] == [0, 0, 0, 0]


def test_weights_act_like_repeated_rows(soft):
    target, proba = soft
    times = np.arange(300) % 3 + 1
    weighted = scores(target=target, proba=proba, weight=times)
    repeated = scores(target=np.repeat(target, times, axis=0), proba=np.repeat(proba, times, axis=0))
    for name in ("kl", "log_loss", "brier", "accuracy", "auroc", "slope", "entropy_excess"):
        assert weighted[name] == pytest.approx(repeated[name], abs=1e-9), name


@pytest.mark.parametrize(
    ("votes", "proba", "credit"),
    [
        ([0.5, 0.5, 0], [0.6, 0.3, 0.1], 1 / 2),
        ([0.5, 0.5, 0], [0.1, 0.3, 0.6], 0),
        ([0.2, 0.8, 0], [0.4, 0.4, 0.2], 1 / 2),
        ([0.2, 0.8, 0], [0.1, 0.7, 0.2], 1),
    ],
)
def test_ties_share_the_credit(votes, proba, credit):
    assert row_accuracy(target=np.array([votes]), proba=np.array([proba]))[0] == pytest.approx(credit)


def test_class_parts_of_kl_are_never_negative_and_sum_to_it(soft):
    target, proba = soft
    parts = row_class_kl(target=target, proba=proba)
    assert parts.min() >= 0
    assert parts.sum(axis=1).mean() == pytest.approx(scores(target=target, proba=proba)["kl"], abs=1e-12)


def test_calibration_error_equals_the_textbook_formula_on_bins_of_equal_mass(soft):
    target, proba = soft
    top = proba.argmax(axis=1)
    confidence, share = proba.max(axis=1), target[np.arange(300), top]
    bins = np.array_split(np.argsort(confidence, kind="stable"), 15)
    expected = sum(len(b) / 300 * abs(confidence[b].mean() - share[b].mean()) for b in bins)
    assert scores(target=target, proba=proba)["ece"] == pytest.approx(expected, abs=1e-12)


def test_equal_predictions_share_a_bin_whatever_the_order_of_rows(rng):
    predicted = np.repeat([0.2, 0.9], 100)
    observed = rng.uniform(size=200)
    shuffled = rng.permutation(200)
    one = reliability(predicted_N=predicted, observed_N=observed)
    other = reliability(predicted_N=predicted[shuffled], observed_N=observed[shuffled])
    assert [b.predicted for b in one] == pytest.approx([0.2, 0.9])
    assert [b.observed for b in one] == pytest.approx([b.observed for b in other])


def test_bins_follow_the_middle_of_the_mass_of_rows_with_ties_and_weights(rng):
    """The reference assigns every row to a bin; the code looks for the edges of the bins alone."""
    for ties in (5, 40, 1000):
        predicted, observed, weight = rng.integers(ties, size=200) / ties, rng.random(200), rng.integers(4, size=200)
        order = np.argsort(predicted, kind="stable")
        before = np.cumsum(weight[order]) - weight[order]
        first = np.searchsorted(predicted[order], predicted[order])
        bin_N = ((before[first] + weight[order][first] / 2) / weight.sum() * 15).astype(int)
        expected = [
            (np.average(predicted[order][at], weights=w), np.average(observed[order][at], weights=w), w.sum())
            for b in range(15)
            if (w := weight[order][(at := bin_N == b)]).sum() > 0
        ]
        bins = reliability(predicted_N=predicted, observed_N=observed, weight=weight.astype(float))
        np.testing.assert_allclose(
            [(b.predicted, b.observed, b.share * weight.sum()) for b in bins], expected, atol=1e-12
        )


def test_each_half_of_the_rows_is_calibrated_by_the_best_temperature_of_the_other(rng):
    """A fine grid of temperatures in place of derivatives; some rows have no weight."""
    target, log_NC = rng.dirichlet(np.ones(3), 500), np.log(rng.dirichlet(np.ones(3), 500))
    weight = rng.integers(3, size=500).astype(float)
    halves = Halves.of(target, weight)
    slope_2 = halves.slopes(log_NC)
    grid = np.linspace(0, 1, 20_001)
    for half in (0, 1):
        at = (halves.half_N == half) & (weight > 0)
        wanted = (weight[at] * (target[at] * log_NC[at]).sum(axis=1)).sum()
        loss = [weight[at] @ np.log(np.exp(s * log_NC[at]).sum(axis=1)) - s * wanted for s in grid[::100]]
        near = grid[::100][np.argmin(loss)]
        fine = grid[np.abs(grid - near) <= 0.005]
        loss = [weight[at] @ np.log(np.exp(s * log_NC[at]).sum(axis=1)) - s * wanted for s in fine]
        assert slope_2[half] == pytest.approx(fine[np.argmin(loss)], abs=6e-5)
    calibrated = softmax(slope_2[1 - halves.half_N][:, None] * log_NC)
    expected = np.average(row_kl(target=target, proba=calibrated), weights=weight)
    assert halves.calibrated_kl(log_NC, slope_2) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("power", [0.4, 1.0, 2.5])
def test_the_calibration_slope_recovers_the_power_of_the_prediction(rng, power):
    truth = rng.dirichlet(np.ones(5), 400)
    proba = truth ** (1 / power)
    proba /= proba.sum(axis=1, keepdims=True)
    assert calibration_slope(target=truth, proba=proba) == pytest.approx(power, rel=1e-3)  # the clip at EPS shows


def test_the_slope_of_a_useless_prediction_stays_finite(rng):
    truth = rng.dirichlet(np.ones(3), 50)
    assert calibration_slope(target=truth, proba=np.full((50, 3), 1 / 3)) == 1.0
    assert 0 <= calibration_slope(target=truth, proba=np.eye(3)[rng.integers(3, size=50)]) <= 20


def test_the_noise_floor_equals_the_score_of_the_truth(rng):
    blurred = rng.dirichlet(2 * np.ones(4), 4000)
    gamma = rng.standard_gamma(8.0 * blurred)
    truth = gamma / gamma.sum(axis=1, keepdims=True)
    total = rng.integers(2, 12, 4000)
    votes = rng.multinomial(total, truth).astype(float)
    reached = row_kl(target=votes / total[:, None], proba=truth).mean()
    floor = noise_floor(votes, blurred)
    assert floor.mean() == pytest.approx(reached, rel=0.05)
    # The prediction that knows less than the truth is above the floor.
    assert row_kl(target=votes / total[:, None], proba=blurred).mean() > 1.2 * floor.mean()


@pytest.mark.parametrize("votes", [2, 5, 20])
def test_the_noise_floor_is_near_the_truth_for_flat_predictions_that_know_little(rng, votes):
    """A model of the truth around such predictions alone gives 0.6 of it."""
    logits = 1.5 * rng.standard_normal((4000, 3))
    truth, proba = softmax(logits), softmax(0.7 * (logits + 2 * rng.standard_normal((4000, 3))))
    drawn = rng.multinomial(votes, truth)
    reached = row_kl(target=drawn / votes, proba=truth).mean()
    assert noise_floor(drawn.astype(float), proba).mean() == pytest.approx(reached, rel=0.07)


@pytest.mark.parametrize(("spread", "votes"), [(0.7, 3), (3.0, 3), (3.0, 10)])
def test_the_bounds_of_the_noise_floor_hold_the_truth_where_the_estimate_is_too_low(rng, spread, votes):
    """Of six classes and sure truths (spread 3) the estimate is 0.86 to 0.89 of the truth."""
    logits = spread * rng.standard_normal((4000, 6))
    truth, proba = softmax(logits), softmax(0.7 * (logits + rng.standard_normal((4000, 6))))
    reached = np.mean([row_kl(target=rng.multinomial(votes, truth) / votes, proba=truth).mean() for _ in range(5)])
    low, high = floor_bounds(*floor_parts(rng.multinomial(votes, truth).astype(float), proba, None), np.ones(4000))
    assert low < reached < high < 1.35 * low


def test_with_one_vote_per_row_there_is_no_noise_floor(rng):
    votes = np.eye(3)[rng.integers(3, size=200)]
    assert noise_floor(votes, np.full((200, 3), 1 / 3)) is None


@pytest.mark.parametrize(
    ("target", "proba", "message"),
    [
        ([[0.5, 0.5]], [[3.0, -1.0]], "logits"),
        ([[2, 3]], [[0.5, 0.5]], "divide votes"),
        ([[0.5, 0.5]], [[0.5, 0.5], [1, 0]], "align"),
        ([[0.5, 0.5]], [[0.5, np.nan]], "finite"),
    ],
)
def test_logits_counts_and_shapes_that_differ_are_refused(target, proba, message):
    with pytest.raises(FoldstillError, match=message):
        scores(target=target, proba=proba)


def test_target_and_prediction_cannot_be_swapped_by_position(soft):
    with pytest.raises(TypeError, match="positional"):
        scores(*soft)


LOOSE = {"calibrated_kl": 0.01, "ece": 0.02, "class_ece": 0.02, "aurc": 0.01}
"""Metrics that split rows by position or sort them into bins: rows that move change them a little."""


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_keeps_the_contract(metric):
    check_metric(metric(), tolerance=LOOSE.get(metric.name, 1e-9))


class HitRate:
    """A metric of a user."""

    name, title, better = "hits", "hit rate", "high"
    summary = "share of rows whose predicted class is the first of those with the most votes"

    def score(self, predictions):
        top_N = predictions.target_NC.argmax(axis=1)
        return predictions.mean((predictions.proba_NC.argmax(axis=1) == top_N).astype(float))


def changed(**members):
    return type("Changed", (HitRate,), members)()


def test_a_metric_that_a_user_writes_keeps_the_contract():
    check_metric(HitRate())


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (changed(title=""), "needs a title"),
        (changed(better="most"), "better must be one of"),
        (changed(better="low"), "a perfect prediction must score best"),
        (changed(score=lambda self, p: float(p.proba_NC[0, 0])), "perfect prediction|order of rows"),
        (changed(score=lambda self, p: float((p.kl_N < 0.1).mean())), "a weight of 2 must count like a repeated row"),
        (changed(score=lambda self, p: None), "must be a finite number, got None"),
        (changed(score=lambda self, p: -float("inf") if p.kl_N.max() > 10 else -p.mean(p.kl_N)), "got -inf for"),
    ],
)
def test_a_metric_that_breaks_the_contract_is_refused_with_the_reason(metric, message):
    with pytest.raises(AssertionError, match=message):
        check_metric(metric)


def test_scores_of_some_rows_reuse_values_that_were_computed_for_all_rows(soft):
    target, proba = soft
    predictions = Predictions.checked(target=target, proba=proba, weight=np.arange(300) % 2)
    before = scores_of(predictions)
    part = predictions.take(np.arange(300) % 3 == 0)
    np.testing.assert_array_equal(part.__dict__["kl_N"], predictions.kl_N[::3])
    assert scores_of(part) == pytest.approx(
        scores(target=target[::3], proba=proba[::3], weight=(np.arange(300) % 2)[::3])
    )
    assert before["kl"] == predictions.mean(predictions.kl_N)


def test_row_losses_are_metrics_whose_score_is_the_mean_of_their_rows(soft):
    target, proba = soft
    predictions = Predictions.checked(target=target, proba=proba)
    for loss in ROW_LOSSES:
        assert loss in METRICS
        assert loss.unit.endswith("per row")
        assert loss().score(predictions) == pytest.approx(loss().rows(predictions).mean())


def test_the_noise_floor_of_a_large_table_is_the_same_block_by_block(rng, monkeypatch):
    truth = rng.dirichlet(np.ones(3), 400)
    votes = rng.multinomial(rng.integers(2, 12, 400), truth).astype(float)
    whole = noise_floor(votes, truth)
    monkeypatch.setattr("foldstill.data.simplex.BLOCK", 24 * 100)  # 100 of 400 rows a block
    np.testing.assert_allclose(noise_floor(votes, truth), whole, rtol=1e-12)
