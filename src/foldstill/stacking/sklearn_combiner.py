"""scikit-learn estimators as combiners. scikit-learn is imported on use.

N samples, M members, C classes, E entries with votes, F features.
"""

import base64
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import Float
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.stacking.averages import normalised
from foldstill.stacking.combiner import Proba, require_members
from foldstill.stacking.features import FeatureSet, family_numbers, features
from foldstill.stacking.row_weighted import RowWeighted
from foldstill.stacking.sklearn_files import dump_estimator, load_estimator
from foldstill.stacking.state import State, array


@dataclass(frozen=True)
class SklearnCombination:
    """A fitted scikit-learn estimator and the features it was fitted on. `family_M` is the family number per member."""

    estimator: Any
    feature_set: FeatureSet
    family_M: NDArray[np.int64]
    n_classes: int

    def __call__(self, proba_NMC: Float) -> Proba:
        from sklearn.base import is_classifier

        require_members(proba_NMC, len(self.family_M))
        features_NF = features(proba_NMC, self.feature_set, self.family_M)
        if not is_classifier(self.estimator):
            return normalised(np.asarray(self.estimator.predict(features_NF), np.float64))
        pooled_NC = np.zeros((len(features_NF), self.n_classes))
        pooled_NC[:, self.estimator.classes_] = self.estimator.predict_proba(features_NF)
        return normalised(pooled_NC)

    def state(self) -> State:
        return {
            "estimator": np.frombuffer(dump_estimator(self.estimator), np.uint8),
            "family": self.family_M,
            "n_classes": np.asarray(self.n_classes),
        }


@dataclass(frozen=True)
class SklearnCombiner(RowWeighted):
    """An estimator of scikit-learn on the members' scores.

    It is a classifier or a multi-output regressor, on log-probabilities or statistics. A classifier is fitted on one
    row per sample and class with votes, weighted by the vote share of the class. A regressor is fitted on the vote
    shares as its outputs; its predictions are floored and normalised.

    Examples
    --------
    >>> from foldstill.stacking import crossfit
    >>> from foldstill.testing import synthetic_table
    >>> combiner = SklearnCombiner("RandomForestClassifier", options={"min_samples_leaf": 10, "random_state": 0})
    >>> round(crossfit(combiner, synthetic_table()).kl, 1)
    0.2
    """

    title: ClassVar[str] = "scikit-learn"

    estimator: Any = "LogisticRegression"
    """Name of a classifier or regressor as in `sklearn.utils.all_estimators`. In Python also an unfitted estimator."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the named estimator, such as `{ C = 0.1 }`; give `random_state` where it has one."""
    features: FeatureSet = "members"
    """Input: "statistics" over all members, "family_statistics" per family of members, "statistics_and_members"
    (with the log-probabilities of every member), or "members" (these alone)."""
    kind: Literal["sklearn"] = "sklearn"
    name: str = "sklearn"

    def __post_init__(self) -> None:
        if isinstance(self.estimator, Mapping) and set(self.estimator) == {"skops"}:
            object.__setattr__(self, "estimator", load_estimator(base64.b64decode(self.estimator["skops"])))
        if isinstance(self.estimator, str):
            self.unfitted()
        elif not hasattr(self.estimator, "fit") or not hasattr(self.estimator, "get_params"):
            raise StackError(
                "estimator of sklearn must be the name of a scikit-learn estimator or an estimator, got "
                f"{self.estimator!r}"
            )
        elif self.options:
            raise StackError(
                f"options of sklearn are for an estimator that is given by name, got a {type(self.estimator).__name__} "
                "object: set them on the object"
            )

    @classmethod
    def example(cls) -> Self:
        return cls("LogisticRegression", options={"C": 0.1, "max_iter": 1000})

    def unfitted(self) -> Any:
        """Return a new estimator with the options."""
        from sklearn.base import clone
        from sklearn.utils import all_estimators

        if not isinstance(self.estimator, str):
            return clone(self.estimator)
        classes = dict(all_estimators(type_filter=["classifier", "regressor"]))
        if self.estimator not in classes:
            near = difflib.get_close_matches(self.estimator, classes, n=1)
            raise StackError(
                "estimator of sklearn must be the name of a classifier or regressor of scikit-learn, got "
                f"{self.estimator!r}" + (f": did you mean {near[0]}?" if near else ": see sklearn.utils.all_estimators")
            )
        try:
            return classes[self.estimator](**self.options)
        except TypeError as error:
            raise StackError(f"options of sklearn do not fit {self.estimator}: {error}") from error

    def fit(self, table: OOFTable) -> SklearnCombination:
        from sklearn.base import is_classifier

        family_M = family_numbers(table.scores.families)
        features_NF = features(table.proba_NMC, self.features, family_M)
        target_NC, weight_N = table.labels.target_NC, table.labels.weight_N(self.row_weight)
        estimator = self.unfitted()
        if is_classifier(estimator):
            row_E, class_E = np.nonzero(target_NC)
            share_E = target_NC[row_E, class_E] * weight_N[row_E]
            _fit(estimator, features_NF[row_E], class_E, share_E)
        else:
            _fit(estimator, features_NF, target_NC, None if self.row_weight == "none" else weight_N)
        return SklearnCombination(estimator, self.features, family_M, len(table.classes))

    def restore(self, state: State) -> SklearnCombination:
        estimator = load_estimator(array(state, "estimator").tobytes())
        return SklearnCombination(estimator, self.features, array(state, "family"), int(array(state, "n_classes")))


def _fit(estimator: Any, features_EF: NDArray[np.float32], target_E: Any, weight_E: NDArray[np.float64] | None) -> None:
    """Fit in place; the weights go to the last step of a pipeline. Raises StackError when it takes no weights."""
    from sklearn.pipeline import Pipeline
    from sklearn.utils.validation import has_fit_parameter

    name, last, key = type(estimator).__name__, estimator, "sample_weight"
    if isinstance(estimator, Pipeline):
        step, last = estimator.steps[-1]
        name, key = f"{name} with {type(last).__name__}", f"{step}__sample_weight"
    if weight_E is not None and not has_fit_parameter(last, "sample_weight"):
        raise StackError(
            f"{name} of scikit-learn takes no sample weights, which vote shares and row weights need: choose another "
            "estimator, or a regressor with row_weight none"
        )
    try:
        estimator.fit(features_EF, target_E, **({} if weight_E is None else {key: weight_E}))
    except ValueError as error:
        raise StackError(f"{name} of scikit-learn cannot be fitted to the members' scores: {error}") from error
