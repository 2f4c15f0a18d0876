"""Estimators of scikit-learn that learn soft labels. scikit-learn is imported on use.

A classifier takes one class per row, so that a row of soft labels becomes one entry per class with a share, weighted by
that share. A regressor takes the shares as its outputs. N rows, C classes, E entries.
"""

import base64
import difflib
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.estimator_files import dump_estimator, load_estimator, torch_hidden
from foldstill.data.simplex import EPS, Float
from foldstill.errors import EstimatorError


def read_estimator(value: Any) -> Any:
    """The value of a setting `estimator`: a saved estimator is read, a name or an estimator stays as it is."""
    if isinstance(value, Mapping) and set(value) == {"skops"}:
        return load_estimator(base64.b64decode(value["skops"]))
    return value


def saved_estimator(estimator: Any) -> dict[str, str]:
    """An estimator as the JSON value that `read_estimator` reads: its skops file in base64."""
    return {"skops": base64.b64encode(dump_estimator(estimator)).decode()}


def unfitted_estimator(estimator: Any, options: Mapping[str, Any]) -> Any:
    """A new estimator: of the class with this name and these options, or a clone of an estimator.

    Raises EstimatorError for a name that scikit-learn does not have, for other options, and for an object that is no
    estimator.

    >>> unfitted_estimator("LogisticRegression", {"C": 0.5})
    LogisticRegression(C=0.5)
    """
    from sklearn.base import clone

    if not isinstance(estimator, str):
        if not hasattr(estimator, "fit") or not hasattr(estimator, "get_params") or isinstance(estimator, type):
            raise EstimatorError(
                "estimator of sklearn must be the name of a scikit-learn estimator or an estimator, got "
                f"{estimator!r:.60}"
            )
        if options:
            raise EstimatorError(
                f"options of sklearn are for an estimator that is given by name, got a {type(estimator).__name__} "
                "object: set them on the object"
            )
        return clone(estimator)
    classes = _classes()
    if estimator not in classes:
        near = difflib.get_close_matches(estimator, classes, n=1)
        raise EstimatorError(
            "estimator of sklearn must be the name of a classifier or regressor of scikit-learn, got "
            f"{estimator!r}" + (f": did you mean {near[0]}?" if near else ": see sklearn.utils.all_estimators")
        )
    try:
        return classes[estimator](**options)
    except TypeError as error:
        raise EstimatorError(f"options of sklearn do not fit {estimator}: {error}") from error


@cache
def _classes() -> dict[str, Any]:
    """Every classifier and regressor of scikit-learn by its name."""
    with torch_hidden():
        from sklearn.utils import all_estimators

        return dict(all_estimators(type_filter=["classifier", "regressor"]))


def require_learner(estimator: Any) -> None:
    """Raise EstimatorError unless an estimator can learn a distribution per row: a classifier with probabilities, or a
    regressor with several outputs."""
    from sklearn.base import is_classifier, is_regressor
    from sklearn.utils import get_tags

    name = _name(estimator)
    try:
        classifies = is_classifier(estimator)
    except AttributeError:
        raise EstimatorError(f"{name} of scikit-learn needs another estimator inside: give it as an object") from None
    if classifies:
        if not hasattr(estimator, "predict_proba"):
            raise EstimatorError(
                f"{name} of scikit-learn gives no probabilities (predict_proba): choose another classifier, or options "
                "with which it does"
            )
        return
    if not is_regressor(estimator):
        raise EstimatorError(
            f"estimator of sklearn must be a classifier or a regressor, got {name}: choose one of these"
        )
    if not get_tags(estimator).target_tags.multi_output:
        raise EstimatorError(
            f"{name} of scikit-learn cannot be fitted to several outputs, one share per class: choose a classifier, or "
            "wrap it in a MultiOutputRegressor in Python"
        )


def require_weights(estimator: Any, target_NC: Float, weight_N: NDArray[np.float64]) -> None:
    """Raise EstimatorError for an estimator without sample weights where soft labels or weights need them."""
    from sklearn.base import is_classifier

    soft = is_classifier(estimator) and np.count_nonzero(target_NC) > len(target_NC)
    if soft or _unequal(weight_N) is not None:
        _weight_key(estimator)


def check_options(estimator: Any) -> None:
    """Raise EstimatorError for values of options that scikit-learn itself refuses, before anything is fitted."""
    try:
        # Private, and the only check of scikit-learn that needs no data.
        estimator._validate_params()
    except (ValueError, TypeError) as error:
        raise EstimatorError(f"options of sklearn do not fit {_name(estimator)}: {error}") from error
    except AttributeError:
        return  # an estimator of another package


