"""scikit-learn both ways: its estimators as combiners, and combiners as its estimators.

N rows, M members, C classes, F features.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from foldstill.data.labels import Labels, RowWeight, as_strings
from foldstill.data.simplex import Float, check_rows
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable, ScoreTable
from foldstill.stacking.averages import normalised
from foldstill.stacking.combiner import Combiner, Proba, State, require_members
from foldstill.stacking.features import FeatureSet, features
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.stacking.voted import columns_of


@dataclass(frozen=True)
class SklearnFitted:
    """A fitted scikit-learn estimator behind the features it was fitted on."""

    estimator: Any
    which: FeatureSet
    columns: tuple[tuple[int, ...], ...]
    n_classes: int

    def __call__(self, proba_NMC: Float) -> Proba:
        require_members(proba_NMC, sum(len(column) for column in self.columns))
        features_NF = features(proba_NMC, self.which, self.columns)
        if not is_classifier(self.estimator):
            return normalised(np.asarray(self.estimator.predict(features_NF), np.float64))
        pooled_NC = np.zeros((len(features_NF), self.n_classes))
        pooled_NC[:, self.estimator.classes_] = self.estimator.predict_proba(features_NF)
        return normalised(pooled_NC)

    def state(self) -> State:
        raise StackError(
            f"a scikit-learn {type(self.estimator).__name__} has no file format but pickle: it can only be used in memory"
        )


@dataclass(frozen=True)
class SklearnCombiner:
    """A scikit-learn estimator as a combiner: a classifier sees each voted class as a row that weighs its share, a
    regressor sees the shares as outputs, which are then floored and normalised. It cannot be saved.
    """

    estimator: Any
    """Unfitted; it is cloned for every fit, so give it a `random_state` where it has one."""
    name: str = "sklearn"
    features: FeatureSet = "members"
    row_weight: RowWeight = "none"
    kind: Literal["sklearn"] = "sklearn"

    def fit(self, table: OOFTable) -> SklearnFitted:
        columns = columns_of(table.scores.families, tied=True)
        features_NF = features(table.proba_NMC, self.features, columns)
        target_NC, weight_N = table.labels.target_NC, table.labels.weight_N(self.row_weight)
        estimator = clone(self.estimator)
        if is_classifier(estimator):
            row_E, class_E = np.nonzero(target_NC)
            share_E = target_NC[row_E, class_E] * weight_N[row_E]
            estimator.fit(features_NF[row_E], class_E, sample_weight=share_E)
        elif self.row_weight == "none":
            estimator.fit(features_NF, target_NC)
        else:
            estimator.fit(features_NF, target_NC, sample_weight=weight_N)
        return SklearnFitted(estimator, self.features, columns, len(table.classes))

    def restore(self, state: State) -> SklearnFitted:
        raise StackError("a scikit-learn combiner cannot be saved, so there is nothing to restore: fit it again")


class StackedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A combiner as a scikit-learn classifier over the members' probabilities laid side by side, (N, M * C).

    `y` is one class a row, or vote shares (N, C). `groups` is a fit parameter: rows of one group are never split by the
    combiner's own choices.

    >>> import numpy as np
    >>> X = np.array([[0.9, 0.1, 0.6, 0.4], [0.2, 0.8, 0.4, 0.6]])
    >>> from foldstill.stacking.averages import Average
    >>> StackedClassifier(Average()).fit(X, [0, 1]).predict_proba(X).round(2).tolist()
    [[0.75, 0.25], [0.3, 0.7]]
    """

    def __init__(self, combiner: Combiner | None = None) -> None:
        self.combiner = combiner

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> "StackedClassifier":
        """Fit to members' probabilities (N, M * C); raises StackError when they are not, or the columns do not divide."""
        target = np.asarray(y)
        soft = target.ndim == 2 and target.shape[1] > 1
        rows = validate_data(self, X, y if not soft else "no_validation", dtype=np.float64)
        rows = rows if soft else rows[0]
        if soft:
            self.classes_ = np.arange(target.shape[1])
        else:
            check_classification_targets(target)
            self.classes_, target = np.unique(target.ravel(), return_inverse=True)
        names = [str(c) for c in self.classes_.tolist()]
        n_members, rest = divmod(rows.shape[1], max(len(names), 1))
        if rest or len(names) < 2:
            raise StackError(
                f"X must hold each member's {len(names)} classes side by side, got {rows.shape[1]} feature(s): "
                "every class of y needs a column a member"
            )
        ids = np.arange(len(rows)).astype(np.str_)
        given: dict[str, Any] = {
            "ids": ids,
            "groups": ids if groups is None else as_strings(groups, "groups"),
            "classes": names,
        }
        labels = Labels.from_shares(target, 1.0, **given) if soft else Labels.from_hard(target, **given)
        scores = ScoreTable(
            ids, tuple(f"m{m}" for m in range(n_members)), labels.classes, self._blocks(rows, n_members)
        )
        fold_N = np.zeros(len(rows), np.int16)
        self.combination_ = (self.combiner or Recalibrated()).fit(OOFTable(scores, labels, fold_N))
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """One distribution a row, (N, C)."""
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, dtype=np.float64)
        return self.combination_(self._blocks(rows, rows.shape[1] // len(self.classes_)))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most likely class of each row."""
        best_N = self.predict_proba(X).argmax(axis=1)
        names: NDArray[Any] = self.classes_[best_N]
        return names

    def _blocks(self, rows: NDArray[np.float64], n_members: int) -> NDArray[np.float32]:
        blocks = rows.reshape(len(rows), n_members, len(self.classes_))
        return check_rows(blocks, "X, a member's classes side by side,").astype(np.float32)
