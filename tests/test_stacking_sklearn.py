"""scikit-learn estimators as combiners, combiners as scikit-learn estimators."""

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    PredefinedSplit,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import foldstill as fs
from foldstill.data.estimator_files import dump_estimator, load_estimator
from foldstill.errors import EstimatorError, ExperimentError, StackError
from foldstill.oof.table import OOFTable
from foldstill.pipeline.experiment_file import parse_experiment
from foldstill.stacking import crossfit, fit, load, save, stacked_classifier
from foldstill.stacking.averages import Average
from foldstill.stacking.class_columns import ClassColumns
from foldstill.stacking.convex import Convex
from foldstill.stacking.log_pool import LogPool
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.stacking.sklearn_combiner import SklearnCombiner
from foldstill.stacking.stacked_classifier import StackedClassifier
from foldstill.stacking.tempered import Tempered
from foldstill.testing import check_combiner, synthetic_table
from made_up import timm_table

TABLE = synthetic_table()
SIDE_BY_SIDE = TABLE.proba_NMC.reshape(len(TABLE), -1)


@pytest.mark.parametrize("estimator", [LogisticRegression(C=0.1), Ridge(alpha=1.0)])
def test_an_estimator_of_scikit_learn_is_cross_fitted_like_any_combiner(estimator: object) -> None:
    done = crossfit(SklearnCombiner(estimator, name="theirs"), TABLE)
    np.testing.assert_allclose(done.proba_NC.sum(axis=1), 1)
    assert done.kl < crossfit(Average(), TABLE).kl + 0.1


def test_a_classifier_is_fitted_to_shares_and_not_to_the_most_voted_class() -> None:
    ours = SklearnCombiner(LogisticRegression(C=1e4, max_iter=2000), features="statistics").fit(TABLE)
    prior = TABLE.labels.target_NC.mean(axis=0)
    # An unpenalised multinomial fit reproduces the mean of its targets (its first-order condition for the intercept).
    np.testing.assert_allclose(ours(TABLE.proba_NMC).mean(axis=0), prior, atol=5e-3)


PIPELINE = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
ESTIMATORS = [
    SklearnCombiner("ExtraTreesClassifier", options={"n_estimators": 5, "random_state": 0}),
    SklearnCombiner("RandomForestRegressor", options={"n_estimators": 5, "random_state": 0}, row_weight="clamp"),
    SklearnCombiner(HistGradientBoostingClassifier(max_iter=3), features="statistics"),
    SklearnCombiner(PIPELINE, name="pipeline"),
    Tempered(of=SklearnCombiner(PIPELINE)),
]


@pytest.mark.parametrize("combiner", ESTIMATORS, ids=repr)
def test_a_saved_estimator_gives_the_same_scores(combiner: SklearnCombiner, tmp_path: Path) -> None:
    fitted = fit(combiner, TABLE)
    save(fitted, tmp_path)
    again = load(tmp_path)
    np.testing.assert_array_equal(again.apply(TABLE.scores), fitted.apply(TABLE.scores))
    np.testing.assert_array_equal(fit(again.combiner, TABLE).apply(TABLE.scores), fitted.apply(TABLE.scores))
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".npz"}


def test_named_estimators_keep_the_promises_of_a_combiner() -> None:
    check_combiner(ESTIMATORS[0], TABLE)


def test_equal_estimators_are_saved_as_equal_bytes() -> None:
    labels_N = np.arange(len(TABLE)) % 3
    first, second = (dump_estimator(clone(PIPELINE).fit(SIDE_BY_SIDE, labels_N)) for _ in range(2))
    assert first == second
    np.testing.assert_array_equal(
        load_estimator(first).predict_proba(SIDE_BY_SIDE),
        clone(PIPELINE).fit(SIDE_BY_SIDE, labels_N).predict_proba(SIDE_BY_SIDE),
    )


