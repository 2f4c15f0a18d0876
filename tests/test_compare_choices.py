"""The metrics that a comparison can decide by: values as scikit-learn gives them, and scores without each group."""

import numpy as np
import pytest
from sklearn import metrics as sk

from foldstill.compare.choices import CHOICES, function_metric, metric_of
from foldstill.compare.left_out import row_values, scores_without_groups
from foldstill.compare.metrics import METRICS
from foldstill.compare.predictions import Predictions
from foldstill.errors import CompareError
from foldstill.testing import check_metric

N, CLASSES, GROUPS = 240, 4, 12
ALL = [metric() for metric in CHOICES] + [metric_of("top_1"), metric_of("top_2")]


@pytest.fixture
def hard(rng):
    """Labels, predictions without ties of the largest, and weights."""
    label = rng.integers(CLASSES, size=N)
    proba = rng.dirichlet(np.ones(CLASSES), N) * 0.7 + 0.3 * np.eye(CLASSES)[label]
    return label, proba, rng.uniform(0.2, 3, N)


@pytest.fixture
def soft(rng):
    target = rng.multinomial(5, rng.dirichlet(np.ones(CLASSES), N)) / 5
    proba = rng.dirichlet(np.ones(CLASSES), N) * 0.6 + 0.4 * target
    return Predictions.checked(target=target, proba=proba, weight=rng.uniform(0.2, 3, N))


def _sk_rmse(y, p, w):
    return np.sqrt(sk.mean_squared_error(y, p @ np.arange(p.shape[1]), sample_weight=w))


SCIKIT = {
    "log_loss": lambda y, p, w: sk.log_loss(y, p, sample_weight=w),
    "kl": lambda y, p, w: sk.log_loss(y, p, sample_weight=w),
    "brier": lambda y, p, w: sk.brier_score_loss(y, p, sample_weight=w, scale_by_half=False),
    "accuracy": lambda y, p, w: sk.accuracy_score(y, p.argmax(1), sample_weight=w),
    "balanced_accuracy": lambda y, p, w: sk.balanced_accuracy_score(y, p.argmax(1), sample_weight=w),
    "macro_f1": lambda y, p, w: sk.f1_score(y, p.argmax(1), average="macro", sample_weight=w),
    "auroc": lambda y, p, w: sk.roc_auc_score(y, p, multi_class="ovr", average="macro", sample_weight=w),
    "average_precision": lambda y, p, w: sk.average_precision_score(np.eye(CLASSES)[y], p, sample_weight=w),
    "quadratic_kappa": lambda y, p, w: sk.cohen_kappa_score(y, p.argmax(1), weights="quadratic", sample_weight=w),
    "ordinal_rmse": _sk_rmse,
    "top_1": lambda y, p, w: sk.top_k_accuracy_score(y, p, k=1, sample_weight=w),
    "top_2": lambda y, p, w: sk.top_k_accuracy_score(y, p, k=2, sample_weight=w),
}


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_on_hard_labels_every_metric_equals_that_of_scikit_learn(metric, hard):
    label, proba, weight = hard
    ours = metric.score(Predictions.checked(target=np.eye(CLASSES)[label], proba=proba, weight=weight))
    assert ours == pytest.approx(SCIKIT[metric.name](label, proba, weight), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("auroc", lambda y, p, w: sk.roc_auc_score(y, p, sample_weight=w)),
        ("average_precision", lambda y, p, w: sk.average_precision_score(y, p, sample_weight=w)),
        ("macro_f1", lambda y, p, w: sk.f1_score(y, p > 0.5, average="macro", sample_weight=w)),
        ("log_loss", lambda y, p, w: sk.log_loss(y, p, sample_weight=w)),
    ],
)
def test_on_two_classes_with_ties_they_equal_those_of_scikit_learn(name, reference, rng):
    label, weight = rng.integers(2, size=N), rng.uniform(0.2, 3, N)
    positive = np.round(rng.uniform(0.05, 0.7, N) + 0.25 * label, 1) + 0.01
    predictions = Predictions.checked(target=np.eye(2)[label], proba=np.c_[1 - positive, positive], weight=weight)
    assert metric_of(name).score(predictions) == pytest.approx(reference(label, positive, weight), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("log_loss", lambda y, p, w: sk.log_loss(y, p, sample_weight=w, labels=range(CLASSES))),
        (
            "auroc",
            lambda y, p, w: sk.roc_auc_score(y, p, multi_class="ovr", sample_weight=w, labels=range(CLASSES)),
        ),
        ("average_precision", lambda y, p, w: sk.average_precision_score(np.eye(CLASSES)[y], p, sample_weight=w)),
        ("top_2", lambda y, p, w: sk.top_k_accuracy_score(y, p, k=2, sample_weight=w, labels=range(CLASSES))),
    ],
)
def test_these_metrics_count_a_row_once_per_class_with_its_vote_share(name, reference, soft):
    label = np.tile(np.arange(CLASSES), N)
    weight = (soft.weight_N[:, None] * soft.target_NC).ravel()
    expected = reference(label, np.repeat(soft.proba_NC, CLASSES, axis=0), weight)
    assert metric_of(name).score(soft) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "macro_f1", "quadratic_kappa"])
