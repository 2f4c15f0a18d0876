"""What every combiner promises: the contract suite of foldstill.testing over every kind, and applying combinations."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from foldstill.errors import StackError
from foldstill.json_files import write_json
from foldstill.oof.table import FoldScores, OOFTable
from foldstill.seals import SEAL
from foldstill.settings import NamedKind
from foldstill.stacking import COMBINERS, Combiner, crossfit, default_combiners, fit, load, save
from foldstill.stacking.auto import Auto
from foldstill.stacking.averages import Average, Geometric
from foldstill.stacking.combiner import Proba, require_members
from foldstill.stacking.convex import Convex
from foldstill.stacking.gated import Gated
from foldstill.stacking.gradient_boosting import LightGBM
from foldstill.stacking.log_pool import LogPool
from foldstill.stacking.logistic import Logistic, linear_logits
from foldstill.stacking.mlp import MLP
from foldstill.stacking.pruned import Pruned
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.stacking.sklearn_combiner import SklearnCombiner
from foldstill.stacking.state import State, array
from foldstill.stacking.super_learner import Super
from foldstill.stacking.tempered import Tempered
from foldstill.testing import check_combiner, synthetic_table

TREES, NETWORK = LightGBM.example(), MLP.example()
LIBRARY = Super(library=(Recalibrated(), Convex(tied=True), Gated(ridges=(0.1,)), TREES), folds=3)

VARIANTS: tuple[Combiner, ...] = (
    Recalibrated(name="vector_scaled", slope="per_class", of=Geometric()),
    Recalibrated(name="convex_recal", of=Convex(tied=True)),
    Convex(name="convex_tied", tied=True, row_weight="log1p"),
    Recalibrated(name="pruned_recal", of=Pruned(budget=3, costs=(("m0", 2.0),))),
    LogPool(name="log_pool_tied", tied=True, row_weight="clamp"),
    Gated(folds=2),
    Gated(name="gated_average", over="average", ridges=(0.1,)),
    Logistic(ridges=(0.1, 0.01), folds=2),
    replace(linear_logits(), ridges=(0.1,)),
    replace(NETWORK, name="mlp_family", features="family_statistics", anchor="none", kl_weight=2.0),
    replace(TREES, name="lightgbm_all", features="statistics_and_members", anchor="average"),
    SklearnCombiner("Ridge", name="ridge", options={"alpha": 1.0}, features="statistics", row_weight="log1p"),
    Auto(name="auto_ladder", folds=3, ladder=(Recalibrated(), Convex(tied=True), LogPool(), TREES)),
    Auto(name="auto_expected", folds=3, rule="expected", ladder=(Recalibrated(), Convex(tied=True), LogPool())),
    Auto(name="auto_judged", folds=3, judged_on=">=10", ladder=(Recalibrated(), Convex(tied=True))),
    LIBRARY,
    replace(LIBRARY, name="super_average", mode="average", keep=2),
    Tempered(name="tempered_pool", of=LogPool(tied=True)),
    Tempered(name="tempered_auto", of=Auto(folds=3, ladder=(Recalibrated(of=LogPool(tied=True)),))),
)
"""Settings beyond the example of each kind: options, and combiners that contain combiners."""

TABLE = synthetic_table()


@pytest.mark.parametrize("kind", COMBINERS, ids=lambda kind: kind.__name__)
def test_every_kind_of_combiner_keeps_its_promises(kind: type[Combiner]) -> None:
    check_combiner(kind.example(), TABLE)


@pytest.mark.parametrize("combiner", VARIANTS, ids=lambda combiner: combiner.name)
def test_combiners_with_options_and_inner_combiners_keep_their_promises(combiner: Combiner) -> None:
    check_combiner(combiner, TABLE)


def test_titles_are_short_and_kinds_and_titles_are_unique() -> None:
    kinds, titles = [kind.example().kind for kind in COMBINERS], [kind.title for kind in COMBINERS]
    assert len(set(kinds)) == len(set(titles)) == len(COMBINERS)
    assert max(map(len, titles)) <= 24
    assert all(kind.summary.endswith(".") for kind in COMBINERS)


@dataclass(frozen=True)
class Votes:
    """The share of members whose most likely class is c, plus a constant."""

    n_members: int

    def __call__(self, proba_NMC: NDArray[np.floating]) -> Proba:
        require_members(proba_NMC, self.n_members)
        count_NC = np.eye(proba_NMC.shape[2])[proba_NMC.argmax(axis=2)].sum(axis=1) + 0.5
        pooled_NC: Proba = count_NC / count_NC.sum(axis=1, keepdims=True)
        return pooled_NC

    def state(self) -> State:
        return {"n_members": np.asarray(self.n_members)}


@dataclass(frozen=True)
class MajorityVote(NamedKind, kind="majority_vote"):
    """The share of members that vote for each class: a combiner that is defined outside the package."""

    def fit(self, table: OOFTable) -> Votes:
        return Votes(len(table.members))

    def restore(self, state: State) -> Votes:
        return Votes(int(array(state, "n_members")))


def test_a_combiner_defined_outside_the_package_passes_the_contract_suite() -> None:
    check_combiner(MajorityVote())


@dataclass(frozen=True)
class Forgetful(MajorityVote):
    """Loses what it was fitted to."""

    def restore(self, state: State) -> Votes:
        return Votes(3)


@dataclass(frozen=True)
class Positional(MajorityVote):
    """Accepts any number of members."""

    def fit(self, table: OOFTable) -> Votes:
        return Unchecked(len(table.members))

    def restore(self, state: State) -> Votes:
        return Unchecked(int(array(state, "n_members")))


class Unchecked(Votes):
    def __call__(self, proba_NMC: NDArray[np.floating]) -> Proba:
        return Votes(proba_NMC.shape[1])(proba_NMC)


@pytest.mark.parametrize(
    ("combiner", "message"),
    [(Forgetful(), "fitted to 3 members"), (Positional(), "refuse another number of members")],
)
def test_the_contract_suite_says_which_promise_is_broken(combiner: Combiner, message: str) -> None:
    with pytest.raises((AssertionError, StackError), match=message):
        check_combiner(combiner)


def test_a_combiner_that_remembers_groups_fails_the_contract_suite() -> None:
    labels = {tuple(proba): target for proba, target in zip(TABLE.proba_NMC[:, 0], TABLE.labels.target_NC, strict=True)}

    class Cheat(Votes):
        def __call__(self, proba_NMC: NDArray[np.floating]) -> Proba:
            require_members(proba_NMC, self.n_members)
            return np.asarray([labels[tuple(proba)] for proba in proba_NMC[:, 0]]) * 0.999 + 0.001 / 3

    @dataclass(frozen=True)
    class Remembering(MajorityVote):
        """A combiner that remembers the labels of the rows it is fitted to."""

        def fit(self, table: OOFTable) -> Votes:
            labels.update(zip(map(tuple, table.proba_NMC[:, 0]), table.labels.target_NC, strict=True))
            return Cheat(len(table.members))

        def restore(self, state: State) -> Votes:
            return Cheat(int(array(state, "n_members")))

    with pytest.raises(AssertionError, match=r"held-out labels|permuted between groups"):
        check_combiner(Remembering(), TABLE)


def test_inner_combiners_of_any_kind_are_read_by_kind_and_recursion_works(tmp_path: Path) -> None:
    inner = Auto(name="inner", folds=3, ladder=(Recalibrated(of=Tempered(of=LogPool(tied=True))),))
    combiner = Auto(folds=3, ladder=(inner, Recalibrated(of=Pruned(budget=2))))
    save(fit(combiner, TABLE), tmp_path)
    assert load(tmp_path).combiner == combiner


INVARIANT = [
    kind for kind in COMBINERS if kind.__name__ in ("Average", "Geometric", "Median", "Trimmed", "Recalibrated")
]


@pytest.mark.parametrize("combiner", [*(kind.example() for kind in INVARIANT), NETWORK, TREES], ids=lambda c: c.name)
def test_averages_and_stackers_on_statistics_do_not_depend_on_which_member_predicted_what(combiner: Combiner) -> None:
    combination = combiner.fit(TABLE)
    np.testing.assert_allclose(combination(TABLE.proba_NMC), combination(TABLE.proba_NMC[:, [3, 1, 0, 2]]), atol=1e-6)


def test_member_weights_sum_to_one_and_are_equal_within_a_tied_family() -> None:
    named = {kind.example().name: kind.example() for kind in COMBINERS}
    for name in ("average", "geometric", "convex", "greedy", "log_pool", "recalibrated"):
        weight_M = fit(named[name], TABLE).weight_M
        assert weight_M is not None
        assert weight_M.sum() == pytest.approx(1)
        assert (weight_M >= 0).all()
    tied = fit(Convex(tied=True), TABLE).weight_M
    assert tied is not None
    assert tied[0] == tied[1]
    assert tied[2] == tied[3]
    assert fit(TREES, TABLE).weight_M is None


def test_a_combination_that_wraps_another_has_its_weights_and_its_explanation() -> None:
    assert fit(Tempered(of=Recalibrated(of=Convex())), TABLE).weight_M is not None
    auto = Auto(folds=3, ladder=(Convex(),))
    assert fit(Tempered(of=auto), TABLE).explanation
    assert crossfit(Tempered(of=auto), TABLE).notes[0]


def test_fold_models_are_combined_one_by_one_and_averaged_unless_pooled() -> None:
    both = np.stack([TABLE.proba_NMC, TABLE.proba_NMC[::-1]])
    scores = FoldScores(TABLE.scores.ids, TABLE.members, TABLE.classes, both, TABLE.scores.families)
    fitted = fit(Recalibrated(), TABLE)
    mean = (fitted.combination(both[0]) + fitted.combination(both[1])) / 2
    np.testing.assert_allclose(fitted.apply(scores), mean)
    np.testing.assert_allclose(fitted.apply(scores, pooled=True), fitted.apply(scores.mean()))
    average = fit(Average(), TABLE)
    np.testing.assert_allclose(average.apply(scores), average.apply(scores, pooled=True), atol=1e-6)


def test_a_missing_member_and_other_classes_are_refused_by_name() -> None:
    fitted = fit(Convex(), TABLE)
    with pytest.raises(StackError, match="lack 1 of them"):
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
    text = path.read_text()
    path.write_text(text.replace('"schema": 1', '"schema": 2'))
    with pytest.raises(StackError, match="does not have the bytes of its seal"):
        load(tmp_path)
    facts = {name: value for name, value in json.loads(text).items() if name != SEAL}
    write_json(path, facts | {"schema": 2}, sealed=True)
    with pytest.raises(StackError, match="schema 2"):
        load(tmp_path)
    write_json(path, json.loads(json.dumps(facts).replace('"ridge"', '"rigde"')), sealed=True)
    with pytest.raises(StackError, match="fit it again"):
        load(tmp_path)
    path.write_text(text)
    (tmp_path / "combination.npz").unlink()
    with pytest.raises(StackError, match=r"combination\.npz is missing"):
        load(tmp_path)


def test_a_combiner_of_another_package_is_read_back_only_with_its_class(tmp_path: Path) -> None:
    save(fit(MajorityVote(), TABLE), tmp_path)
    with pytest.raises(StackError, match="majority_vote"):
        load(tmp_path)
    assert load(tmp_path, combiners=[MajorityVote]).combiner == MajorityVote()


def test_the_default_combiners_have_the_names_that_reports_use() -> None:
    assert [c.name for c in default_combiners()] == [
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