def test_an_experiment_file_names_an_estimator_and_its_options() -> None:
    text = f"""name = "x"
[data]
kind = "digits"
{timm_table("a")}[stacking]
combiner = [{{ kind = "average" }}, {{ kind = "sklearn", estimator = "Ridge", options = {{ alpha = 2.0 }} }}]
"""
    _, combiner = parse_experiment(text, "x.toml").stacking.combiner
    assert combiner == SklearnCombiner("Ridge", options={"alpha": 2.0})
    with pytest.raises(ExperimentError, match=r"combiner\.1: .*got 'Rigde': did you mean Ridge"):
        parse_experiment(text.replace('"Ridge"', '"Rigde"'), "x.toml")
    with pytest.raises(ExperimentError, match=r"combiner\.1: options of sklearn do not fit Ridge: .*'alhpa'"):
        parse_experiment(text.replace("alpha", "alhpa"), "x.toml")


def test_estimators_that_cannot_work_are_refused_with_the_reason() -> None:
    with pytest.raises(EstimatorError, match="takes no sample weights"):
        SklearnCombiner(KNeighborsClassifier()).fit(TABLE)
    with pytest.raises(EstimatorError, match=r"SVR of scikit-learn cannot be fitted to several outputs"):
        SklearnCombiner("SVR").fit(TABLE)
    with pytest.raises(EstimatorError, match="name of a scikit-learn estimator or an estimator, got 3"):
        SklearnCombiner(3)
    with pytest.raises(EstimatorError, match="set them on the object"):
        SklearnCombiner(Ridge(), options={"alpha": 1.0})


class Foreign(Ridge):
    """An estimator of a user, whose code a saved file could not carry."""


def renamed(data: bytes, *pairs: str) -> bytes:
    """A skops file with other names of types."""
    buffer = io.BytesIO()
    with ZipFile(io.BytesIO(data)) as source, ZipFile(buffer, "w") as target:
        for name in source.namelist():
            text = source.read(name)
            for old, new in zip(pairs[::2], pairs[1::2], strict=True):
                text = text.replace(old.encode(), new.encode())
            target.writestr(name, text)
    return buffer.getvalue()


def test_types_of_other_packages_are_neither_saved_nor_loaded(tmp_path: Path) -> None:
    from skops.io import dumps

    with pytest.raises(EstimatorError, match=r"cannot be saved, it contains .*Foreign"):
        save(fit(SklearnCombiner(Foreign()), TABLE), tmp_path)
    with pytest.raises(EstimatorError, match=r"cannot be loaded, it contains .*Foreign"):
        load_estimator(dumps(Foreign()))
    with pytest.raises(EstimatorError, match=r"cannot be loaded, it contains .*load"):
        load_estimator(dumps(FunctionTransformer(func=np.load)))
    with pytest.raises(EstimatorError, match=r"cannot be loaded, it contains .*system"):
        load_estimator(renamed(dumps(Ridge()), '"Ridge"', '"system"', '"sklearn.linear_model._ridge"', '"os"'))
    with pytest.raises(EstimatorError, match="cannot be read"):
        load_estimator(b"no archive")


def test_a_saved_forest_is_what_skops_saves_and_equal_models_have_equal_files() -> None:
    from skops.io import dumps, loads

    x_NF, y_N = np.random.default_rng(0).normal(size=(80, 3)), np.arange(80) % 3
    forest = ExtraTreesClassifier(5, random_state=0).fit(x_NF, y_N)
    ours, theirs = dump_estimator([None, forest]), dumps([None, forest])
    schemas = [json.loads(ZipFile(io.BytesIO(data)).read("schema.json")) for data in (ours, theirs)]
    assert plain(schemas[0]) == plain(schemas[1])
    np.testing.assert_array_equal(
        loads(ours, trusted=["sklearn.tree._tree.Tree"])[1].predict_proba(x_NF), forest.predict_proba(x_NF)
    )
    linear = [dump_estimator(LogisticRegression().fit(x_NF, y_N)) for _ in range(2)]
    assert linear[0] == linear[1]


def plain(schema: Any) -> Any:
    """A schema of skops without memory addresses and names of files."""
    if isinstance(schema, dict):
        return {key: plain(value) for key, value in schema.items() if key not in ("__id__", "file")}
    return [plain(value) for value in schema] if isinstance(schema, list) else schema


