"""Each optimiser against a reference short enough to read."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from foldstill.data.boosting import soft_objective
from foldstill.data.labels import Labels
from foldstill.data.simplex import row_kl, softmax
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable, ScoreTable
from foldstill.oof.temperatures import tempered
from foldstill.stacking import convex, crossfit, fit
from foldstill.stacking.averages import Average, Trimmed, geometric_mean, mean, median, trimmed_mean
from foldstill.stacking.convex import Convex, simplex_minimum
from foldstill.stacking.features import STATISTICS, family_numbers, features, statistics
from foldstill.stacking.gated import Gated, regime
from foldstill.stacking.gradient_boosting import LightGBM
from foldstill.stacking.greedy import Greedy, greedy_picks
from foldstill.stacking.log_pool import LogPool
from foldstill.stacking.logistic import Logistic
from foldstill.stacking.mlp import MLP, ce_plus_kl, report_mlp
from foldstill.stacking.pruned import Pruned
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.stacking.super_learner import Super
from foldstill.stacking.tempered import Tempered
from foldstill.stacking.voted_entries import VotedEntries, columns_of, voted_entries
from foldstill.testing import synthetic_table

TABLE = synthetic_table(seed=1)
TARGET_NC, PROBA_NMC = TABLE.labels.target_NC, TABLE.proba_NMC.astype(np.float64)


def test_averages_are_the_formulas_they_name() -> None:
    np.testing.assert_allclose(mean(PROBA_NMC), PROBA_NMC.mean(axis=1), atol=1e-7)
    product = PROBA_NMC.prod(axis=1) ** (1 / 4)
    np.testing.assert_allclose(geometric_mean(PROBA_NMC), product / product.sum(axis=1, keepdims=True), atol=1e-6)
    middle = np.median(PROBA_NMC, axis=1)
    np.testing.assert_allclose(median(PROBA_NMC), middle / middle.sum(axis=1, keepdims=True), atol=1e-7)
    inner = np.sort(PROBA_NMC, axis=1)[:, 1:3].mean(axis=1)
    np.testing.assert_allclose(trimmed_mean(PROBA_NMC, 0.25), inner / inner.sum(axis=1, keepdims=True), atol=1e-7)
    np.testing.assert_allclose(trimmed_mean(PROBA_NMC[:, :2], 0.4), mean(PROBA_NMC[:, :2]), atol=1e-7)


def test_members_that_agree_on_nothing_leave_a_distribution() -> None:
    onehot = np.eye(3)[None].astype(np.float32)
    np.testing.assert_allclose(median(onehot), 1 / 3)


def test_convex_weights_reach_the_optimum_and_prove_it() -> None:
    fitted = fit(Convex(), TABLE)

    def loss(w: np.ndarray) -> float:
        return float(row_kl(target=TARGET_NC, proba=PROBA_NMC.transpose(0, 2, 1) @ w).mean())

    reference = minimize(
        loss,
        np.full(4, 0.25),
        method="SLSQP",
        bounds=[(0, 1)] * 4,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-12},
    )
    assert loss(fitted.weight_M) <= reference.fun + 1e-6
    assert 0 <= fitted.combination.gap <= 1e-6


def test_convex_weights_are_proved_with_every_row_though_the_curvature_is_that_of_a_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries = voted_entries(TABLE, columns_of(TABLE.scores.families, tied=False))
    exact, _ = simplex_minimum(entries)
    # Sorted rows: the few are the worst sample of the rest that there is.
    order = np.argsort(entries.proba_ED[:, 0], kind="stable")
    entries = VotedEntries(entries.proba_ED[order], entries.share_E[order])
    monkeypatch.setattr(convex, "_FEW", 16)
    found, gap = simplex_minimum(entries)
    assert 0 <= gap <= 1e-6
    assert entries.cross_entropy(found)[0] <= entries.cross_entropy(exact)[0] + 1e-6


def test_copies_of_a_member_share_its_convex_weight_equally() -> None:
    entries = voted_entries(TABLE, columns_of(TABLE.scores.families, tied=False))
    once, _ = simplex_minimum(entries)
    copies = VotedEntries(entries.proba_ED[:, [0, 1, 2, 3, 0]], entries.share_E)
    twice, gap = simplex_minimum(copies)
    assert gap <= 1e-6
    np.testing.assert_allclose(twice[0], twice[4], atol=1e-4)
    np.testing.assert_allclose([twice[0] + twice[4], *twice[1:4]], once, atol=1e-2)


def test_rows_without_weight_do_not_count_for_convex_weights() -> None:
    weight_N = (np.arange(len(TABLE)) % 2).astype(float)
    weighted = replace(TABLE, labels=replace(TABLE.labels, sample_weight_N=weight_N))
    odd = TABLE.take(weight_N > 0)
    np.testing.assert_allclose(fit(Convex(), weighted).weight_M, fit(Convex(), odd).weight_M, atol=1e-9)


def test_the_duality_gap_bounds_the_distance_to_the_optimum() -> None:
    entries = voted_entries(TABLE, columns_of(TABLE.scores.families, tied=False))
    best, _ = simplex_minimum(entries)
    lowest, _ = entries.cross_entropy(best)
    rng = np.random.default_rng(0)
    for _ in range(20):
        weight = rng.dirichlet(np.ones(4))
        value, gradient = entries.cross_entropy(weight)
        assert value - lowest <= gradient @ weight - gradient.min() + 1e-9


def test_voted_entries_give_the_cross_entropy_of_the_whole_table_and_its_gradient() -> None:
    entries = voted_entries(TABLE, columns_of(TABLE.scores.families, tied=False))
    weight = np.array([0.1, 0.2, 0.3, 0.4])
    value, gradient = entries.cross_entropy(weight)
    overall = -(TARGET_NC * np.log(PROBA_NMC.transpose(0, 2, 1) @ weight)).sum(axis=1).mean()
    assert value == pytest.approx(overall, abs=1e-6)
    for m in range(4):
        step = np.eye(4)[m] * 1e-3
        slope = (entries.cross_entropy(weight + step)[0] - entries.cross_entropy(weight - step)[0]) / 2e-3
        assert gradient[m] == pytest.approx(slope, abs=2e-3)


def test_greedy_picks_are_those_of_full_recomputation() -> None:
    entries = voted_entries(TABLE, columns_of(TABLE.scores.families, tied=False))
    picks: list[int] = []
    for _ in range(12):
        trials = [PROBA_NMC[:, [*picks, m]].mean(axis=1) for m in range(4)]
        picks.append(int(np.argmin([row_kl(target=TARGET_NC, proba=t).mean() for t in trials])))
    assert greedy_picks(entries, 12, start=1, allowed=np.arange(4)) == picks


def test_pruning_keeps_the_members_that_are_best_together_within_the_budget() -> None:
    def kl(members: list[int]) -> float:
        return float(row_kl(target=TARGET_NC, proba=PROBA_NMC[:, members].mean(axis=1)).mean())

    for budget in (1, 2, 3):
        weight_M = fit(Pruned(budget=budget), TABLE).weight_M
        kept = np.flatnonzero(weight_M).tolist()
        assert len(kept) <= budget
        np.testing.assert_allclose(weight_M[kept], 1 / len(kept))
        assert kl(kept) <= min(kl([m]) for m in range(4)) + 1e-6
        assert all(kl(kept) <= kl([*kept, m]) + 1e-6 for m in range(4) if len(kept) < budget and m not in kept)


def test_pruning_counts_what_members_cost() -> None:
    best = int(np.argmax(fit(Pruned(budget=1), TABLE).weight_M))
    dear = fit(Pruned(budget=1, costs=((f"m{best}", 1.5),)), TABLE).weight_M
    assert dear[best] == 0
    assert dear.max() == 1
    with pytest.raises(StackError, match=r"no member fits a budget of 0\.5"):
        Pruned(budget=0.5).fit(TABLE)
    with pytest.raises(StackError, match="'cnn9'"):
        Pruned(costs=(("cnn9", 2.0),)).fit(TABLE)
    with pytest.raises(StackError, match="must be positive"):
        Pruned(costs=(("m0", 0.0),))


def test_recalibration_finds_the_temperature_and_bias_that_were_applied() -> None:
    rng = np.random.default_rng(5)
    truth = rng.normal(0, 1.5, (4000, 3))
    labels = Labels.from_shares(softmax(truth), 10.0)
    soft = softmax((truth - [0.5, 0.0, -0.5]) / 2.0).astype(np.float32)
    scores = ScoreTable(labels.ids, ("m",), labels.classes, soft[:, None])
    found = Recalibrated().fit(OOFTable(scores, labels, np.zeros(4000, np.int16)))
    assert found.temperature == pytest.approx(0.5, rel=1e-2)
    np.testing.assert_allclose(found.bias_C - found.bias_C.mean(), [0.5, 0.0, -0.5], atol=1e-2)


def test_the_log_pool_agrees_with_a_plain_optimiser() -> None:
    pooled = LogPool(ridge=0.01).fit(TABLE)
    logs = np.log(PROBA_NMC)

    def loss(t: np.ndarray) -> float:
        proba = softmax(np.einsum("nmc,m->nc", logs, t[:4]) + t[4:])
        return float(row_kl(target=TARGET_NC, proba=proba).mean() + 0.005 * ((t[:4] - 0.25) ** 2).sum())

    reference = minimize(loss, np.r_[np.full(4, 0.25), np.zeros(3)], bounds=[(0, None)] * 4 + [(None, None)] * 3)
    ours = loss(np.r_[pooled.power_M, pooled.bias_C])
    assert ours == pytest.approx(reference.fun, abs=1e-5)
    assert (pooled.power_M >= 0).all()


@pytest.mark.parametrize("settings", [LogPool(ridge=1e9), Gated(ridges=(1e9,)), Logistic(ridges=(1e9,))])
def test_an_endless_ridge_keeps_a_stacker_at_its_centre(settings: LogPool | Gated | Logistic) -> None:
    ours = settings.fit(TABLE)(TABLE.proba_NMC)
    pooled = geometric_mean(PROBA_NMC)
    if isinstance(settings, Gated):
        families = np.stack([PROBA_NMC[:, :2].mean(axis=1), PROBA_NMC[:, 2:].mean(axis=1)], axis=1)
        pooled = geometric_mean(families)
    if isinstance(settings, Logistic):
        pooled = Recalibrated().fit(TABLE)(TABLE.proba_NMC)
    # Only the free bias of each class may still move.
    shift = np.log(ours) - np.log(pooled)
    shift -= shift.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-3)


def test_a_gated_pool_follows_members_that_are_right_in_one_regime_only() -> None:
    rng = np.random.default_rng(2)
    n = 2000
    truth = rng.normal(0, 2.0, (n, 3))
    sharp = softmax(truth)
    vague = softmax(0.2 * truth + rng.normal(0, 0.3, (n, 3)))
    sure = rng.random(n) < 0.5
    # Where the first member is sure it is right; elsewhere it is noise and the second one is right.
    noise = softmax(rng.normal(0, 0.4, (n, 3)))
    first = np.where(sure[:, None], sharp, noise)
    second = np.where(sure[:, None], softmax(rng.normal(0, 0.4, (n, 3))), vague)
    labels = Labels.from_shares(np.where(sure[:, None], sharp, softmax(0.2 * truth)), 10.0)
    proba = np.stack([first, second], axis=1).astype(np.float32)
    table = OOFTable(
        ScoreTable(labels.ids, ("a", "b"), labels.classes, proba), labels, (np.arange(n) % 2).astype(np.int16)
    )
    assert crossfit(Gated(), table).kl < 0.8 * crossfit(LogPool(), table).kl


def test_the_regime_features_do_not_depend_on_the_order_of_members() -> None:
    np.testing.assert_allclose(regime(PROBA_NMC), regime(PROBA_NMC[:, ::-1]), atol=1e-6)


def test_statistics_are_five_a_class_in_their_named_order() -> None:
    stats = statistics(PROBA_NMC)
    assert stats.shape == (len(TABLE), len(STATISTICS) * 3)
    for i, name in enumerate(STATISTICS):
        expected = getattr(np, name)(PROBA_NMC, axis=1)
        np.testing.assert_allclose(stats[:, 3 * i : 3 * i + 3], expected, atol=1e-6)
    family_M = family_numbers(TABLE.scores.families)
    assert features(PROBA_NMC, "family_statistics", family_M).shape[1] == 30
    assert features(PROBA_NMC, "statistics_and_members", family_M).shape[1] == 15 + 12
    assert features(PROBA_NMC, "members", family_M).shape[1] == 12


def test_the_loss_of_the_report_scores_a_perfect_prediction_zero() -> None:
    """With a softmax before the log-softmax, as in the reference, it was ln(e + 5) - 1 = 1.0436 for six classes."""
    import torch

    target = torch.eye(6)
    assert ce_plus_kl(target * 50, target, 2.0).abs().max() < 1e-6
    soft = torch.tensor([[0.5, 0.3, 0.2]])
    entropy = -(soft * soft.log()).sum()
    assert ce_plus_kl(soft.log(), soft, 2.0)[0] == pytest.approx(float(entropy), abs=1e-6)


def test_the_gradient_given_to_lightgbm_is_that_of_the_soft_cross_entropy() -> None:
    rng = np.random.default_rng(0)
    score, target, weight = rng.normal(0, 1, (5, 3)), rng.dirichlet(np.ones(3), 5), np.array([1.0, 2.0, 0.5, 1.0, 1.0])
    gradient, hessian = soft_objective(target, weight)(score)

    def loss(s: np.ndarray) -> np.ndarray:
        return weight * row_kl(target=target, proba=softmax(s))

    for c in range(3):
        step = np.eye(3)[c] * 1e-5
        np.testing.assert_allclose(gradient[:, c], (loss(score + step) - loss(score - step)) / 2e-5, atol=1e-6)
    assert (hessian > 0).all()


@pytest.mark.parametrize("settings", [MLP(epochs=0, bags=1), LightGBM(rounds=0)])
def test_a_stacker_without_a_step_is_its_anchor(settings: MLP | LightGBM) -> None:
    combination = settings.fit(TABLE)
    anchors = [bag.anchor(TABLE.proba_NMC) for bag in combination.bags if bag.anchor is not None]
    np.testing.assert_allclose(combination(TABLE.proba_NMC), softmax(np.log(np.stack(anchors)).mean(axis=0)), atol=1e-6)


@pytest.mark.parametrize("settings", [MLP(bags=2, batch=64, epochs=10), LightGBM(rounds=40, rows_per_leaf=10)])
def test_a_stacker_that_can_only_do_harm_stops_where_it_started(settings: MLP | LightGBM) -> None:
    rng = np.random.default_rng(0)
    noise = rng.dirichlet(np.ones(3), (len(TABLE), 4)).astype(np.float32)
    table = replace(TABLE, scores=replace(TABLE.scores, proba_NMC=noise))
    assert crossfit(settings, table).kl < crossfit(Recalibrated(), table).kl + 0.01


def test_the_meta_model_of_the_report_keeps_its_shape_and_its_loss() -> None:
    settings = report_mlp()
    assert settings.hidden == (600, 1200, 1000, 600)
    assert (settings.kl_weight, settings.patience, settings.batch, settings.anchor) == (2.0, 20, 64, "none")


def test_the_rows_that_stop_a_network_are_whole_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference meta-model was stopped by the last tenth of the rows by id, whose patients it was trained on."""
    held, bag = [], MLP._bag

    def spy(self: MLP, table: OOFTable, features: Any, held_N: Any, seed: int) -> Any:
        held.append(held_N)
        return bag(self, table, features, held_N, seed)

    monkeypatch.setattr(MLP, "_bag", spy)
    MLP(epochs=1, bags=2).fit(TABLE)
    groups = TABLE.labels.groups
    assert len(held) == 2
    for held_N in held:
        assert held_N.any()
        assert not set(groups[held_N]) & set(groups[~held_N])


