"""scikit-learn estimators as combiners, combiners as scikit-learn estimators."""

import io
import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from foldstill.data.estimator_files import dump_estimator, load_estimator
from foldstill.errors import EstimatorError, ExperimentError, StackError
from foldstill.pipeline.experiment_file import parse_experiment
from foldstill.stacking import crossfit, fit, load, save
from foldstill.stacking.averages import Average
from foldstill.stacking.convex import Convex
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


def _sleep() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of two members whose columns are wake, rem, deep, and the stages they are of."""
    rng = np.random.default_rng(0)
    stage_N = rng.integers(0, 3, 150)
    proba_NMC = rng.dirichlet(np.ones(3), (150, 2)) * 0.4 + 0.6 * np.eye(3)[stage_N][:, None]
    return proba_NMC.reshape(150, 6), np.asarray(["wake", "rem", "deep"])[stage_N]


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
    for combiner in ("average", Average):
        with pytest.raises(StackError, match="combiner of StackedClassifier must be the settings of a combiner"):
            StackedClassifier(combiner).fit(X, stage_N)


@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks_fail_only_where_their_inputs_are_no_probabilities() -> None:
    results = check_estimator(StackedClassifier(), on_fail=None, on_skip=None)
    passed = {r["check_name"] for r in results if r["status"] == "passed"}
    assert {"check_estimators_unfitted", "check_no_attributes_set_in_init", "check_classifiers_one_label"} <= passed
    # The checks feed noise as X; the only other complaint allowed is of that noise, in our own sentence.
    for result in results:
        if result["status"] == "failed":
            chain, error = [], result["exception"]
            while error is not None:
                chain.append(str(error))
                error = error.__cause__ or error.__context__
            assert any("X must hold each member" in c or "a member's classes side by side" in c for c in chain), result
