"""Members that read feature tables: soft targets, categories and missing values, through a run to a comparison."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import foldstill as fs
from foldstill.base_models import LightGBMMember, SklearnMember, TorchMember, collect, predict_members, train_members
from foldstill.data import FoldPlan
from foldstill.data.boosting import soft_objective
from foldstill.data.simplex import kl_divergence
from foldstill.data.training import FitContext, TrainingSet
from foldstill.errors import EstimatorError, FoldstillWarning, MemberError
from foldstill.json_files import read_json
from foldstill.manifest import DONE
from foldstill.pipeline import find_run
from foldstill.testing import synthetic_dataset
from made_up import one_worker

N = 240


def write_table(folder: Path, n: int = N, name: str = "d.csv") -> None:
    """Three classes that a number and a category tell apart, three rows per group, 1 to 6 votes."""
    rng = np.random.default_rng(0)
    class_N = rng.integers(0, 3, n)
    frame = pd.DataFrame(
        {
            "id": [f"s{i}" for i in range(n)],
            "patient": np.arange(n) // 3,
            "size": np.where(rng.random(n) < 0.1, np.nan, class_N + rng.normal(0, 0.5, n)).round(3),
            "color": np.array(["red", "green", "blue"], object)[np.where(rng.random(n) < 0.8, class_N, 0)],
        }
    )
    votes = rng.multinomial(rng.integers(1, 7, n), 0.8 * np.eye(3)[class_N] + 0.2 / 3)
    frame[["a", "b", "c"]] = votes
    frame.to_csv(folder / name, index=False)


EXPERIMENT = """name = "tables"
[data]
kind = "table"
path = "d.csv"
votes = ["a", "b", "c"]
id = "id"
group = "patient"
[folds]
n_folds = 3
[[member]]
kind = "lightgbm"
name = "boosted"
rounds = 20
rows_per_leaf = 5
[[member]]
kind = "lightgbm"
name = "stumps"
rounds = 20
leaves = 2
patience = 0
[[member]]
kind = "sklearn"
name = "trees"
estimator = "ExtraTreesClassifier"
options = { n_estimators = 20, min_samples_leaf = 5 }
[[stacking.combiner]]
kind = "average"
[[stacking.combiner]]
kind = "convex"
"""

WITHOUT_TORCH = """
import sys
sys.argv = ["foldstill", "run", "e.toml", "--out", "run", "-q", "--workers", "1"]
from foldstill.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
sys.argv = ["foldstill", "predict", "--run", "run", "--data", "d.csv", "--arm", "average", "--out", "new.csv"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
assert "torch" not in sys.modules, "an experiment without networks must not import torch"
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the experiment and its predictions for the same rows, in a process of its own that imports no torch."""
    folder = tmp_path_factory.mktemp("tables")
    write_table(folder)
    (folder / "e.toml").write_text(EXPERIMENT, encoding="utf-8")
    # A relative PYTHONPATH would start at the folder of the run.
    environment = {**os.environ, "PYTHONPATH": str(Path(fs.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_a_run_without_networks_imports_no_torch_and_reaches_a_comparison(run: Path) -> None:
    comparison = find_run(run / "run").comparison
    scores = {arm.name: arm.kl for arm in comparison.arms}
    assert {"boosted", "stumps", "trees", "average", "convex"} <= set(scores)
    assert max(kl for name, kl in scores.items() if name != "class prior") < 0.6 < scores["class prior"]
    assert (run / "run" / "members" / "boosted" / "fold-0" / "model.txt").read_text().startswith("tree")


def test_every_arm_has_its_cost_in_leaves_time_and_bytes(run: Path) -> None:
    arms = {arm.name: arm.cost for arm in find_run(run / "run").comparison.arms}
    member, average = arms["stumps"], arms["average"]
    assert member is not None
    assert average is not None
    assert member.parameters == 3 * 20 * 3 * 2  # folds x rounds x classes x leaves
    assert member.bytes
    assert average.parameters > member.parameters  # type: ignore[operator]
    assert None not in (average.latency_1_ms, average.latency_batch_ms, average.bytes)
    leaves = [read_json(run / "run" / "members" / "trees" / f"fold-{k}" / DONE, dict)["parameters"] for k in range(3)]
    assert arms["trees"].parameters == 3 * leaves[0]  # type: ignore[union-attr]


def test_new_rows_are_matched_by_the_names_of_features_and_levels(run: Path) -> None:
    rows = pd.read_csv(run / "d.csv")
    other = rows.sample(frac=1, random_state=0)[["color", "size", "id", "patient"]]
    other.to_csv(run / "other.csv", index=False)
    data = find_run(run / "run").experiment.data
    members = find_run(run / "run").experiment.member
    first, second = (
        predict_members(run / "run" / "members", members, data.inputs(run / name).views, "abc")
        for name in ("d.csv", "other.csv")
    )
    np.testing.assert_array_equal(first.proba_KNMC[:, other.index], second.proba_KNMC)


def features_of(view: pd.DataFrame, target_NC: np.ndarray, n_train: int) -> TrainingSet:
    views = {"features": fs.FeatureTable.of(view)}
    return TrainingSet(views, ("a", "b", "c"), np.arange(n_train), target_NC)


def test_hard_labels_give_what_lightgbm_gives_on_its_own() -> None:
    import lightgbm

    rng = np.random.default_rng(0)
    x_NF = rng.normal(size=(300, 4))
    class_N = (x_NF[:, 0] + rng.normal(0, 0.5, 300) > 0).astype(int) + (x_NF[:, 1] > 1)
    member = LightGBMMember("m", rounds=15, patience=0)
    training_set = features_of(pd.DataFrame(x_NF), np.eye(3)[class_N], 200)
    ours = member.fit(training_set, FitContext()).predict(training_set.views)
    theirs = lightgbm.LGBMClassifier(n_estimators=15, n_jobs=1, verbose=-1, deterministic=True, force_row_wise=True)
    theirs.fit(x_NF[:200], class_N[:200])
    np.testing.assert_allclose(ours, theirs.booster_.predict(x_NF), atol=1e-5)


def test_shares_and_weights_are_learned_and_the_objective_is_that_of_the_combiner() -> None:
    # Without a feature that says anything, the prediction is the weighted mean of the shares.
    target_NC = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]).repeat(20, axis=0)
    training_set = features_of(pd.DataFrame({"x": np.arange(40) % 2}), target_NC, 40)
    weighted = replace(training_set, weight_N=np.repeat([3.0, 1.0], 20))
    proba = LightGBMMember("m", rounds=5, patience=0).fit(weighted, FitContext()).predict(weighted.views)
    np.testing.assert_allclose(proba[0], [0.55, 0.35, 0.1], atol=1e-3)
    assert soft_objective(target_NC, np.ones(40))(np.zeros((40, 3)))[0].shape == (40, 3)


def test_early_stopping_looks_at_whole_groups_of_training_rows() -> None:
    dataset = synthetic_dataset()
    training_set = TrainingSet.from_labels(dataset.labels, {"features": dataset.view("features")}, np.arange(60))
    member = LightGBMMember("m", rounds=200, patience=3, rows_per_leaf=2, inner_share=0.2)
    model = member.fit(training_set, FitContext())
    assert 0 < model.facts["rounds"] < 200
    assert model.facts["leaves"] == model.trees.n_leaves
    one_group = replace(training_set, group_N=np.zeros(72, int))
    with pytest.raises(MemberError, match="early stopping needs two groups of training rows or more, got 1"):
        member.check(one_group)


def test_a_level_that_only_locked_rows_have_works_and_is_said(tmp_path: Path) -> None:
    n = 60
    frame = pd.DataFrame({"x": np.arange(n) % 7, "color": ["new" if i < 6 else "old"[i % 3] for i in range(n)]})
    labels = fs.Labels.from_hard(np.arange(n) % 2)
    folds = np.where(np.arange(n) < 6, -1, np.arange(n) // 2 % 2)
    plan = FoldPlan.from_folds(labels, folds)
    dataset = fs.Dataset(labels, {"features": frame})
    members = (
        LightGBMMember("m", rounds=3, patience=0),
        SklearnMember("logistic", "LogisticRegression"),
        TorchMember("linear", lambda shape, n_classes: torch.nn.Linear(*shape, n_classes), view="features"),
    )
    with pytest.warns(FoldstillWarning, match=r"only locked rows have the levels \['new'\] of 'color'"):
        train_members(members, dataset, plan, tmp_path, work=one_worker())
    test = collect(tmp_path, members, labels, plan)[1]
    assert test is not None
    assert np.isfinite(test.proba_KNMC).all()


def test_a_member_of_tables_refuses_images_and_settings_out_of_range() -> None:
    dataset = synthetic_dataset()
    training_set = TrainingSet.from_labels(dataset.labels, dataset.views, np.arange(60))
    with pytest.raises(MemberError, match=r"'m' reads a feature table .* 'image' has rows of shape \(16, 16, 3\)"):
        LightGBMMember("m", view="image").check(training_set)
    with pytest.raises(MemberError, match=r"member 'm': leaves must be 2 or more, got 1"):
        LightGBMMember("m", leaves=1)
    with pytest.raises(MemberError, match=r"member 'm': row_share must be in \(0, 1\], got 2"):
        LightGBMMember("m", row_share=2.0)


OWN_PREPARATION = make_pipeline(
    make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["color"]), (SimpleImputer(), ["size"]), sparse_threshold=0
    ),
    LogisticRegression(),
)
LABELLED = replace(
    TrainingSet.from_labels(
        synthetic_dataset().labels, {"features": synthetic_dataset().view("features")}, np.arange(60)
    ),
    target_NC=np.eye(3)[np.arange(72) // 3 % 3],
)
"""Numbers with missing values, a category with missing values, and hard labels."""


@pytest.mark.parametrize(
    "member",
    [
        SklearnMember("m", "LogisticRegression"),
        SklearnMember("m", "KNeighborsClassifier"),  # takes no weights, and hard labels need none
        SklearnMember("m", "MultinomialNB"),  # takes no negative numbers
        SklearnMember("m", "HistGradientBoostingClassifier", options={"max_iter": 5}),
        SklearnMember("m", "ExtraTreesRegressor", options={"n_estimators": 5}),
        SklearnMember("m", OWN_PREPARATION),
    ],
    ids=lambda member: str(member.estimator).partition("(")[0],
)
def test_categories_and_missing_values_reach_every_kind_of_estimator(member: SklearnMember, tmp_path: Path) -> None:
    member.check(LABELLED)
    model = member.fit(LABELLED, FitContext(seed=3))
    proba_NC = model.predict(LABELLED.views)
    assert np.isfinite(proba_NC).all()
    np.testing.assert_allclose(proba_NC.sum(axis=1), 1, atol=1e-5)
    assert kl_divergence(target=LABELLED.target_NC, proba=proba_NC) < 0.9
    assert model.facts["parameters"] > 0
    model.save(tmp_path)
    np.testing.assert_array_equal(member.load(tmp_path).predict(LABELLED.views), proba_NC)


def test_an_estimator_over_folds_predicts_what_cross_val_predict_predicts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x_NF, class_N = rng.normal(size=(90, 3)), np.arange(90) % 3
    x_NF[:, 0] += class_N
    folds = np.arange(90) % 2
    labels = fs.Labels.from_hard(class_N)
    plan = FoldPlan.from_folds(labels, folds)
    estimator = make_pipeline(StandardScaler(), LogisticRegression())
    member = SklearnMember("m", estimator)
    train_members([member], fs.Dataset(labels, {"features": x_NF}), plan, tmp_path, work=one_worker())
    theirs = cross_val_predict(estimator, x_NF, class_N, cv=PredefinedSplit(folds), method="predict_proba")
    np.testing.assert_allclose(collect(tmp_path, [member], labels, plan)[0].proba_NMC[:, 0], theirs, atol=1e-6)


def test_soft_labels_are_learned_by_weighted_entries() -> None:
    target_NC = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]).repeat(20, axis=0)
    training_set = features_of(pd.DataFrame({"x": np.repeat([0.0, 1.0], 20)}), target_NC, 40)
    for name in ("DecisionTreeClassifier", "DecisionTreeRegressor"):
        proba_NC = SklearnMember("m", name).fit(training_set, FitContext()).predict(training_set.views)
        np.testing.assert_allclose(proba_NC, target_NC, atol=1e-6)


class Foreign(LogisticRegression):
    """An estimator of a user, whose code a saved file could not carry."""


@pytest.mark.parametrize(
    ("estimator", "options", "message"),
    [
        ("KMeans", {}, "must be the name of a classifier or regressor of scikit-learn, got 'KMeans'"),
        ("ExtraTreeClassifer", {}, "did you mean ExtraTreeClassifier"),
        (KMeans(), {}, "must be a classifier or a regressor, got KMeans"),
        (LogisticRegression, {}, "must be the name of a scikit-learn estimator or an estimator, got <class"),
        ("LinearSVC", {}, "gives no probabilities"),
        ("SVR", {}, "cannot be fitted to several outputs"),
        ("Ridge", {"alhpa": 1}, "options of sklearn do not fit Ridge: .*'alhpa'"),
    ],
)
def test_what_is_no_learner_is_refused_where_it_is_named(estimator: object, options: dict, message: str) -> None:
    with pytest.raises(EstimatorError, match=message):
        SklearnMember("m", estimator, options=options)


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (SklearnMember("m", "KNeighborsClassifier"), "'m': KNeighborsClassifier .* takes no sample weights"),
        (SklearnMember("m", "Ridge", options={"alpha": -1.0}), "'m': options of sklearn do not fit Ridge: .*'alpha'"),
        (SklearnMember("m", Foreign()), "'m': a scikit-learn estimator cannot be saved, it contains .*Foreign"),
    ],
)
def test_what_cannot_learn_these_labels_is_refused_before_anything_is_fitted(
    member: SklearnMember, message: str
) -> None:
    dataset = synthetic_dataset()
    soft = TrainingSet.from_labels(dataset.labels, {"features": dataset.view("features")}, np.arange(60))
    with pytest.raises(MemberError, match=message):
        member.check(soft)