def test_super_finds_the_mixture_and_says_so() -> None:
    library = (Average(), Trimmed(), LogPool())
    stacked = Super(library=library, folds=3).fit(TABLE)
    assert stacked.weight_L.sum() == pytest.approx(1)
    assert "log_pool" in stacked.explanation
    best = Super(library=library, folds=3, mode="best").fit(TABLE)
    assert sorted(best.weight_L.tolist()) == [0, 0, 1]
    assert sum(c is not None for c in best.combinations) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Trimmed(share=0.5), "share of trimmed must be in"),
        (lambda: LogPool(ridge=-1), "ridge of log_pool must be 0 or more"),
        (lambda: Gated(ridges=()), "ridges of gated must be one or more positive"),
        (lambda: Logistic(folds=1), "folds of logistic must be 2 or more, got 1"),
        (lambda: Greedy(start=9, picks=3), r"start of greedy must be at most picks \(3\), got 9"),
        (lambda: MLP(bags=9), "bags of mlp must be at most folds"),
        (lambda: LightGBM(learning_rate=0), "learning_rate and feature_share of lightgbm"),
        (lambda: Super(folds=1), "folds of super must be 2 or more, got 1"),
        (lambda: Super(library=(Average(), Average())), "library of super must have different names, got"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: object, message: str) -> None:
    with pytest.raises(StackError, match=message):
        make()  # type: ignore[operator]