def test_a_changed_file_of_a_saved_estimator_is_refused(tmp_path: Path) -> None:
    save(fit(SklearnCombiner(PIPELINE), TABLE), tmp_path)
    path = tmp_path / "combination.json"
    saved = json.loads(path.read_text())
    saved["settings"]["estimator"]["skops"] = "AAAA"
    path.write_text(json.dumps(saved))
    with pytest.raises(StackError, match="was damaged or changed"):
        load(tmp_path)


def test_a_combiner_inside_scikit_learn_gives_what_it_gives_outside() -> None:
    inside = StackedClassifier(Convex()).fit(SIDE_BY_SIDE, TABLE.labels.target_NC, groups=TABLE.labels.groups)
    np.testing.assert_allclose(inside.predict_proba(SIDE_BY_SIDE), Convex().fit(TABLE)(TABLE.proba_NMC), atol=1e-5)
    assert inside.predict(SIDE_BY_SIDE).shape == (len(TABLE),)


def test_grid_search_over_combiners_works_with_class_labels() -> None:
    hard = np.asarray(["a", "b", "c"])[TABLE.labels.target_NC.argmax(axis=1)]
    search = GridSearchCV(
        StackedClassifier(), {"combiner": [Average(), Recalibrated()]}, cv=GroupKFold(3), scoring="neg_log_loss"
    ).fit(SIDE_BY_SIDE, hard, groups=TABLE.labels.groups)
    assert search.best_score_ > -1.1
    assert set(search.predict(SIDE_BY_SIDE)) <= {"a", "b", "c"}
    assert clone(search.best_estimator_).get_params()["combiner"] == search.best_params_["combiner"]


STAGES = ["wake", "rem", "deep"]


