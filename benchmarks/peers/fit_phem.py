"""phem's greedy ensemble selection, 50 steps, with KL to the vote shares as its metric.

phem passes class numbers to a metric; the metric here ignores them and uses the vote shares from its closure.
"""

import numpy as np
from exchange import Fit, Predict, Problem, run
from phem.base_utils.metrics import make_metric
from phem.methods.ensemble_selection.greedy_ensemble_selection import EnsembleSelection


def select(problem: Problem) -> Fit:
    members, target_NC, hard_N = [np.ascontiguousarray(p) for p in problem.proba_MNC], problem.target_NC, problem.hard_N

    def cross_entropy(_: np.ndarray, proba_NC: np.ndarray) -> float:
        loss_N = -(target_NC * np.log(np.maximum(proba_NC, 1e-7))).sum(axis=1)
        return float(np.average(loss_N, weights=problem.weight_N))

    def fit() -> Predict:
        metric = make_metric(cross_entropy, "cross_entropy", False, True, False, 0, requires_confidences=True)
        selection = EnsembleSelection([], 50, metric, n_jobs=1, random_state=0)
        selection.ensemble_fit(members, hard_N)
        return lambda: problem.weighted(selection.weights_)

    return fit


if __name__ == "__main__":
    run({"greedy 50": select}, soft=True)
