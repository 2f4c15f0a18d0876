"""A combiner as a scikit-learn classifier. N samples, M members, C classes."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from foldstill.data.labels import Labels, as_strings
from foldstill.data.simplex import check_rows
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable, ScoreTable
from foldstill.stacking.combiner import Combiner
from foldstill.stacking.recalibrate import Recalibrated


class StackedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A combiner as a scikit-learn classifier on the members' probabilities, laid side by side.

    Parameters
    ----------
    combiner
        Any combiner of `foldstill.stacking`. Default: None, which is `Recalibrated()`.

    Attributes
    ----------
    classes_
        Class labels of shape (C,); for vote shares, the numbers 0 to C - 1.
    combination_
        The fitted combination.

    Examples
    --------
    >>> from foldstill.stacking.averages import Average
    >>> X = np.array([[0.9, 0.1, 0.6, 0.4], [0.2, 0.8, 0.4, 0.6]])
    >>> StackedClassifier(Average()).fit(X, [0, 1]).predict_proba(X).round(2).tolist()
    [[0.75, 0.25], [0.3, 0.7]]
    """

    def __init__(self, combiner: Combiner | None = None) -> None:
        self.combiner = combiner

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> "StackedClassifier":
        """Fit the combiner.

        Parameters
        ----------
        X
            Probabilities of shape (N, M * C): the C classes of the first member, then those of the next.
        y
            One class per row, of shape (N,), or vote shares of shape (N, C).
        groups
            Group of each row; the combiner never splits a group when it makes choices. Default: each row is a group.

        Returns
        -------
        The fitted classifier.

        Raises
        ------
        StackError
            When the number of columns is no multiple of the number of classes.
        """
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
                "give one column per member and class of y"
            )
        ids = np.arange(len(rows)).astype(np.str_)
        names_of_rows: dict[str, Any] = {
            "ids": ids,
            "groups": ids if groups is None else as_strings(groups, "groups"),
            "classes": names,
        }
        labels = Labels.from_shares(target, 1.0, **names_of_rows) if soft else Labels.from_hard(target, **names_of_rows)
        scores = ScoreTable(
            ids, tuple(f"m{m}" for m in range(n_members)), labels.classes, self._blocks(rows, n_members)
        )
        fold_N = np.zeros(len(rows), np.int16)
        self.combination_ = (self.combiner or Recalibrated()).fit(OOFTable(scores, labels, fold_N))
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return one distribution per row, (N, C)."""
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, dtype=np.float64)
        return self.combination_(self._blocks(rows, rows.shape[1] // len(self.classes_)))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most likely class per row, (N,)."""
        best_N = self.predict_proba(X).argmax(axis=1)
        names: NDArray[Any] = self.classes_[best_N]
        return names

    def _blocks(self, rows: NDArray[np.float64], n_members: int) -> NDArray[np.float32]:
        blocks = rows.reshape(len(rows), n_members, len(self.classes_))
        return check_rows(blocks, "X, a member's classes side by side,").astype(np.float32)
