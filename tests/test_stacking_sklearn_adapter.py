"""scikit-learn's estimators as combiners, and combiners as its estimators."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.utils.estimator_checks import check_estimator

from foldstill.errors import StackError
from foldstill.stacking import crossfit, fit, save
from foldstill.stacking.averages import Average
from foldstill.stacking.convex import Convex
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.stacking.sklearn_adapter import SklearnCombiner, StackedClassifier
from test_stacking_contract import a_table

TABLE = a_table()
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


def test_an_estimator_of_scikit_learn_cannot_be_saved(tmp_path: object) -> None:
    with pytest.raises(StackError, match="can be saved"):
        save(fit(SklearnCombiner(Ridge()), TABLE), tmp_path)  # type: ignore[arg-type]


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
