"""AutoGluon's greedy ensemble selection on soft labels, 25 steps (its default) and 50.

Its metric of soft labels takes no sample weights: where rows differ in weight, a weighted one takes its place.
"""

from functools import partial
from typing import Any

import numpy as np
from autogluon.core.metrics import get_metric, make_scorer
from autogluon.core.models.greedy_ensemble.ensemble_selection import EnsembleSelection
from exchange import Fit, Predict, Problem, run


def metric_of(problem: Problem) -> Any:
    def cross_entropy(target_NC: np.ndarray, proba_NC: np.ndarray) -> float:
        loss_N = -(target_NC * np.log(np.maximum(proba_NC, 1e-7))).sum(axis=1)
        return float(np.average(loss_N, weights=problem.weight_N))

    if np.ptp(problem.weight_N) == 0:
        return get_metric("soft_log_loss", "softclass")
    return make_scorer("weighted_log_loss", cross_entropy, greater_is_better=False, needs_proba=True)


def select(problem: Problem, steps: int) -> Fit:
    members, target_NC = [np.ascontiguousarray(p) for p in problem.proba_MNC], problem.target_NC
    metric = metric_of(problem)

    def fit() -> Predict:
        selection = EnsembleSelection(steps, "softclass", metric)
        selection.fit(members, target_NC)
        return lambda: problem.weighted(selection.weights_)

    return fit


if __name__ == "__main__":
    run({"greedy 25": partial(select, steps=25), "greedy 50": partial(select, steps=50)}, soft=True)
