import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from foldstill.data.folds import TEST, FoldPlan, make_plan, torn_groups
from foldstill.data.labels import Labels
from foldstill.errors import DataError, FoldError


@pytest.fixture
def labels(rng) -> Labels:
    groups = np.sort(rng.integers(0, 60, 400))
    return Labels.from_hard(rng.integers(0, 3, 400), classes=["a", "b", "c"], groups=groups)


@pytest.mark.parametrize("strategy", ["grouped", "stratified_grouped"])
@pytest.mark.parametrize("n_folds", [2, 5])
def test_every_row_is_held_out_once_and_no_group_is_split(labels, strategy, n_folds):
    plan = make_plan(labels, n_folds=n_folds, strategy=strategy)
    assert plan.n_folds == n_folds
    held = np.concatenate([plan.test_rows, *(plan.held_out(k) for k in range(n_folds))])
    assert sorted(held.tolist()) == list(range(len(labels)))
    for k in range(n_folds):
        assert not set(labels.groups[plan.training(k)]) & set(labels.groups[plan.held_out(k)])
        assert not set(labels.groups[plan.training(k)]) & set(labels.groups[plan.test_rows])
        assert set(plan.training(k)) | set(plan.held_out(k)) == set(plan.oof_rows)


def test_the_test_split_is_about_its_share(labels):
    assert len(make_plan(labels, test_share=0.15).test_rows) / len(labels) == pytest.approx(0.15, abs=0.05)
    assert len(make_plan(labels, test_share=0.0).test_rows) == 0


def test_the_same_seed_gives_the_same_plan_and_another_another(labels):
    assert make_plan(labels, seed=3).digest == make_plan(labels, seed=3).digest
    assert make_plan(labels, seed=3).digest != make_plan(labels, seed=4).digest


def test_stratified_folds_balance_a_rare_class(rng):
    hard = np.where(np.arange(300) < 30, 1, 0)
    labels = Labels.from_hard(hard, classes=["common", "rare"], groups=np.arange(300))
    plan = make_plan(labels, n_folds=5, test_share=0)
    assert [int(hard[plan.held_out(k)].sum()) for k in range(5)] == [6] * 5


def test_a_plan_reads_back_as_written(labels, tmp_path):
    plan = make_plan(labels)
    plan.write(tmp_path / "folds.parquet")
    read = FoldPlan.read(tmp_path / "folds.parquet")
    assert read.digest == plan.digest
    assert (read.seed, read.strategy) == (plan.seed, plan.strategy)
    assert [p.name for p in tmp_path.iterdir()] == ["folds.parquet"]


def test_a_group_in_two_folds_is_refused_with_its_name(labels):
    fold_N = make_plan(labels, test_share=0).fold_N.copy()
    rows = np.flatnonzero(labels.groups == labels.groups[0])
    fold_N[rows[0]] = (fold_N[rows[0]] + 1) % 5
    with pytest.raises(FoldError, match=rf"group '{labels.groups[0]}' is in fold . and fold .: a group must stay"):
        FoldPlan(labels.ids, labels.groups, fold_N)


def test_a_group_in_a_fold_and_the_test_split_is_refused(labels):
    fold_N = make_plan(labels, test_share=0).fold_N.copy()
    fold_N[np.flatnonzero(labels.groups == labels.groups[0])[0]] = TEST
    with pytest.raises(FoldError, match=r"test"):
        FoldPlan(labels.ids, labels.groups, fold_N)


def test_groups_in_several_folds_are_listed_once_each():
    groups, fold_N = np.array(list("cabbac")), np.array([0, 1, 1, 0, TEST, 0])
    assert torn_groups(groups, fold_N).tolist() == ["a", "b"]
    assert torn_groups(groups, np.zeros(6, int)).tolist() == []


def test_too_few_groups_say_how_many_are_needed():
    labels = Labels.from_hard([0, 1, 0, 1], classes=["a", "b"], groups=[1, 1, 2, 2])
    with pytest.raises(FoldError, match=r"n_folds = 5 and a test split need at least 6 groups, got 2"):
        make_plan(labels)
    with pytest.raises(FoldError, match=r"n_folds = 5 needs at least 5 groups, got 2"):
        make_plan(labels, test_share=0)


