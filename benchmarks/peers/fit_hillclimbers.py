"""hillclimbers' hill climbing, step 0.01, on the flattened table: one row per (sample, class)."""

import contextlib
import io

import numpy as np
import pandas as pd
from exchange import Fit, Predict, Problem, run
from hillclimbers import climb_hill, partial


def cross_entropy(target: pd.Series, proba: pd.Series, weight: np.ndarray) -> float:
    return -float((weight * target * np.log(np.maximum(proba, 1e-7))).sum())


def climb(problem: Problem) -> Fit:
    columns = [f"m{m}" for m in range(len(problem.proba_MNC))]
    fitted, new = (
        pd.DataFrame({c: p.ravel() for c, p in zip(columns, proba, strict=True)})
        for proba in (problem.proba_MNC, problem.new_MNC)
    )
    truth = pd.DataFrame({"y": problem.target_NC.ravel()})
    share_N = problem.weight_N / problem.weight_N.sum()
    metric = partial(cross_entropy, weight=np.repeat(share_N, problem.target_NC.shape[1]))

    def fit() -> Predict:
        with contextlib.redirect_stdout(io.StringIO()):
            blend = climb_hill(truth, fitted, new, "y", "minimize", metric, plot_hill=False)
        return lambda: np.asarray(blend).reshape(problem.new_MNC.shape[1:])

    return fit


if __name__ == "__main__":
    run({"hill climbing 0.01": climb}, soft=True)
