"""The input and output of every peer: arrays in one .npz file, predictions of new rows and CPU seconds in another.

N rows, M members, C classes. Imports numpy alone (and scikit-learn where members must be estimators), so that it runs
in the environment of any peer.
"""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

Predict = Callable[[], np.ndarray]
Fit = Callable[[], Predict]
PROBLEM = ("proba_MNC", "votes_NC", "group_N", "new_MNC", "weight_N")
"""The arrays of a problem, in the order of its fields."""


@dataclass(frozen=True)
class Problem:
    """Rows to fit on, with votes, groups and sample weights, and new rows of other groups."""

    proba_MNC: np.ndarray
    votes_NC: np.ndarray
    group_N: np.ndarray
    new_MNC: np.ndarray
    weight_N: np.ndarray

    @cached_property
    def target_NC(self) -> np.ndarray:
        """Vote shares."""
        return self.votes_NC / self.votes_NC.sum(axis=1, keepdims=True)

    @cached_property
    def hard_N(self) -> np.ndarray:
        """The class with the most votes, for peers that support hard labels only."""
        return self.votes_NC.argmax(axis=1)

    def weighted(self, weight_M: Any) -> np.ndarray:
        """Return the weighted average of the members on the new rows."""
        return np.einsum("mnc,m->nc", self.new_MNC, np.asarray(weight_M, float))


def run(methods: Mapping[str, Callable[[Problem], Fit]], *, soft: bool) -> None:
    """Fit each method to each problem and write predictions and CPU seconds: REPEATS PROBLEM OUT [PROBLEM OUT ...].

    A method converts the problem to its own input format, which is not timed, and returns its fit, which is timed.
    """
    repeats, *paths = sys.argv[1:]
    for source, out in zip(paths[::2], paths[1::2], strict=True):
        np.savez(out, **solve(source, methods, int(repeats), soft=soft))


def solve(source: str, methods: Mapping[str, Callable[[Problem], Fit]], repeats: int, *, soft: bool) -> dict[str, Any]:
    """Predictions and CPU seconds of each method on one problem."""
    with np.load(source, allow_pickle=False) as file:
        problem = Problem(*(file[key] for key in PROBLEM))
    results: dict[str, Any] = {}
    for name, method in methods.items():
        fit, seconds = method(problem), []
        for _ in range(repeats):
            start = time.process_time()
            predict = fit()
            seconds.append(time.process_time() - start)
        results[f"{name}/proba"] = np.asarray(predict())
        results[f"{name}/seconds"] = np.min(seconds)
        results[f"{name}/soft"] = np.asarray(soft)
    return results


def side_by_side(proba_MNC: np.ndarray) -> np.ndarray:
    """Return the probabilities of all members as features (N, M C), the only input that some peers accept."""
    return proba_MNC.transpose(1, 0, 2).reshape(proba_MNC.shape[1], -1)


def stacked(problem: Problem, classifier: Any) -> Fit:
    """Return the fit of a scikit-learn style classifier to the features side by side and to hard labels."""
    x_NF, hard_N = side_by_side(problem.proba_MNC), problem.hard_N

    def fit() -> Predict:
        classifier.fit(x_NF, hard_N, sample_weight=problem.weight_N)
        return lambda: classifier.predict_proba(side_by_side(problem.new_MNC))

    return fit


def columns(problem: Problem) -> list[Any]:
    """Return the members as fitted scikit-learn classifiers that read their columns of `side_by_side`."""
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Column(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        def __init__(self, start: int = 0, classes: int = 2) -> None:
            self.start, self.classes = start, classes
            self.classes_ = np.arange(classes)

        def fit(self, x: np.ndarray, y: np.ndarray) -> "Column":
            return self

        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            return x[:, self.start : self.start + self.classes]

        def predict(self, x: np.ndarray) -> np.ndarray:
            return self.predict_proba(x).argmax(axis=1)

    n_classes = problem.votes_NC.shape[1]
    return [Column(m * n_classes, n_classes) for m in range(len(problem.proba_MNC))]
