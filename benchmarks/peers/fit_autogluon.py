"""AutoGluon's greedy ensemble selection on soft labels, 25 steps (its default) and 50."""

from functools import partial

import numpy as np
from autogluon.core.metrics import get_metric
from autogluon.core.models.greedy_ensemble.ensemble_selection import EnsembleSelection
from exchange import Fit, Predict, Problem, run


def select(problem: Problem, steps: int) -> Fit:
    members, target_NC = [np.ascontiguousarray(p) for p in problem.proba_MNC], problem.target_NC

    def fit() -> Predict:
        selection = EnsembleSelection(steps, "softclass", get_metric("soft_log_loss", "softclass"))
        selection.fit(members, target_NC)
        return lambda: problem.weighted(selection.weights_)

    return fit


if __name__ == "__main__":
    run({"greedy 25": partial(select, steps=25), "greedy 50": partial(select, steps=50)}, soft=True)