def seeded(estimator: Any, seed: int) -> Any:
    """The estimator with this seed wherever it, or a part of it, takes one and has none."""
    parameters = estimator.get_params(deep=True)
    random = [name for name in parameters if name.rpartition("__")[2] == "random_state" and parameters[name] is None]
    return estimator.set_params(**dict.fromkeys(random, seed % 2**31))


def fit_shares(estimator: Any, features_NF: Any, target_NC: Float, weight_N: NDArray[np.float64] | None = None) -> None:
    """Fit in place to one distribution per row; `features_NF` is an array or a pandas frame.

    Raises EstimatorError for an estimator that takes no weights where shares or weights need them.
    """
    from sklearn.base import is_classifier

    if not is_classifier(estimator):
        _fit(estimator, features_NF, target_NC, _unequal(weight_N))
        return
    row_E, class_E = np.nonzero(target_NC)
    weight_E = target_NC[row_E, class_E] * (1.0 if weight_N is None else weight_N[row_E])
    if len(row_E) > len(features_NF):
        features_NF = features_NF[row_E] if isinstance(features_NF, np.ndarray) else features_NF.iloc[row_E]
    _fit(estimator, features_NF, class_E, _unequal(np.asarray(weight_E, np.float64)))


def predict_shares(estimator: Any, features_NF: Any, n_classes: int) -> NDArray[np.float64]:
    """One distribution per row; a class that no training row has gets 0."""
    from sklearn.base import is_classifier

    if is_classifier(estimator):
        proba_NC = np.zeros((len(features_NF), n_classes))
        proba_NC[:, estimator.classes_] = estimator.predict_proba(features_NF)
        return proba_NC
    shares_NC = np.maximum(np.asarray(estimator.predict(features_NF), np.float64), EPS)
    shares_NC /= shares_NC.sum(axis=1, keepdims=True)
    return shares_NC


def count_parameters(estimator: Any) -> int:
    """Number of fitted values: leaves of trees, and the entries of all other arrays."""
    if hasattr(estimator, "tree_"):
        return int(estimator.tree_.n_leaves)
    if hasattr(estimator, "_predictors"):
        return sum(int(tree.get_n_leaf_nodes()) for trees in estimator._predictors for tree in trees)
    if hasattr(estimator, "steps"):
        return sum(count_parameters(step) for _, step in estimator.steps)
    fitted = [value for name, value in vars(estimator).items() if name.endswith("_") or name.startswith("_fit")]
    return sum(_entries(value) for value in fitted)


def _entries(value: Any) -> int:
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        return int(value.size)
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype.kind == "O"):
        return sum(_entries(one) for one in np.ravel(np.asarray(value, object)))
    return count_parameters(value) if hasattr(value, "get_params") else 0


def _unequal(weight: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
    """The weights, or None where all are equal, so that estimators without weights can learn hard labels."""
    return None if weight is None or np.ptp(weight) < 1e-12 else weight


def _name(estimator: Any) -> str:
    from sklearn.pipeline import Pipeline

    name = type(estimator).__name__
    return f"{name} with {type(estimator.steps[-1][1]).__name__}" if isinstance(estimator, Pipeline) else name


def _weight_key(estimator: Any) -> str:
    """The argument of `fit` that takes the weights; raises EstimatorError for an estimator that has none."""
    from sklearn.pipeline import Pipeline
    from sklearn.utils.validation import has_fit_parameter

    last, key = estimator, "sample_weight"
    if isinstance(estimator, Pipeline):
        step, last = estimator.steps[-1]
        key = f"{step}__sample_weight"
    if not has_fit_parameter(last, "sample_weight"):
        raise EstimatorError(
            f"{_name(estimator)} of scikit-learn takes no sample weights, which vote shares and row weights need: "
            'choose another estimator, or a regressor with row_weight = "none"'
        )
    return key


def _fit(estimator: Any, features: Any, target: Any, weight: NDArray[np.float64] | None) -> None:
    """Fit in place; the weights go to the last step of a pipeline."""
    weights = {} if weight is None else {_weight_key(estimator): weight}
    try:
        estimator.fit(features, target, **weights)
    except ValueError as error:
        reason = str(error).strip().splitlines()[0]
        raise EstimatorError(f"{_name(estimator)} of scikit-learn cannot be fitted: {reason}") from error
