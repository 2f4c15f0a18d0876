"""Combiners that decide by a metric, or are fitted to it."""

from dataclasses import replace

import numpy as np
import pytest

import foldstill as fs
from foldstill.compare.choices import metric_of
from foldstill.compare.predictions import Predictions
from foldstill.data.labels import Labels
from foldstill.errors import CompareError, StackError
from foldstill.oof.table import OOFTable
from foldstill.stacking import crossfit, default_combiners
from foldstill.stacking.auto import Auto
from foldstill.stacking.averages import Average
from foldstill.stacking.convex import Convex
from foldstill.stacking.greedy import Greedy
from foldstill.stacking.kinds import deciding_by
from foldstill.stacking.metric_search import class_weights, improved_weights, metric_loss
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.stacking.thresholded import Thresholded

N = 600


@pytest.fixture
def table(rng) -> OOFTable:
    """A rare class, two members that rank it (one of them miscalibrated), and one of noise."""
    positive_N = rng.random(N) < 0.12
    signal_N = positive_N * 1.5 + rng.normal(size=N)
    logit_NM = np.stack([signal_N - 3, 4 * signal_N - 20, rng.normal(size=N)], axis=1)
    logit_NM += 0.3 * rng.normal(size=logit_NM.shape)
    proba_NM = np.clip(1 / (1 + np.exp(-logit_NM)), 1e-4, 1 - 1e-4)
    groups = np.arange(N) // 4
    return fs.oof_table(proba_NM[:, :, None], positive_N.astype(int), groups=groups, folds=groups % 5)


def _score(name: str, proba_NC: np.ndarray, table: OOFTable) -> float:
    return metric_of(name).score(Predictions(table.labels.target_NC, proba_NC, table.labels.sample_weight_N))


def _fitted(combiner, table) -> np.ndarray:
    return combiner.fit(table)(table.proba_NMC)


@pytest.mark.parametrize("name", ["auroc", "macro_f1", "quadratic_kappa", "average_precision"])
@pytest.mark.parametrize("combiner", [Convex(), Greedy(picks=20, bags=1)], ids=["convex", "greedy"])
def test_weights_fitted_to_a_metric_score_better_by_it_than_those_of_kl(combiner, name, table):
    by_metric = replace(combiner, metric=name)
    assert _score(name, _fitted(by_metric, table), table) > _score(name, _fitted(combiner, table), table) - 1e-12
    weight_M = by_metric.fit(table).weight_M
    assert weight_M.min() >= 0
    assert weight_M.sum() == pytest.approx(1)


@pytest.mark.parametrize("combiner", [Convex(), Greedy(picks=20, bags=3)], ids=["convex", "greedy"])
def test_weights_by_log_loss_are_those_of_kl(combiner, table):
    weights = [replace(combiner, metric=name).fit(table).weight_M for name in ("kl", "log_loss")]
    assert np.array_equal(*weights)


def test_the_coordinate_search_finds_the_best_weights_of_a_grid(table):
    proba_DNC = np.moveaxis(table.proba_NMC, 1, 0)[:2]
    loss = metric_loss("brier", table)
    weight_D = improved_weights(proba_DNC, np.array([0.5, 0.5]), loss)
    grid = np.linspace(0, 1, 101)
    best = min(loss(np.tensordot(np.array([w, 1 - w]), proba_DNC, 1)) for w in grid)
    assert loss(np.tensordot(weight_D, proba_DNC, 1)) == pytest.approx(best, abs=2e-4)


def test_class_weights_find_the_threshold_of_a_rare_class(table):
    proba_NC = table.proba_NMC[:, 0].astype(np.float64)
    loss = metric_loss("macro_f1", table)
    weight_C = class_weights(proba_NC, loss)
    from sklearn.metrics import f1_score

    label_N = table.labels.target_NC[:, 1]
    best = max(f1_score(label_N, proba_NC[:, 1] > t, average="macro") for t in np.unique(proba_NC[:, 1])[:-1])
    untuned = f1_score(label_N, proba_NC[:, 1] > 0.5, average="macro")
    tuned = _score("macro_f1", proba_NC * weight_C, table)
    assert untuned + 0.1 < tuned <= best + 1e-9
    assert tuned == pytest.approx(best, abs=0.03)
    assert weight_C.prod() == pytest.approx(1)


def test_tuned_thresholds_help_on_groups_that_they_did_not_see(table):
    plain = _score("balanced_accuracy", crossfit(Average(), table).proba_NC, table)
    tuned = _score("balanced_accuracy", crossfit(Thresholded(metric="balanced_accuracy"), table).proba_NC, table)
    assert tuned > plain + 0.05


def test_thresholds_never_see_the_held_out_fold(table):
    held = table.fold_N == 2
    votes = np.where(held[:, None], table.labels.votes_NC[:, ::-1], table.labels.votes_NC)
    changed = replace(table, labels=replace(table.labels, votes_NC=votes))
    combiner = Thresholded(metric="macro_f1")
    before, after = (crossfit(combiner, one).proba_NC for one in (table, changed))
    assert np.array_equal(before[held], after[held])


