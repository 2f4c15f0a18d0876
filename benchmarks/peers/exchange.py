"""What every peer gets and gives: arrays in one .npz in, predictions of new rows and CPU seconds in another out.

N rows, M members, C classes. Imports numpy alone (scikit-learn where members must be estimators), so that it runs in the
environment of any peer.
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


@dataclass(frozen=True)
class Problem:
    """Rows to fit on, with votes and groups, and new rows of other groups."""

    proba_MNC: np.ndarray
    votes_NC: np.ndarray
    group_N: np.ndarray
    new_MNC: np.ndarray

    @cached_property
    def target_NC(self) -> np.ndarray:
        """Vote shares."""
        return self.votes_NC / self.votes_NC.sum(axis=1, keepdims=True)

    @cached_property
    def hard_N(self) -> np.ndarray:
        """The class with most votes, for peers that know no other labels."""
        return self.votes_NC.argmax(axis=1)

    def weighted(self, weight_M: Any) -> np.ndarray:
        """New rows under member weights."""
        return np.einsum("mnc,m->nc", self.new_MNC, np.asarray(weight_M, float))


def run(ways: Mapping[str, Callable[[Problem], Fit]], *, soft: bool) -> None:
    """Fit each way to the problem in argv[1], write predictions and CPU seconds to argv[2]; argv[3] are repeats.

    A way brings the problem into the form it takes, which is not timed, and gives its fit, which is.
    """
    source, out, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with np.load(source, allow_pickle=False) as file:
        problem = Problem(*(file[key] for key in ("proba_MNC", "votes_NC", "group_N", "new_MNC")))
    found: dict[str, Any] = {}
    for name, way in ways.items():
        fit, seconds = way(problem), []
        for _ in range(repeats):
            start = time.process_time()
            predict = fit()
            seconds.append(time.process_time() - start)
        found[f"{name}/proba"] = np.asarray(predict())
        found[f"{name}/seconds"] = np.min(seconds)
        found[f"{name}/soft"] = np.asarray(soft)
    np.savez(out, **found)


def side_by_side(proba_MNC: np.ndarray) -> np.ndarray:
    """All members' probabilities as one row of features, (N, M C): the only input some peers accept."""
    return proba_MNC.transpose(1, 0, 2).reshape(proba_MNC.shape[1], -1)


def columns(problem: Problem) -> list[Any]:
    """Members as fitted scikit-learn classifiers that read their columns of `side_by_side`."""
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
