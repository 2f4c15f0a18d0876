"""A comparison that decides by the user's metric: its values, intervals, direction, table, verdict and report."""

import json
from dataclasses import replace

import numpy as np
import pytest

import foldstill as fs
from foldstill.compare import Arm, Comparison, arms_table, compare, write_report
from foldstill.compare.choices import metric_of
from foldstill.compare.intervals import IntervalSettings, paired_intervals
from foldstill.compare.left_out import row_values, scores_without_groups
from foldstill.compare.predictions import Predictions
from foldstill.compare.settings import CompareSettings
from foldstill.compare.table import strata_table
from foldstill.data.labels import Labels
from foldstill.errors import CompareError
from foldstill.stacking.averages import Average
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.testing import synthetic_table

N, GROUPS = 360, 40
NAMES = ("accuracy", "balanced_accuracy", "macro_f1", "auroc", "average_precision", "quadratic_kappa", "ordinal_rmse")


@pytest.fixture
def labels(rng) -> Labels:
    truth = rng.dirichlet(np.ones(3) * 0.5, N)
    strata = np.where(np.arange(N) % GROUPS < 20, "few", "many")
    return replace(Labels.from_votes(rng.multinomial(4, truth), groups=np.arange(N) % GROUPS), stratum_N=strata)


@pytest.fixture
def arms(labels, rng) -> list[Arm]:
    """The average, a better arm and a worse one."""
    noise = rng.dirichlet(np.ones(3), N)
    mixed = {"average": 0.4, "better": 0.7, "worse": 0.1}
    kinds = {"average": "average", "better": "combination", "worse": "combination"}
    return [Arm(name, kinds[name], share * labels.target_NC + (1 - share) * noise) for name, share in mixed.items()]


def _by(name, arms, labels, **options) -> Comparison:
    return compare(arms, labels, settings=CompareSettings(metric=name), **options)


def _left_out(name, arm, labels) -> tuple[float, np.ndarray]:
    predictions = Predictions.checked(target=labels.target_NC, proba=arm.proba_NC)
    group_N = np.unique(labels.groups, return_inverse=True)[1]
    metric = metric_of(name)
    return metric.score(predictions), scores_without_groups(metric, predictions, group_N)


@pytest.mark.parametrize("name", NAMES)
def test_differences_are_those_of_the_metric_with_the_jackknife_over_groups(name, arms, labels):
    comparison = _by(name, arms, labels, intervals=IntervalSettings(method="jackknife_t"))
    high = metric_of(name).better == "high"
    base, base_G = _left_out(name, arms[0], labels)
    for arm in arms[1:]:
        score, score_G = _left_out(name, arm, labels)
        shown = comparison.shown[arm.name].difference
        assert comparison.metric.shown(comparison[arm.name].loss) == pytest.approx(score, abs=1e-9)
        assert shown.estimate == pytest.approx(score - base, abs=1e-9)
        step_G = (score - base) - (score_G - base_G)
        error = np.sqrt(((step_G - step_G.mean()) ** 2).sum() * (GROUPS - 1) / GROUPS)
        # All groups are of one size, so that centred steps are exactly those of the jackknife.
        half = (shown.high - shown.low) / 2
        freedom = min(1.5 * (step_G**2).sum() ** 2 / (step_G**4).sum(), GROUPS - 1)
        from scipy.special import stdtrit

        assert half == pytest.approx(stdtrit(freedom, 0.975) * error, rel=0.02)
        assert comparison[arm.name].difference.estimate == pytest.approx(-shown.estimate if high else shown.estimate)