def _sleep() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of two members whose columns are wake, rem, deep, and the stages they are of."""
    rng = np.random.default_rng(0)
    stage_N = rng.integers(0, 3, 150)
    proba_NMC = rng.dirichlet(np.ones(3), (150, 2)) * 0.4 + 0.6 * np.eye(3)[stage_N][:, None]
    return proba_NMC.reshape(150, 6), np.asarray(STAGES)[stage_N]


def test_columns_are_matched_to_classes_by_name_in_whatever_order() -> None:
    X, stage_N = _sleep()
    frame = pd.DataFrame(X, columns=[f"{m}__{c}" for m in ("cnn", "gbm") for c in ("wake", "rem", "deep")])
    mixed = frame.sample(frac=1, axis=1, random_state=1)
    by_name = StackedClassifier(Average()).fit(mixed, stage_N)
    assert by_name.classes_.tolist() == ["deep", "rem", "wake"]
    assert (by_name.predict(mixed) == stage_N).mean() > 0.95
    by_argument = StackedClassifier(Average(), classes=["wake", "rem", "deep"]).fit(X, stage_N)
    np.testing.assert_allclose(by_argument.predict_proba(X), by_name.predict_proba(mixed))
    shares = np.eye(3)[pd.Series(stage_N).map({"wake": 0, "rem": 1, "deep": 2})]
    soft = StackedClassifier(Average(), classes=["wake", "rem", "deep"]).fit(X, shares)
    np.testing.assert_allclose(soft.predict_proba(X), by_name.predict_proba(mixed))


def test_columns_without_names_that_fit_another_order_are_refused() -> None:
    X, stage_N = _sleep()
    with pytest.raises(StackError, match=r"fit the classes in the order \['wake', 'rem', 'deep'\] better than"):
        StackedClassifier(Average()).fit(X, stage_N)
    numbers_N = pd.Series(stage_N).map({"wake": 0, "rem": 1, "deep": 2}).to_numpy()
    assert (StackedClassifier(Average()).fit(X, numbers_N).predict(X) == numbers_N).mean() > 0.95


def test_a_class_that_no_row_has_stays_a_class() -> None:
    X, stage_N = _sleep()
    awake = stage_N != "deep"
    frame = pd.DataFrame(X, columns=[f"{m}__{c}" for m in ("cnn", "gbm") for c in ("wake", "rem", "deep")])
    ordered = StackedClassifier(classes=["wake", "rem", "deep"])
    for classifier, rows in ((StackedClassifier(), frame[awake]), (ordered, X[awake])):
        fitted = classifier.fit(rows, stage_N[awake])
        assert fitted.classes_.tolist() == ["deep", "rem", "wake"]
        assert fitted.predict_proba(rows).shape == (awake.sum(), 3)
    with pytest.raises(StackError, match=r"name classes that y lacks with classes|hold each member's 2 classes"):
        StackedClassifier().fit(X[awake][:, :3], stage_N[awake])


def test_classes_that_do_not_fit_are_refused() -> None:
    X, stage_N = _sleep()
    with pytest.raises(StackError, match=r"hold every class of y, got .* without \['deep'\]"):
        StackedClassifier(classes=["wake", "rem"]).fit(X, stage_N)
    frame = pd.DataFrame(X, columns=["a__wake", "a__rem", "a__deep", "b__wake", "b__rem", "other"])
    with pytest.raises(StackError, match=r"these do not fit: \['b__rem', 'b__wake', 'other'\]"):
        StackedClassifier().fit(frame, stage_N)
    with pytest.raises(StackError, match="combiner of StackedClassifier must be the settings of a combiner"):
        StackedClassifier(Average).fit(X, stage_N)


NO_PROBABILITIES = "feeds numbers as X that are no probabilities of the classes, which is refused in one sentence"
EXPECTED = {
    f"check_{name}": NO_PROBABILITIES
    for name in (
        "classifier_data_not_an_array",
        "classifiers_classes",
        "classifiers_train",
        "dict_unchanged",
        "dont_overwrite_parameters",
        "dtype_object",
        "estimators_dtypes",
        "estimators_fit_returns_self",
        "estimators_nan_inf",
        "estimators_overwrite_params",
        "estimators_pickle",
        "f_contiguous_array_estimator",
        "fit2d_predict1d",
        "fit_check_is_fitted",
        "fit_idempotent",
        "fit_score_takes_y",
        "methods_sample_order_invariance",
        "methods_subset_invariance",
        "n_features_in",
        "n_features_in_after_fitting",
        "pipeline_consistency",
        "positive_only_tag_during_fit",
        "readonly_memmap_input",
        "sample_weight_equivalence_on_dense_data",
        "sample_weights_list",
        "sample_weights_not_an_array",
        "sample_weights_not_overwritten",
        "sample_weights_pandas_series",
        "sample_weights_shape",
        "supervised_y_2d",
    )
}
"""Checks of scikit-learn that cannot pass, with the reason."""


@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks_fail_only_where_their_inputs_are_no_probabilities() -> None:
    # Whatever is not listed and fails is raised.
    results = check_estimator(StackedClassifier(), expected_failed_checks=EXPECTED, on_skip=None)
    assert sum(r["status"] == "passed" for r in results) >= 25
    for result in results:
        if result["status"] == "xfail":
            chain, error = [], result["exception"]
            while error is not None:
                chain.append(str(error))
                error = error.__cause__ or error.__context__
            assert any("X must hold each member" in c or "(a member's classes side by side)" in c for c in chain), (
                result
            )


class OnAnything(StackedClassifier):
    """The classifier on any numbers: each feature becomes a member, so that the checks reach what follows."""

    def _blocks(self, rows: np.ndarray) -> np.ndarray:
        logits = 3 * np.tanh(rows / 3)[:, :, None] * np.linspace(-1, 1, len(self.classes_))
        return (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).astype(np.float32)


def _any_columns(
    observed: np.ndarray, given: object, names: object, positive: object, rows: np.ndarray
) -> ClassColumns:
    if len(np.unique(observed)) < 2:
        raise StackError("y must have two classes or more, got one class")
    return ClassColumns(np.unique(observed), np.zeros((rows.shape[1], len(np.unique(observed))), np.intp), True)


@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks_pass_where_their_inputs_are_made_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked_classifier, "class_columns", _any_columns)
    too_weak = {"check_classifiers_train": "asks for an accuracy of 0.83, which no average of single features has"}
    results = check_estimator(OnAnything("average"), expected_failed_checks=too_weak, on_skip=None)
    assert {r["check_name"] for r in results if r["status"] == "xfail"} == set(too_weak)
    assert sum(r["status"] == "passed" for r in results) >= 55


def test_settings_of_the_combiner_are_nested_parameters() -> None:
    named = StackedClassifier("log_pool")
    assert named.get_params()["combiner__ridge"] == LogPool().ridge
    assert named.set_params(combiner__ridge=0.5).combiner == LogPool(ridge=0.5)
    both = StackedClassifier().set_params(combiner="log_pool", combiner__ridge=0.25)
    assert clone(both).get_params()["combiner__ridge"] == 0.25
    deep = StackedClassifier(Tempered(of=SklearnCombiner(PIPELINE)))
    assert deep.get_params()["combiner__of__estimator__logisticregression__C"] == 0.1
    changed = deep.set_params(combiner__of__estimator__logisticregression__C=3.0, combiner__of__features="statistics")
    assert changed.get_params()["combiner__of__estimator__logisticregression__C"] == 3.0
    assert changed.combiner.of.features == "statistics"
    assert PIPELINE.get_params()["logisticregression__C"] == 0.1
    with pytest.raises(StackError, match="LogPool has no parameter 'rigde': choose from"):
        named.set_params(combiner__rigde=1.0)
    with pytest.raises(StackError, match="ridge of log_pool must be 0 or more"):
        named.set_params(combiner__ridge=-1.0)
    with pytest.raises(ValueError, match="Invalid parameter 'combinre'"):
        named.set_params(combinre="average")
    search = GridSearchCV(
        named, {"combiner__ridge": [1e-3, 10.0]}, cv=GroupKFold(3), scoring="neg_log_loss", error_score="raise"
    ).fit(SIDE_BY_SIDE, TABLE.labels.target_NC.argmax(axis=1), groups=TABLE.labels.groups)
    assert search.best_estimator_.combiner == LogPool(ridge=search.best_params_["combiner__ridge"])
    assert len(set(search.cv_results_["mean_test_score"])) == 2


HARD = TABLE.labels.target_NC.argmax(axis=1)
WEIGHTS = np.where(np.arange(len(TABLE)) % 3 == 0, 0.0, 1.0)


def test_sample_weights_are_used_and_rows_without_weight_are_not_learned_from() -> None:
    weighted = StackedClassifier("log_pool").fit(SIDE_BY_SIDE, HARD, sample_weight=WEIGHTS)
    kept = StackedClassifier("log_pool").fit(SIDE_BY_SIDE[WEIGHTS > 0], HARD[WEIGHTS > 0])
    all_rows = StackedClassifier("log_pool").fit(SIDE_BY_SIDE, HARD)
    np.testing.assert_allclose(weighted.predict_proba(SIDE_BY_SIDE), kept.predict_proba(SIDE_BY_SIDE), atol=1e-4)
    assert np.abs(weighted.predict_proba(SIDE_BY_SIDE) - all_rows.predict_proba(SIDE_BY_SIDE)).max() > 1e-3
    with pytest.raises(ValueError, match=r"sample_weight.shape == \(3,\), expected"):
        StackedClassifier().fit(SIDE_BY_SIDE, HARD, sample_weight=[1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Recording(Average):
    """The plain average, which keeps the groups and weights that it was fitted on."""

    seen: list[tuple[int, float]] = field(default_factory=list)

    def fit(self, table: OOFTable) -> Any:
        self.seen.append((len(np.unique(table.labels.groups)), float(table.labels.sample_weight_N.sum())))
        return super().fit(table)


def test_groups_and_weights_reach_the_combiner_with_and_without_metadata_routing() -> None:
    n_groups = len(np.unique(TABLE.labels.groups))
    values = {"groups": TABLE.labels.groups, "sample_weight": WEIGHTS}

    plain: list[tuple[int, float]] = []
    pipeline = make_pipeline(FunctionTransformer(), StackedClassifier(Recording(seen=plain)))
    pipeline.fit(SIDE_BY_SIDE, HARD, **{f"stackedclassifier__{name}": value for name, value in values.items()})
    [fitted] = pipeline[-1].combiner.seen
    assert fitted == (n_groups, WEIGHTS.sum())

    with config_context(enable_metadata_routing=True):
        asking = StackedClassifier(Recording()).set_fit_request(groups=True, sample_weight=True)
        asking.set_score_request(sample_weight=True)
        routed = make_pipeline(FunctionTransformer(), asking)
        done = cross_validate(
            routed, SIDE_BY_SIDE, HARD, cv=GroupKFold(3), params=values, return_estimator=True, error_score="raise"
        )
    for one in done["estimator"]:
        [(groups, weight)] = one[-1].combiner.seen
        assert groups < n_groups
        assert 0 < weight < WEIGHTS.sum()


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_step_before_it_names_the_columns(library: str) -> None:
    pytest.importorskip(library)
    X, stage_N = _sleep()
    names = [f"{m}__{c}" for m in ("cnn", "gbm") for c in ("wake", "rem", "deep")]
    naming = FunctionTransformer(feature_names_out=lambda *_: names)
    # Without names these columns, which are not in sorted order, are refused.
    with pytest.raises(StackError, match="for cross_val_predict, which numbers the classes, sort the columns"):
        make_pipeline(naming, StackedClassifier("average")).fit(X, stage_N)
    pipeline = make_pipeline(naming, StackedClassifier("average")).set_output(transform=library).fit(X, stage_N)
    assert pipeline[-1].feature_names_in_.tolist() == names
    assert (pipeline.predict(X) == stage_N).mean() > 0.95
    assert cross_val_score(pipeline, X, stage_N).mean() > 0.95
    other = pd.DataFrame(X, columns=names)[names[::-1]]
    with pytest.raises(ValueError, match="feature names should match those that were passed during fit"):
        pipeline[-1].predict(other)


def test_a_class_that_a_training_fold_lacks_keeps_its_column() -> None:
    X, stage_N = _sleep()
    order = np.argsort(stage_N, kind="stable")
    stage_N, frame = stage_N[order], pd.DataFrame(X[order], columns=[f"{m}__{c}" for m in "ab" for c in STAGES])
    # Sorted rows in three folds without shuffling: each fold holds most of one class.
    folds = PredefinedSplit(np.unique(stage_N, return_inverse=True)[1])
    done = cross_validate(StackedClassifier("log_pool"), frame, stage_N, cv=folds, return_estimator=True)
    assert [one.classes_.tolist() for one in done["estimator"]] == [sorted(STAGES)] * 3
    assert done["test_score"].shape == (3,)
    assert np.isfinite(done["test_score"]).all()


def test_cross_val_predict_of_any_estimators_is_a_table_in_one_call() -> None:
    X, stage_N = _sleep()
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    models = {"logistic": LogisticRegression(), "trees": ExtraTreesClassifier(20, random_state=0)}
    held_out = {
        name: cross_val_predict(model, X, stage_N, cv=folds, method="predict_proba") for name, model in models.items()
    }
    table = fs.oof_table(held_out, stage_N)
    assert table.classes == ("deep", "rem", "wake")
    assert (table.proba_NMC[:, 0].argmax(axis=1) == table.labels.target_NC.argmax(axis=1)).mean() > 0.9
    again = cross_val_predict(
        StackedClassifier("log_pool"), table.proba_NMC.reshape(150, 6), stage_N, cv=folds, method="predict_proba"
    )
    assert (np.asarray(table.classes)[again.argmax(axis=1)] == stage_N).mean() > 0.9


def test_the_name_of_no_combiner_is_refused_where_it_is_fitted() -> None:
    with pytest.raises(StackError, match=r"no combiner is called 'avrage': choose from \['auto', 'average'"):
        StackedClassifier("avrage").fit(SIDE_BY_SIDE, HARD)
    assert "avrage" in repr(StackedClassifier("avrage"))
