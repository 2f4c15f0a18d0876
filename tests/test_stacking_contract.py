"""What every combiner promises, run over all of them."""

from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from foldstill.data.labels import Labels
from foldstill.data.simplex import row_kl
from foldstill.errors import StackError
from foldstill.oof.table import FoldScores, OOFTable, ScoreTable
from foldstill.stacking import Combiner, CombinerSettings, crossfit, default_combiners, fit, load, save
from foldstill.stacking.auto import Auto
from foldstill.stacking.averages import Average, Geometric, Median, Trimmed
from foldstill.stacking.best_member import BestMember
from foldstill.stacking.convex import Convex
from foldstill.stacking.gated import Gated
from foldstill.stacking.gradient_boosting import LightGBM
from foldstill.stacking.greedy import Greedy
from foldstill.stacking.log_pool import LogPool
from foldstill.stacking.logistic import Logistic, linear_logits
from foldstill.stacking.mlp import MLP
from foldstill.stacking.pruned import Pruned
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.stacking.super_learner import Super
from foldstill.stacking.tempered import Tempered

TREES = LightGBM(rounds=4, folds=3, rows_per_leaf=10)
NET = MLP(epochs=3, bags=2, folds=3, batch=64, hidden=(8,))
SLOWEST = Super(library=(Recalibrated(), Convex(tied=True), Gated(ridges=(0.1,)), TREES), folds=3)

COMBINERS: tuple[Combiner, ...] = (
    Average(),
    BestMember(),
    Geometric(),
    Median(),
    Trimmed(),
    Recalibrated(),
    Recalibrated(name="vector_scaled", slope="per_class", of=Geometric()),
    Recalibrated(name="convex_recal", of=Convex(tied=True)),
    Convex(),
    Convex(name="convex_tied", tied=True, row_weight="log1p"),
    Greedy(picks=10, bags=3),
    Pruned(budget=2),
    Recalibrated(name="pruned_recal", of=Pruned(budget=3, costs=(("m0", 2.0),))),
    LogPool(),
    LogPool(name="log_pool_tied", tied=True, row_weight="clamp"),
    Gated(folds=2),
    Gated(name="gated_average", over="average", ridges=(0.1,)),
    Logistic(ridges=(0.1, 0.01), folds=2),
    replace(linear_logits(), ridges=(0.1,)),
    NET,
    replace(NET, name="mlp_family", features="family_statistics", anchor="none", kl_weight=2.0),
    TREES,
    replace(TREES, name="lightgbm_all", features="statistics_and_members", anchor="average"),
    Auto(folds=3, ladder=(Recalibrated(), Convex(tied=True), LogPool(), TREES)),
    SLOWEST,
    replace(SLOWEST, name="super_average", mode="average", keep=2),
    Tempered(),
    Tempered(name="tempered_pool", of=LogPool(tied=True)),
)
ANY = pytest.mark.parametrize("combiner", COMBINERS, ids=lambda c: c.name)