def test_a_class_absent_from_a_training_fold_is_refused():
    labels = Labels.from_hard([0] * 20 + [1] * 4, classes=["a", "b"], groups=[*range(20), 20, 20, 20, 20])
    with pytest.raises(DataError, match=r"the training set of fold . has no vote for \['b'\]"):
        make_plan(labels, n_folds=3, test_share=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_folds": 1}, "n_folds must be 2 or more"),
        ({"test_share": 1.0}, "test_share must be in"),
        ({"strategy": "random"}, "grouped or stratified_grouped"),
    ],
)
def test_options_that_make_no_plan_are_refused(labels, options, message):
    with pytest.raises(FoldError, match=message):
        make_plan(labels, **options)


def test_folds_made_elsewhere_are_numbered_anew():
    labels = Labels.from_hard([0, 1, 0, 1], classes=["a", "b"])
    assert FoldPlan.from_folds(labels, [3, 1, -1, 3]).fold_N.tolist() == [1, 0, -1, 1]
    with pytest.raises(FoldError, match=r"one whole number per row"):
        FoldPlan.from_folds(labels, [0.5, 1, 2, 3])
    with pytest.raises(FoldError, match=r"K >= 2"):
        FoldPlan.from_folds(labels, [0, 0, 0, 0])


def test_a_plan_from_a_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(FoldError, match=r"no fold plan at"):
        FoldPlan.read(tmp_path / "folds.parquet")
    (tmp_path / "folds.parquet").write_text("id,group,fold\na,b,0\n")
    with pytest.raises(FoldError, match=r"is not a parquet file"):
        FoldPlan.read(tmp_path / "folds.parquet")


def test_a_plan_that_lacks_columns_names_them(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": ["a"], "fold": [0]}), tmp_path / "folds.parquet")
    with pytest.raises(FoldError, match=r"lacks the columns \['group'\]"):
        FoldPlan.read(tmp_path / "folds.parquet")


def test_another_seed_gives_other_folds_as_even_as_the_first(rng: np.random.Generator) -> None:
    groups = np.repeat(np.arange(120), rng.integers(1, 20, 120))
    votes = rng.multinomial(5, rng.dirichlet([0.5, 0.3, 0.1], 120)[groups])
    labels = Labels.from_votes(votes, groups=groups)
    plans = [make_plan(labels, seed=seed) for seed in range(4)]
    assert len({plan.digest for plan in plans}) == 4
    for plan in plans:
        assert abs(len(plan.test_rows) / len(labels) - 0.15) < 0.03
        overall = labels.target_NC[plan.oof_rows].mean(axis=0)
        for fold in range(plan.n_folds):
            held = plan.held_out(fold)
            assert abs(len(held) / len(plan.oof_rows) - 0.2) < 0.02
            np.testing.assert_allclose(labels.target_NC[held].mean(axis=0), overall, atol=0.03)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"fold": [0, 0.5, 1]}, r"fold in .*f.parquet must hold a whole number per row, .* got double|float64"),
        ({"fold": [0, None, 1]}, r"must hold a whole number per row"),
        ({"fold": ["0", "1", "-1"]}, r"must hold a whole number per row"),
        ({"fold": [0, 1, 70000]}, r"must hold a whole number per row"),
        ({"fold": [0, 1, 0], "id": ["a", "b", "a"]}, r"1 ids are in the fold plan more than once; first: \['a'\]"),
    ],
)
def test_a_file_of_folds_that_are_none_is_refused(tmp_path, columns, message):
    table = {"id": ["a", "b", "c"], "group": ["a", "b", "c"]} | columns
    pq.write_table(pa.table(table), tmp_path / "f.parquet")
    with pytest.raises(FoldError, match=message):
        FoldPlan.read(tmp_path / "f.parquet")
