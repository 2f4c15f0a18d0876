"""A combiner as a scikit-learn classifier. N samples, M members, C classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from foldstill.data.labels import Labels
from foldstill.data.simplex import check_rows
from foldstill.data.text import as_strings
from foldstill.errors import StackError
from foldstill.oof.one_probability import both_classes
from foldstill.oof.table import OOFTable, ScoreTable
from foldstill.stacking.class_columns import class_columns, require_best_order
from foldstill.stacking.combiner import Combiner
from foldstill.stacking.parameters import combiner_of, nested_parameters, with_parameters


class StackedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A combiner as a scikit-learn classifier on the members' probabilities, laid side by side.

    Columns are matched to classes by name where there are names: those of a frame (`member__class`), or `classes`.
    Without names, the classes of each member are taken to be in sorted order, as scikit-learn gives them, and labels
    that clearly fit another order are refused.

    It works in `Pipeline`, `GridSearchCV`, `cross_val_score` and `clone`. The settings of the combiner are nested
    parameters, such as `combiner__ridge`. `fit` takes `sample_weight` and `groups`, which metadata routing hands on
    after `set_fit_request(groups=True)`; without routing they are fit parameters.

    Parameters
    ----------
    combiner
        Any combiner of `foldstill.stacking`, or the name of one with its default settings, such as "convex". Default:
        None, which is `Recalibrated()`.
    classes
        Class labels in the order of each member's columns, also those that no row has. Default: None.
    positive
        For X with one column per member, the class whose probability it holds; the other of two classes gets the rest.
        Of 0 and 1 and of False and True it is known. Default: None.

    Attributes
    ----------
    classes_
        Class labels of shape (C,), sorted; for vote shares without names, the numbers 0 to C - 1.
    positive_
        The class of X with one column per member; None when X has one column per member and class.
    combination_
        The fitted combination.

    Examples
    --------
    >>> from foldstill.stacking.averages import Average
    >>> X = np.array([[0.9, 0.1, 0.6, 0.4], [0.2, 0.8, 0.4, 0.6]])
    >>> StackedClassifier(Average()).fit(X, [0, 1]).predict_proba(X).round(2).tolist()
    [[0.75, 0.25], [0.3, 0.7]]
    >>> StackedClassifier(Average(), classes=["wake", "rem"]).fit(X, ["wake", "rem"]).predict(X).tolist()
    ['wake', 'rem']
    >>> StackedClassifier(Average()).fit([[0.1, 0.4], [0.8, 0.6]], [0, 1]).predict_proba([[0.1, 0.4]]).round(2).tolist()
    [[0.75, 0.25]]
    >>> StackedClassifier("log_pool").set_params(combiner__ridge=0.1).get_params()["combiner__ridge"]
    0.1
    """

    def __init__(
        self, combiner: Combiner | str | None = None, classes: Sequence[Any] | None = None, positive: Any = None
    ) -> None:
        self.combiner = combiner
        self.classes = classes
        self.positive = positive

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters; with `deep`, also the settings of the combiner as `combiner__name`."""
        params: dict[str, Any] = super().get_params(deep=False)
        try:
            settings = nested_parameters(combiner_of(self.combiner)) if deep else {}
        except StackError:
            settings = {}  # what is no combiner is refused by `fit`
        return params | {f"combiner__{name}": value for name, value in settings.items()}

    def set_params(self, **params: Any) -> "StackedClassifier":
        """Set parameters by their names in `get_params`; a setting of the combiner gives a combiner with it."""
        inside = {name: value for name, value in params.items() if name.startswith("combiner__")}
        super().set_params(**{name: value for name, value in params.items() if name not in inside})
        if inside:
            changes = {name.removeprefix("combiner__"): value for name, value in inside.items()}
            self.combiner = with_parameters(combiner_of(self.combiner), changes)
        return self

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> "StackedClassifier":
        """Fit the combiner.

        Parameters
        ----------
        X
            Probabilities of shape (N, M * C): the C classes of the first member, then those of the next; or a frame
            with columns named `member__class` in any order. Of two classes, one probability per member is enough:
            (N, M).
        y
            One class per row, of shape (N,), or vote shares of shape (N, C), whose columns have the order of `classes`.
        groups
            Group of each row; the combiner never splits a group when it makes choices. Default: each row is a group.
        sample_weight
            Weight of each row, of shape (N,). Default: all rows weigh alike.

        Returns
        -------
        The fitted classifier.

        Raises
        ------
        StackError
            When the columns do not fit the classes.
        """
        combiner = combiner_of(self.combiner)
        target = np.asarray(y)
        soft = target.ndim == 2 and target.shape[1] > 1
        rows = validate_data(self, X, y if not soft else "no_validation", dtype=np.float64)
        rows = rows if soft else rows[0]
        if soft:
            observed = np.arange(target.shape[1]) if self.classes is None else np.asarray(self.classes)
            if len(observed) != target.shape[1]:
                raise StackError(
                    f"vote shares must have one column per class of classes {observed.tolist()}, got {target.shape[1]} "
                    "columns: give both in the same order"
                )
        else:
            check_classification_targets(target)
            observed = np.unique(target.ravel())
        columns = class_columns(observed, self.classes, getattr(self, "feature_names_in_", None), self.positive, rows)
        self.classes_, self.columns_MC_, self.positive_ = columns.classes, columns.index_MC, columns.positive
        names = [str(c) for c in self.classes_.tolist()]
        ids = np.arange(len(rows)).astype(np.str_)
        names_of_rows: dict[str, Any] = {
            "ids": ids,
            "groups": ids if groups is None else as_strings(groups, "groups"),
            "classes": names,
            "sample_weight": None if sample_weight is None else _check_sample_weight(sample_weight, rows),
        }
        if soft:
            order = [observed.tolist().index(c) for c in self.classes_.tolist()]
            labels = Labels.from_shares(target[:, order], 1.0, **names_of_rows)
        else:
            one_hot_NC = target.ravel()[:, None] == self.classes_[None, :]
            labels = Labels.from_votes(one_hot_NC, **names_of_rows)
        proba_NMC = self._blocks(rows)
        if not columns.named:
            require_best_order(labels.target_NC, proba_NMC, names)
        members = tuple(f"m{m}" for m in range(len(self.columns_MC_)))
        scores = ScoreTable(ids, members, labels.classes, proba_NMC)
        fold_N = np.zeros(len(rows), np.int16)
        self.combination_ = combiner.fit(OOFTable(scores, labels, fold_N))
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return one distribution per row, (N, C)."""
        check_is_fitted(self)
        return self.combination_(self._blocks(validate_data(self, X, reset=False, dtype=np.float64)))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most likely class per row, (N,)."""
        best_N = self.predict_proba(X).argmax(axis=1)
        names: NDArray[Any] = self.classes_[best_N]
        return names

    def _blocks(self, rows: NDArray[np.float64]) -> NDArray[np.float32]:
        """The scores of each member, (N, M, C)."""
        if self.positive_ is not None:
            names = [str(c) for c in self.classes_.tolist()]
            pairs_NM2 = both_classes(rows, "columns of X", names, named=str(self.positive_))
            return check_rows(pairs_NM2, "X (one probability per member)").astype(np.float32)
        return check_rows(rows[:, self.columns_MC_], "X (a member's classes side by side)").astype(np.float32)