def a_table(
    seed: int = 0, n: int = 240, groups: int = 24, spread: tuple[float, ...] = (0.4, 0.4, 1.0, 2.0)
) -> OOFTable:
    """Four members in two families whose logits are the truth plus noise; 3 to 12 votes a row; three folds."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1.2, (n, 3))
    group = np.arange(n) % groups
    noise = rng.normal(0, 1, (n, len(spread), 3)) * np.asarray(spread)[:, None]
    logits = 0.7 * truth[:, None] + noise
    proba = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    share = np.exp(truth) / np.exp(truth).sum(axis=1, keepdims=True)
    votes = rng.multinomial(rng.integers(3, 13, n), share)
    labels = Labels.from_votes(votes, groups=group)
    families = ("cnn", "cnn", "eeg", "eeg", "cnn")[: len(spread)]
    scores = ScoreTable(
        labels.ids, tuple(f"m{m}" for m in range(len(spread))), labels.classes, proba.astype(np.float32), families
    )
    return OOFTable(scores, labels, (group % 3).astype(np.int16))


TABLE = a_table()


def test_every_kind_of_settings_is_under_contract() -> None:
    assert {type(c) for c in COMBINERS} == set(get_args(CombinerSettings))


@ANY
def test_a_combination_gives_distributions_and_the_same_ones_again(combiner: Combiner) -> None:
    first, second = fit(combiner, TABLE), fit(combiner, TABLE)
    proba_NC = first.apply(TABLE.scores)
    assert proba_NC.shape == (len(TABLE), 3)
    assert proba_NC.dtype == np.float64
    np.testing.assert_allclose(proba_NC.sum(axis=1), 1, atol=1e-9)
    assert (proba_NC > 0).all()
    np.testing.assert_array_equal(proba_NC, second.apply(TABLE.scores))


@ANY
def test_a_saved_combination_gives_the_same_scores(combiner: Combiner, tmp_path: Path) -> None:
    fitted = fit(combiner, TABLE)
    save(fitted, tmp_path / "c")
    again = load(tmp_path / "c")
    assert again.combiner == combiner
    assert (again.members, again.classes, again.table_digest) == (fitted.members, fitted.classes, fitted.table_digest)
    assert again.explanation == fitted.explanation
    np.testing.assert_array_equal(again.apply(TABLE.scores), fitted.apply(TABLE.scores))
    assert not [p for p in (tmp_path / "c").iterdir() if p.suffix not in (".json", ".npz", ".txt")]


@ANY
def test_the_order_of_members_in_a_new_table_does_not_matter(combiner: Combiner) -> None:
    fitted = fit(combiner, TABLE)
    shuffled = TABLE.scores.select(["m2", "m0", "m3", "m1"])
    np.testing.assert_array_equal(fitted.apply(shuffled), fitted.apply(TABLE.scores))


@ANY
def test_scores_of_a_fold_do_not_move_when_its_labels_change(combiner: Combiner) -> None:
    held = TABLE.fold_N == 1
    votes = TABLE.labels.votes_NC.copy()
    votes[held] = np.roll(votes[held], 1, axis=1) * 2
    changed = replace(TABLE, labels=replace(TABLE.labels, votes_NC=votes))
    before, after = crossfit(combiner, TABLE), crossfit(combiner, changed)
    np.testing.assert_array_equal(before.proba_NC[held], after.proba_NC[held])


@ANY
def test_labels_permuted_between_groups_teach_nothing(combiner: Combiner) -> None:
    rng = np.random.default_rng(3)
    # Each group takes the rows' labels of another: whatever a combiner still finds is memory of groups.
    order = np.argsort(rng.permutation(24)[np.arange(240) % 24], kind="stable")[
        np.argsort(np.argsort(np.arange(240) % 24, kind="stable"))
    ]
    votes = TABLE.labels.votes_NC[order]
    table = replace(TABLE, labels=replace(TABLE.labels, votes_NC=votes))
    base = votes.sum(axis=0) / votes.sum()
    base_kl = row_kl(target=table.labels.target_NC, proba=np.broadcast_to(base, (240, 3))).mean()
    assert crossfit(combiner, table).kl > base_kl - 0.02


@ANY
def test_settings_are_refused_when_a_key_is_unknown(combiner: Combiner) -> None:
    from pydantic import TypeAdapter, ValidationError

    with pytest.raises(ValidationError, match=r"(?s)1 validation error.*epohcs"):
        TypeAdapter(type(combiner)).validate_python({"kind": combiner.kind, "epohcs": 3})
    assert {"kind", "name"} <= {f.name for f in fields(combiner)}  # type: ignore[arg-type]


INVARIANT = [
    c for c in COMBINERS if c.name in ("average", "geometric", "median", "trimmed", "recalibrated", "mlp", "lightgbm")
]


@pytest.mark.parametrize("combiner", INVARIANT, ids=lambda c: c.name)
def test_averages_and_statistics_stackers_do_not_care_which_member_said_what(combiner: Combiner) -> None:
    combination = combiner.fit(TABLE)
    np.testing.assert_allclose(combination(TABLE.proba_NMC), combination(TABLE.proba_NMC[:, [3, 1, 0, 2]]), atol=1e-6)


def test_member_weights_are_shares_and_stay_within_a_tied_family() -> None:
    for name in ("average", "geometric", "convex", "greedy", "log_pool", "recalibrated"):
        weight_M = fit(next(c for c in COMBINERS if c.name == name), TABLE).weight_M
        assert weight_M is not None
        assert weight_M.sum() == pytest.approx(1)
        assert (weight_M >= 0).all()
    tied = fit(Convex(tied=True), TABLE).weight_M
    assert tied is not None
    assert tied[0] == tied[1]
    assert tied[2] == tied[3]
    assert fit(TREES, TABLE).weight_M is None


def test_fold_models_are_combined_one_by_one_and_averaged_unless_pooled() -> None:
    both = np.stack([TABLE.proba_NMC, TABLE.proba_NMC[::-1]])
    scores = FoldScores(TABLE.scores.ids, TABLE.members, TABLE.classes, both, TABLE.scores.families)
    fitted = fit(Recalibrated(), TABLE)
    each = (fitted.combination(both[0]) + fitted.combination(both[1])) / 2
    np.testing.assert_allclose(fitted.apply(scores), each)
    np.testing.assert_allclose(fitted.apply(scores, pooled=True), fitted.apply(scores.mean()))
    average = fit(Average(), TABLE)
    np.testing.assert_allclose(average.apply(scores), average.apply(scores, pooled=True), atol=1e-6)


def test_a_missing_member_and_other_classes_are_refused_by_name() -> None:
    fitted = fit(Convex(), TABLE)
    with pytest.raises(StackError, match="lack"):
        fitted.apply(TABLE.scores.select(["m0", "m1", "m2"]))
    other = replace(TABLE.scores, classes=("c1", "c0", "c2"))
    with pytest.raises(StackError, match="bring the columns"):
        fitted.apply(other)
    with pytest.raises(StackError, match="4 members"):
        fitted.combination(TABLE.proba_NMC[:, :2])


def test_a_file_of_another_schema_or_with_missing_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"combination\.json is missing"):
        load(tmp_path)
    save(fit(LogPool(), TABLE), tmp_path)
    path = tmp_path / "combination.json"
    whole = path.read_text()
    path.write_text(whole.replace('"schema": 1', '"schema": 2'))
    with pytest.raises(StackError, match="schema 2"):
        load(tmp_path)
    path.write_text(whole.replace('"ridge"', '"rigde"'))
    with pytest.raises(StackError, match="fit it again"):
        load(tmp_path)
    path.write_text(whole)
    (tmp_path / "combination.npz").unlink()
    with pytest.raises(StackError, match="fit it again"):
        load(tmp_path)


def test_the_default_arms_have_the_names_reports_use() -> None:
    names = [c.name for c in default_combiners()]
    assert names == [
        "average",
        "best_member",
        "geometric",
        "recalibrated",
        "convex",
        "log_pool",
        "mlp",
        "lightgbm",
        "auto",
    ]