@pytest.mark.parametrize("name", NAMES)
def test_the_better_arm_is_found_and_told_in_the_direction_of_the_metric(name, arms, labels, tmp_path):
    comparison = _by(name, arms, labels)
    metric = metric_of(name)
    assert [arm.name for arm in comparison.ranked()] == ["better", "average", "worse"]
    assert comparison.judgement.answer == "yes"
    assert comparison.judgement.recommended == "better"
    assert comparison.verdict.startswith("Stack: better beats plain averaging by 0.")
    assert metric.title in comparison.verdict
    assert "KL" not in comparison.verdict
    table = arms_table(comparison)
    column = {str(c.header): list(c.cells) for c in table.columns}
    sign = "+" if metric.better == "high" else "-"
    assert column["difference"][0].startswith(sign)
    assert float(column[metric.title][0]) == pytest.approx(comparison.metric.shown(comparison["better"].loss), abs=1e-3)
    assert f"decided by {metric.title}, {metric.better} values are better" in table.caption
    assert ("c0 < c1 < c2" in table.caption) == (name in ("quadratic_kappa", "ordinal_rmse"))
    write_report(comparison, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"Differences are {metric.title} minus that of the plain average" in text
    record = next(r for r in comparison.table() if r["arm"] == "better" and r["rows"] == "all")
    assert record[name] == pytest.approx(
        metric.score(Predictions.checked(target=labels.target_NC, proba=arms[1].proba_NC))
    )
    assert (record["difference"] > 0) == (metric.better == "high")


def test_strata_are_scored_on_their_own_rows(arms, labels):
    comparison = _by("auroc", arms, labels)
    for part in comparison.shown["better"].strata:
        rows = labels.stratum_N == part.stratum
        alone = _by("auroc", [replace(arm, proba_NC=arm.proba_NC[rows]) for arm in arms], labels.take(rows))
        assert part.scores["auroc"] == pytest.approx(alone["better"].scores["auroc"], abs=1e-12)
        assert part.difference.low == pytest.approx(alone.shown["better"].difference.low, abs=1e-9)
    assert strata_table(comparison).row_count == 2
    with pytest.raises(CompareError, match="AUROC is no mean over rows"):
        comparison.pair("better", "average", stratum="few")


def test_a_stratum_where_the_metric_is_not_defined_has_no_difference(arms, labels):
    strata = np.where(np.arange(N) % GROUPS < 2, "one class", "rest")
    votes = np.where((strata == "one class")[:, None], np.eye(3)[0], labels.votes_NC)
    odd = replace(Labels.from_votes(votes, groups=labels.groups), stratum_N=strata)
    comparison = _by("auroc", arms, odd)
    assert [part.difference is None for part in comparison["better"].strata] == [True, False]
    assert strata_table(comparison).row_count == 2


def test_a_comparison_by_a_metric_is_written_and_read(arms, labels, tmp_path):
    comparison = _by("macro_f1", arms, labels)
    comparison.write(tmp_path)
    again = Comparison.read(tmp_path)
    assert again.verdict == comparison.verdict
    assert again.metric == comparison.metric
    assert again.pair("better", "average") == comparison.pair("better", "average")


def test_log_loss_differences_are_those_of_kl(arms, labels):
    kl, log_loss = (_by(name, arms, labels)["better"].difference for name in ("kl", "log_loss"))
    assert (kl.estimate, kl.low, kl.high) == pytest.approx((log_loss.estimate, log_loss.low, log_loss.high))


def test_the_default_is_kl_and_a_name_of_it_changes_nothing(arms, labels):
    by_name, default = _by("kl", arms, labels), compare(arms, labels)
    assert by_name.verdict == default.verdict
    assert np.array_equal(by_name.row_loss_NA, default.row_loss_NA)


def test_a_students_seeds_are_compared_by_the_metric(arms, labels, rng):
    def student(name, kind, share):
        seeds = [share * labels.target_NC + (1 - share) * rng.dirichlet(np.ones(3), N) for _ in range(3)]
        return Arm(name, kind, seeds[0], further_seeds=tuple(seeds[1:]))

    pair = [student("student", "student", 0.6), student("student without teacher", "student_without_teacher", 0.2)]
    comparison = _by("accuracy", [*arms, *pair], labels)
    assert comparison.seeds_improved("student") == "3 of 3"
    assert len(comparison["student"].loss_by_seed) == 3
    assert "The student's accuracy is above that of the plain average" in comparison.verdict
    assert "its teacher is worth 0." in comparison.verdict


def test_a_function_of_the_users_decides(arms, labels):
    def cost(target_NC, proba_NC, weight_N):
        return float(weight_N @ np.abs(target_NC - proba_NC).sum(axis=1) / weight_N.sum())

    cost.better = "low"
    comparison = _by(cost, arms, labels)
    assert comparison.judgement.recommended == "better"
    assert "cost" in comparison.verdict
    table = synthetic_table()
    stacked = fs.stack(table, [Average(), Recalibrated()])
    assert stacked.compare(metric=cost).metric.name == "cost"
    assert stacked.compare(metric="auroc").metric.title == "AUROC"


@pytest.mark.parametrize("value", ["f1", "top_0", 3])
def test_a_metric_that_is_none_is_refused_with_the_settings(value):
    with pytest.raises((CompareError, TypeError), match=r"metric|top-k"):
        CompareSettings(metric=value)


def test_a_metric_without_a_direction_cannot_decide(arms, labels):
    from foldstill.compare.metrics import Slope

    with pytest.raises(CompareError, match="'slope' is best near one, so it cannot decide"):
        _by(Slope(), arms, labels)


def test_the_command_line_and_the_experiment_name_a_metric(tmp_path, monkeypatch, labels):
    from typer.testing import CliRunner

    from foldstill.cli.app import app

    monkeypatch.chdir(tmp_path)
    table = synthetic_table()
    fs.write_table(table, "oof.parquet")
    invoke = CliRunner().invoke
    assert (
        invoke(app, ["stack", "oof.parquet", "--out", "run", "--combiner", "average", "-q", "--workers", "1"]).exit_code
        == 0
    )
    done = invoke(app, ["compare", "run", "--metric", "balanced_accuracy"])
    assert done.exit_code == 0, done.output
    assert "balanced" in done.output
    assert json.loads((tmp_path / "run" / "comparison.json").read_text())["metric"]["name"] == "balanced_accuracy"
    (tmp_path / "mine.py").write_text("def share(y, p, w):\n    return float(w @ (y * p).sum(axis=1) / w.sum())\n")
    assert invoke(app, ["compare", "run", "--metric", "mine.py:share"]).exit_code == 0
    with pytest.raises(CompareError, match=r"metric must be one of"):
        invoke(app, ["compare", "run", "--metric", "f1"], catch_exceptions=False)


def _population(rng, n_groups):
    """Labels and scores of two arms; groups differ in how hard they are and how often they have the class."""
    groups = np.repeat(np.arange(n_groups), 6)
    hard, odds = rng.uniform(0.3, 3, n_groups)[groups], rng.normal(-0.5, 1, n_groups)[groups]
    label = rng.random(len(groups)) < 1 / (1 + np.exp(-odds))
    logit = [odds + (2 * label - 1) / hard * gain + rng.normal(size=len(groups)) for gain in (0.7, 1.0)]
    return groups, np.eye(2)[label.astype(int)], [1 / (1 + np.exp(-x)) for x in logit]


@pytest.mark.parametrize("name", ["auroc", "macro_f1", "average_precision"])
@pytest.mark.parametrize("method", ["jackknife_t", "jackknife_sides"])
def test_intervals_of_differences_cover_the_truth(name, method, rng):
    """200 data sets of 60 groups: of nominal 95 % intervals at least 91 % must cover, 2.6 standard errors below."""
    metric = metric_of(name)

    def values(n_groups):
        groups, target, arms = _population(rng, n_groups)
        parts = [Predictions(target, np.c_[1 - p, p], np.ones(len(p))) for p in arms]
        return groups, [row_values(metric, part, groups) for part in parts]

    _, (low, high) = values(4000)
    truth = (high - low).mean()
    covered = []
    for _ in range(200):
        groups, (a, b) = values(60)
        [interval] = paired_intervals((b - a)[:, None], groups, settings=IntervalSettings(method=method))
        covered.append(interval.low <= truth <= interval.high)
    print(f"{name}, {method}: {np.mean(covered):.3f}")
    assert np.mean(covered) >= 0.91