def test_members_at_their_own_temperatures_are_averaged_as_they_should_have_been() -> None:
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.ones(4), 2000)
    votes = np.stack([rng.multinomial(5, row) for row in truth])
    labels = Labels.from_votes(votes)
    sure = tempered(truth, 1 / 3.0)
    scores = ScoreTable(labels.ids, ("sure", "right"), labels.classes, np.stack([sure, truth], 1).astype(np.float32))
    table = OOFTable(scores, labels, (np.arange(2000) % 5).astype(np.int16))
    fitted = fit(Tempered(of=Average()), table)
    assert fitted.combination.temperature_M == pytest.approx([3.0, 1.0], rel=0.15)
    raw, calm = (np.abs(one.apply(scores) - truth).mean() for one in (fit(Average(), table), fitted))
    assert calm < 0.2 * raw
    assert fit(Tempered(of=Convex()), table).weight_M is not None
    with pytest.raises(StackError, match="fitted to 2 members"):
        fitted.combination(scores.proba_NMC[:, :1])


@pytest.mark.parametrize("combiner", [LogPool(ridge=0.0), Convex()])
def test_a_member_that_repeats_another_leaves_a_pool_as_good_as_without_it(combiner: LogPool | Convex) -> None:
    alone_NMC = TABLE.proba_NMC[:, :1]
    alone, twice = (
        replace(TABLE, scores=ScoreTable(TABLE.labels.ids, names, TABLE.classes, alone_NMC.repeat(len(names), axis=1)))
        for names in (("a",), ("a", "b"))
    )
    kl, kl_twice = (
        row_kl(target=TABLE.labels.target_NC, proba=fit(combiner, table).apply(table.scores)).mean()
        for table in (alone, twice)
    )
    assert kl_twice == pytest.approx(kl, abs=1e-6)