def test_these_metrics_take_the_class_with_the_most_votes(name, soft):
    clear = np.sort(soft.target_NC, axis=1)[:, -1] > np.sort(soft.target_NC, axis=1)[:, -2]
    part = soft.take(clear)
    expected = SCIKIT[name](part.target_NC.argmax(1), part.proba_NC, part.weight_N)
    assert metric_of(name).score(part) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_every_choice_keeps_the_contract(metric):
    check_metric(metric)


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
@pytest.mark.parametrize("ties", [False, True])
def test_scores_without_each_group_are_those_of_the_other_rows(metric, ties, soft, rng):
    proba = soft.proba_NC if not ties else (np.round(soft.proba_NC, 1) + 0.05)
    proba = proba / proba.sum(axis=1, keepdims=True)
    predictions = Predictions(soft.target_NC, proba, soft.weight_N)
    group_N = rng.integers(GROUPS, size=N)
    expected = [metric.score(predictions.take(group_N != g)) for g in range(GROUPS)]
    assert scores_without_groups(metric, predictions, group_N) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["macro_f1", "auroc", "average_precision", "balanced_accuracy"])
def test_a_class_that_lives_in_one_group_leaves_the_mean_with_it(name, soft):
    group_N = np.arange(N) % GROUPS
    target_NC = np.where((group_N == 0)[:, None], np.eye(CLASSES)[3], np.eye(CLASSES)[np.arange(N) // GROUPS % 3])
    metric, predictions = metric_of(name), Predictions(target_NC, soft.proba_NC, soft.weight_N)
    expected = [metric.score(predictions.take(group_N != g)) for g in range(GROUPS)]
    assert scores_without_groups(metric, predictions, group_N) == pytest.approx(expected, abs=1e-12)


def test_values_per_row_give_the_score_and_the_steps_of_the_jackknife(soft, rng):
    group_N = rng.integers(GROUPS, size=N)
    weight_G = np.bincount(group_N, soft.weight_N)
    for metric in ALL:
        value_N = row_values(metric, soft, group_N)
        score = metric.score(soft)
        assert np.average(value_N, weights=soft.weight_N) == pytest.approx(score, abs=1e-12)
        left = soft.weight_N.sum() - weight_G
        mean_G = (soft.weight_N.sum() * score - np.bincount(group_N, soft.weight_N * value_N)) / left
        steps = score - scores_without_groups(metric, soft, group_N)
        # Both centre their steps at other points, which differ by the bias of the score, of order 1 / G.
        assert np.ptp(((score - mean_G) - steps) * left / weight_G) == pytest.approx(0, abs=1e-11), metric.name


def test_many_groups_of_a_costly_metric_are_left_out_in_blocks(rng):
    n = 1200
    positive = rng.uniform(0.05, 0.95, n)
    label = (rng.uniform(size=n) < positive).astype(int)
    predictions = Predictions.checked(target=np.eye(2)[label], proba=np.c_[1 - positive, positive])
    metric, calls = metric_of("average_precision"), []
    value_N = row_values(metric, predictions, np.arange(n))
    assert len(np.unique(value_N)) <= 500
    counted = function_metric(lambda y, p, w: calls.append(1) or metric.score(Predictions(y, p, w)), title="counted")
    assert row_values(counted, predictions, np.arange(n)) == pytest.approx(value_N, abs=1e-9)
    assert len(calls) == 501


def test_a_function_is_a_metric(soft, tmp_path):
    def misses(target_NC, proba_NC, weight_N):
        """Weighted share of missed votes."""
        return weight_N @ (1 - target_NC[range(len(target_NC)), proba_NC.argmax(1)]) / weight_N.sum()

    metric = function_metric(misses, better="low")
    assert (metric.name, metric.better, metric.summary) == ("misses", "low", "Weighted share of missed votes.")
    assert metric.score(soft) == pytest.approx(1 - metric_of("top_1").score(soft), abs=1e-12)
    check_metric(metric)
    code = "def hits(y, p, w):\n    return float(w @ y[range(len(y)), p.argmax(1)] / w.sum())\n"
    (tmp_path / "mine.py").write_text(code)
    assert metric_of(f"{tmp_path}/mine.py:hits").score(soft) == pytest.approx(metric_of("top_1").score(soft))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("f1", r"metric must be one of \['kl', .*got 'f1'"),
        ("top_0", "k of 1 or more"),
        ("no.py:f", "no file no.py, which the metric names"),
    ],
)
def test_a_metric_that_is_none_is_refused(value, message):
    with pytest.raises(CompareError, match=message):
        metric_of(value)


def test_a_function_that_gives_no_number_is_refused(soft, tmp_path):
    for result in (None, np.nan, np.ones(3)):
        with pytest.raises(CompareError, match="must return one finite number for 240 rows"):
            function_metric(lambda y, p, w, result=result: result, title="mine").score(soft)
    with pytest.raises(CompareError, match="better of metric 'mine' must be 'low' or 'high'"):
        function_metric(lambda y, p, w: 0.0, title="mine", better="one")
    (tmp_path / "bad.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(CompareError, match=r"bad\.py cannot be run \(ModuleNotFoundError"):
        metric_of(f"{tmp_path}/bad.py:f")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(CompareError, match=r"empty\.py has no function 'f'"):
        metric_of(f"{tmp_path}/empty.py:f")


def test_a_metric_without_a_score_for_these_rows_is_refused(soft):
    one_class = Predictions(np.eye(CLASSES)[np.zeros(N, int)], soft.proba_NC, soft.weight_N)
    with pytest.raises(CompareError, match=r"AUROC is not defined for these 240 rows"):
        row_values(metric_of("auroc"), one_class, np.arange(N))
    two = Predictions(np.eye(2)[(np.arange(N) < 20).astype(int)], np.full((N, 2), 0.5), soft.weight_N)
    with pytest.raises(CompareError, match=r"AUROC is not defined without 1 of 12 groups"):
        row_values(metric_of("auroc"), two, np.arange(N) // 20)


def test_names_are_different_and_metrics_of_both_tuples_agree():
    names = [metric.name for metric in CHOICES]
    assert len(set(names)) == len(names)
    assert all(metric in CHOICES for metric in METRICS if metric.name in names)
