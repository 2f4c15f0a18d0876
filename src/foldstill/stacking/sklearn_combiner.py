"""scikit-learn estimators as combiners. scikit-learn is imported on use.

N samples, M members, C classes, E entries with votes, F features.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from foldstill.data.estimator_files import dump_estimator, load_estimator
from foldstill.data.estimators import fit_shares, predict_shares, read_estimator, require_learner, unfitted_estimator
from foldstill.data.simplex import Float
from foldstill.oof.table import OOFTable
from foldstill.stacking.averages import normalised
from foldstill.stacking.combiner import Proba, require_members
from foldstill.stacking.features import FeatureSet, family_numbers, features, features_of
from foldstill.stacking.row_weighted import RowWeighted
from foldstill.stacking.state import State, array


@dataclass(frozen=True)
class SklearnCombination:
    """A fitted scikit-learn estimator and the features it was fitted on."""

    estimator: Any
    feature_set: FeatureSet
    family_M: NDArray[np.int64]
    """Number of the family of each member."""
    n_classes: int

    def __call__(self, proba_NMC: Float) -> Proba:
        require_members(proba_NMC, len(self.family_M))
        features_NF = features(proba_NMC, self.feature_set, self.family_M)
        return normalised(predict_shares(self.estimator, features_NF, self.n_classes))

    def state(self) -> State:
        return {
            "estimator": np.frombuffer(dump_estimator(self.estimator), np.uint8),
            "family": self.family_M,
            "n_classes": np.asarray(self.n_classes),
        }


@dataclass(frozen=True)
class SklearnCombiner(RowWeighted, kind="sklearn", title="scikit-learn"):
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

    estimator: Any = "LogisticRegression"
    """Name of a classifier or regressor as in `sklearn.utils.all_estimators`. In Python also an unfitted estimator."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the named estimator, such as `{ C = 0.1 }`; give `random_state` where it has one."""
    features: FeatureSet = "members"
    """Input: "statistics" over all members, "family_statistics" per family of members, "statistics_and_members"
    (with the log-probabilities of every member), or "members" (these alone)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "estimator", read_estimator(self.estimator))
        self.unfitted()

    @classmethod
    def example(cls) -> Self:
        return cls("LogisticRegression", options={"C": 0.1, "max_iter": 1000})

    def unfitted(self) -> Any:
        """Return a new estimator with the options."""
        return unfitted_estimator(self.estimator, self.options)

    def fit(self, table: OOFTable) -> SklearnCombination:
        family_M = family_numbers(table.scores.families)
        features_NF = features_of(table.scores, self.features, family_M)
        estimator = self.unfitted()
        require_learner(estimator)
        fit_shares(estimator, features_NF, table.labels.target_NC, table.labels.weight_N(self.row_weight))
        return SklearnCombination(estimator, self.features, family_M, len(table.classes))

    def restore(self, state: State) -> SklearnCombination:
        estimator = load_estimator(array(state, "estimator").tobytes())
        return SklearnCombination(estimator, self.features, array(state, "family"), int(array(state, "n_classes")))
