"""Cross-fitting and the choices of auto."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foldstill.compare import paired_intervals
from foldstill.data.simplex import row_kl
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.stacking import crossfit, crossfit_all, fit, fit_all
from foldstill.stacking.auto import Auto
from foldstill.stacking.averages import Average
from foldstill.stacking.best_member import BestMember
from foldstill.stacking.combiner import Combiner, FittedCombiner, weight_of
from foldstill.stacking.convex import Convex
from foldstill.stacking.crossfit import best_by_crossfit, group_folds
from foldstill.stacking.log_pool import LogPool
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.testing import synthetic_table
from foldstill.workers import Progress

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from synthetic_tables import synthetic

# The package has a function of the same name.
crossfitting = importlib.import_module("foldstill.stacking.crossfit")

TABLE = synthetic_table()
LADDER = (Recalibrated(), Convex(tied=True), LogPool())


def test_each_fold_is_scored_by_a_fit_to_the_others() -> None:
    done = crossfit(Convex(), TABLE)
    held = TABLE.fold_N == 2
    by_hand = Convex().fit(TABLE.take(~held))(TABLE.proba_NMC[held])
    np.testing.assert_array_equal(done.proba_NC[held], by_hand)
    np.testing.assert_array_equal(done.row_kl_N, row_kl(target=TABLE.labels.target_NC, proba=done.proba_NC))
    np.testing.assert_array_equal(done.fold_N, TABLE.fold_N)
    assert done.kl == pytest.approx(done.row_kl_N.mean())


def test_fresh_folds_keep_groups_whole_and_ignore_labels() -> None:
    fold_N = crossfit(Average(), TABLE, folds=4).fold_N
    assert set(fold_N) == {0, 1, 2, 3}
    for group in np.unique(TABLE.labels.groups):
        assert len(set(fold_N[TABLE.labels.groups == group])) == 1
    np.testing.assert_array_equal(fold_N, group_folds(TABLE.labels.groups, 4))
    assert (fold_N != group_folds(TABLE.labels.groups, 4, seed=1)).any()


def test_a_torn_group_one_fold_and_one_group_are_refused() -> None:
    torn = np.arange(len(TABLE)) % 5
    with pytest.raises(StackError, match="more than one fold"):
        crossfit(Average(), TABLE, folds=torn)
    with pytest.raises(StackError, match="two or more folds"):
        crossfit(Average(), replace(TABLE, fold_N=np.zeros(len(TABLE), np.int16)))
    with pytest.raises(StackError, match="two or more folds, got 1"):
        crossfit(Average(), TABLE, folds=1)
    with pytest.raises(StackError, match="one entry per row"):
        crossfit(Average(), TABLE, folds=torn[:3])
    alone = replace(TABLE, labels=replace(TABLE.labels, groups=np.full(len(TABLE), "g")))
    with pytest.raises(StackError, match="two or more groups"):
        crossfit(Average(), alone, folds=3)


def test_many_combiners_at_once_give_what_each_gives_alone_and_report_on_the_way() -> None:
    seen: list[Progress] = []
    combiners = (Average(), Recalibrated(), Convex())
    results = crossfit_all(combiners, TABLE, on_progress=seen.append)
    for combiner, one in zip(combiners, results, strict=True):
        np.testing.assert_array_equal(one.proba_NC, crossfit(combiner, TABLE).proba_NC)
        assert one.name == combiner.name
    assert [(progress.done, progress.total) for progress in seen] == [(i, 9) for i in range(1, 10)]
    assert "KL" in seen[0].note


@pytest.mark.slow
def test_processes_give_the_same_bytes_as_one() -> None:
    combiners = (Average(), Convex())
    for one, two in zip(crossfit_all(combiners, TABLE), crossfit_all(combiners, TABLE, workers=2), strict=True):
        np.testing.assert_array_equal(one.proba_NC, two.proba_NC)
    assert [f.name for f in fit_all(combiners, TABLE, workers=2)] == ["average", "convex"]


def test_a_choice_of_settings_goes_to_the_lowest_held_out_loss() -> None:
    candidates = [LogPool(ridge=r) for r in (100.0, 0.01)]
    fold_N = group_folds(TABLE.labels.groups, 3)
    losses = [crossfit(c, TABLE, folds=fold_N).kl for c in candidates]
    assert best_by_crossfit(candidates, TABLE, folds=3) is candidates[int(np.argmin(losses))]


def test_auto_keeps_the_average_of_equal_members_and_says_why() -> None:
    # Shares of one annotator a row: nothing but the average is to be learned, and 24 groups say little.
    equal = synthetic_table(seed=3, noise=(0.3, 0.3, 0.3, 0.3))
    chosen = Auto(folds=3, ladder=(Convex(), Convex(name="tied", tied=True))).fit(equal)
    assert chosen.choice == "average"
    assert chosen.explanation.startswith("average kept")
    np.testing.assert_array_equal(chosen(equal.proba_NMC), Average().fit(equal)(equal.proba_NMC))


def test_auto_leaves_the_average_where_the_interval_excludes_zero_and_shows_it() -> None:
    unequal = synthetic_table(seed=4, n_samples=900, n_groups=60, noise=(0.2, 0.2, 3.0, 3.0))
    chosen = Auto(folds=3, ladder=LADDER).fit(unequal)
    assert chosen.choice != "average"
    assert f"{chosen.choice} chosen" in chosen.explanation
    assert "[-" in chosen.explanation
    assert "60 groups" in chosen.explanation


def test_auto_does_not_choose_on_a_handful_of_groups() -> None:
    chosen = Auto(folds=5, ladder=LADDER).fit(synthetic_table(seed=4, n_groups=6, noise=(0.2, 0.2, 3.0, 3.0)))
    assert chosen.choice == "average"
    assert "6 groups are too few" in chosen.explanation


def test_the_expected_rule_takes_a_share_of_a_gain_that_is_not_proved() -> None:
    unequal = synthetic_table(seed=2, noise=(0.5, 0.6, 1.0, 1.2))
    ladder = (Convex(),)
    assert Auto(folds=3, ladder=ladder).fit(unequal).choice == "average"
    chosen = Auto(folds=3, rule="expected", ladder=ladder).fit(unequal)
    assert 0 < chosen.share < 1
    assert chosen.choice == f"{chosen.share:g} convex"
    assert "68 % interval) against average" in chosen.explanation
    convex, average = (combiner.fit(unequal)(unequal.proba_NMC) for combiner in (Convex(), Average()))
    mixed = chosen.share * convex + (1 - chosen.share) * average
    np.testing.assert_allclose(chosen(unequal.proba_NMC), mixed, atol=1e-12)
    weight_M = weight_of(Convex().fit(unequal))
    np.testing.assert_allclose(weight_of(chosen), chosen.share * weight_M + (1 - chosen.share) / 4)


def test_the_expected_rule_keeps_the_average_where_nothing_is_better_by_a_standard_error() -> None:
    equal = synthetic_table(seed=3, noise=(0.3, 0.3, 0.3, 0.3))
    chosen = Auto(folds=3, rule="expected", ladder=(Convex(), Convex(name="tied", tied=True))).fit(equal)
    assert chosen.choice == "average"
    assert "by a standard error" in chosen.explanation


def strata_that_disagree() -> OOFTable:
    """The members that are good on rows with few votes are bad on rows with many, and the other way around."""
    table = synthetic_table(seed=4, n_samples=1800, n_groups=90, noise=(0.2, 0.2, 3.0, 3.0))
    many_N = table.labels.stratum_N == ">=10"
    proba_NMC = np.where(many_N[:, None, None], table.proba_NMC[:, ::-1], table.proba_NMC)
    return replace(table, scores=replace(table.scores, proba_NMC=proba_NMC))


def test_auto_decides_for_the_stratum_that_it_is_judged_on() -> None:
    table = strata_that_disagree()
    many_N = table.labels.stratum_N == ">=10"
    ladder = (Convex(),)
    overall = fit(Auto(folds=3, ladder=ladder), table)
    judged = fit(Auto(folds=3, ladder=ladder, judged_on=">=10"), table)
    assert weight_of(overall.combination)[:2].sum() > 0.5
    assert judged.combination.choice == "convex of >=10"
    assert "with rows of >=10" in judged.explanation
    assert weight_of(judged.combination)[2:].sum() > 0.9

    def kl(fitted: FittedCombiner) -> float:
        proba_NC = fitted.apply(table.scores)[many_N]
        return float(row_kl(target=table.labels.target_NC[many_N], proba=proba_NC).mean())

    assert kl(judged) < kl(overall)
    with pytest.raises(StackError, match=r"judged_on of auto must name a stratum of the rows, got '1-2', there are"):
        Auto(judged_on="1-2").fit(table)


def test_auto_chooses_anew_in_every_fold() -> None:
    done = crossfit(Auto(folds=3, ladder=LADDER), synthetic_table(seed=4, n_samples=900, n_groups=60))
    assert len(done.notes) == 3
    assert all("40 groups" in note for note in done.notes)


def test_auto_stops_fitting_a_rung_that_is_surely_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    table = synthetic_table(seed=4, n_samples=1200, n_groups=100)
    auto = Auto(folds=5, ladder=(Recalibrated(), LogPool(), Recalibrated(name="of_the_best", of=BestMember())))
    fitted: list[str] = []

    def counted(table: OOFTable, fold_N: np.ndarray, combiner: Combiner, fold: int) -> object:
        fitted.append(combiner.name)
        return held_out(table, fold_N, combiner, fold)

    held_out = crossfitting._held_out
    monkeypatch.setattr(crossfitting, "_held_out", counted)
    raced = auto.fit(table)
    assert [fitted.count(name) for name in ("average", "recalibrated", "log_pool")] == [5, 5, 5]
    assert fitted.count("of_the_best") < 5
    monkeypatch.setattr("foldstill.stacking.auto._ENOUGH_GROUPS", len(table))
    fitted.clear()
    fully = auto.fit(table)
    assert fitted.count("of_the_best") == 5
    assert (raced.explanation, raced.index) == (fully.explanation, fully.index)


def test_auto_refuses_settings_that_cannot_work() -> None:
    for settings, message in (
        ({"folds": 1}, "folds of auto must be 2 or more, got 1"),
        ({"level": 1.0}, "level of auto must be in"),
        ({"ladder": (Average(),)}, "ladder of auto .* different names"),
        ({"ladder": ()}, "ladder of auto must contain a combiner"),
    ):
        with pytest.raises(StackError, match=message):
            Auto(**settings)


def test_auto_judges_by_the_sample_weights() -> None:
    # Two thirds of the rows count for nothing; on the rest the members that are worse elsewhere are the better ones.
    table = synthetic_table(seed=4, n_samples=900, n_groups=60, noise=(0.2, 0.2, 3.0, 3.0))
    counted_N = np.random.default_rng(0).random(len(table)) < 1 / 3
    proba_NMC = np.where(counted_N[:, None, None], table.proba_NMC[:, ::-1], table.proba_NMC)
    labels = replace(table.labels, sample_weight_N=counted_N.astype(float))
    mixed = replace(table, scores=replace(table.scores, proba_NMC=proba_NMC), labels=labels)
    chosen = Auto(folds=3, ladder=(Convex(),)).fit(mixed)
    alone = Auto(folds=3, ladder=(Convex(),)).fit(mixed.take(counted_N))
    assert chosen.choice == alone.choice == "convex"
    assert weight_of(chosen)[2:].sum() > 0.9
    held_out = crossfit(Convex(), mixed)
    assert held_out.kl == pytest.approx(held_out.row_kl_N[counted_N].mean())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_auto_is_never_significantly_worse_than_the_average_on_new_groups(seed: int) -> None:
    made = synthetic("homog", rows=900, holdout_rows=900, seed=seed)
    fitted = fit(Auto(folds=3, ladder=LADDER), made.table)
    target = made.holdout_labels.target_NC
    ours = row_kl(target=target, proba=fitted.apply(made.holdout))
    average = row_kl(target=target, proba=fit(Average(), made.table).apply(made.holdout))
    (interval,) = paired_intervals((ours - average)[:, None], made.holdout_labels.groups)
    assert interval.low <= 0