def test_auto_decides_by_the_metric(table):
    ladder = (Recalibrated(), Thresholded(metric="balanced_accuracy"))
    by_kl = Auto(ladder=ladder).fit(table)
    by_metric = Auto(ladder=ladder, metric="balanced_accuracy").fit(table)
    assert by_kl.choice == "recalibrated"
    assert by_metric.choice == "thresholded"
    assert by_metric.explanation.startswith("thresholded chosen: +0.")
    assert "balanced accuracy [+0." in by_metric.explanation


def test_auto_by_a_ranking_does_not_leave_the_average_for_its_calibration(table):
    assert Auto(ladder=(Recalibrated(),)).fit(table).index == 1
    assert Auto(ladder=(Recalibrated(),), metric="auroc").fit(table).index == 0


def test_auto_decides_by_a_row_loss_of_the_users(table):
    class Squared:
        name, title, better, unit = "squared", "squared error", "low", "per row"
        summary = "squared error of the second class"

        def rows(self, predictions):
            return (predictions.target_NC[:, 1] - predictions.proba_NC[:, 1]) ** 2

        def score(self, predictions):
            return predictions.mean(self.rows(predictions))

    own = Auto(ladder=(Recalibrated(),), metric=Squared()).fit(table)
    brier = Auto(ladder=(Recalibrated(),), metric="brier").fit(table)
    assert own.index == brier.index == 1
    gains = [float(one.explanation.split("chosen: ")[1].split(" ")[0]) for one in (own, brier)]
    assert 2 * gains[0] == pytest.approx(gains[1], abs=2e-4)


def test_a_metric_reaches_the_combiners_that_have_one():
    combiners = deciding_by((*default_combiners(), Greedy()), "auroc")
    assert {one.name for one in combiners if getattr(one, "metric", "kl") == "auroc"} == {"auto", "convex", "greedy"}
    thresholded = deciding_by(default_combiners(), "macro_f1")
    assert thresholded[-1] == Thresholded(metric="macro_f1")
    assert next(one for one in thresholded if isinstance(one, Auto)).ladder[-1] == thresholded[-1]


def test_stacking_by_a_metric_compares_by_it(table):
    stacked = fs.stack(table, [Average(), Convex(), Auto(ladder=(Recalibrated(),))], metric="auroc", accept=["A3"])
    assert stacked["auto"].combiner.metric == "auroc"
    comparison = stacked.compare()
    assert comparison.metric.name == "auroc"
    assert comparison["convex"].scores["auroc"] == pytest.approx(_score("auroc", stacked.held_out("convex"), table))
    assert stacked.compare(metric="kl").metric.name == "kl"


def test_the_command_line_stacks_by_a_metric(table, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from foldstill.cli.app import app
    from foldstill.stacking import load

    monkeypatch.chdir(tmp_path)
    fs.write_table(table, "oof.parquet")
    options = ["--metric", "macro_f1", "--combiner", "convex", "--combiner", "thresholded", "--quiet", "--workers", "1"]
    options += ["--accept", "A3"]
    done = CliRunner().invoke(app, ["stack", "oof.parquet", "--out", "run", *options])
    assert done.exit_code == 0, done.output
    assert "--metric macro_f1" in done.output
    assert load(tmp_path / "run" / "stacking" / "thresholded").combiner == Thresholded(metric="macro_f1")
    assert load(tmp_path / "run" / "stacking" / "convex").combiner.metric == "macro_f1"


@pytest.mark.parametrize("kind", [Auto, Convex, Greedy, Thresholded])
def test_a_metric_that_is_none_is_refused_by_every_combiner_that_has_one(kind):
    with pytest.raises(CompareError, match="metric must be one of"):
        kind(metric="f1")


def test_a_metric_that_is_not_defined_for_the_rows_is_refused(table):
    labels = Labels.from_votes(np.tile([1, 0], (N, 1)), groups=table.labels.groups, classes=("0", "1"))
    with pytest.raises(StackError, match="AUROC is not defined for these 600 rows"):
        Convex(metric="auroc").fit(replace(table, labels=labels))


def test_reading_settings_never_runs_a_file_that_a_metric_names(table, tmp_path):
    """A combination from elsewhere may name any file."""
    from foldstill.compare.settings import CompareSettings
    from foldstill.stacking import fit, load, save

    ran, code = tmp_path / "ran", tmp_path / "mine.py"
    code.write_text("def share(y, p, w):\n    return float(w @ (y * p).sum(axis=1) / w.sum())\n")
    named = f"{code}:share"
    fitted = [fit(kind(metric=named), table) for kind in (Convex, Thresholded)]
    code.write_text(f"open({str(ran)!r}, 'w').close()\n")
    for one in fitted:
        save(one, tmp_path / one.name)
        assert load(tmp_path / one.name).combiner.metric == named
    for kind in (Auto, Greedy, CompareSettings):
        kind(metric=named)
    assert not ran.exists()
    with pytest.raises(CompareError, match=r"mine\.py has no function 'share'"):
        Convex(metric=named).fit(table)
    assert ran.exists()
