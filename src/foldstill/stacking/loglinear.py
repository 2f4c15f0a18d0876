"""Log-linear fits: scores linear in their parameters, a softmax, KL to vote shares, a ridge. All of them convex.

N rows, C classes, P parameters.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def minimise_kl(
    score: Callable[[Vector], NDArray[Any]],
    pull_back: Callable[[NDArray[np.float64]], Vector],
    *,
    target_NC: NDArray[np.float64],
    weight_N: NDArray[np.float64],
    centre_P: Vector,
    ridge_P: Vector,
    lower_P: Vector | None = None,
    upper_P: Vector | None = None,
    iterations: int = 300,
) -> Vector:
    """Parameters that minimise mean KL(target || softmax(score)) + sum ridge (parameter - centre)^2 / 2, by L-BFGS-B.

    `score` gives (N, C) logits, `pull_back` takes the gradient by those logits back to the parameters. `weight_N` is
    what a row counts. The fit starts at `centre_P`, and with an infinite ridge would stay there.
    """
    from scipy.optimize import minimize

    share_N1 = (weight_N / weight_N.sum())[:, None]

    def objective(parameter_P: Vector) -> tuple[float, Vector]:
        logit_NC = score(parameter_P).astype(np.float64)
        logit_NC -= logit_NC.max(axis=1, keepdims=True)
        proba_NC = np.exp(logit_NC)
        total_N1 = proba_NC.sum(axis=1, keepdims=True)
        proba_NC /= total_N1
        off_P = parameter_P - centre_P
        # Rows of target sum to one, so log-softmax needs one logarithm a row.
        loss = float((share_N1 * np.log(total_N1)).sum() - np.vdot(share_N1 * target_NC, logit_NC))
        gradient_P = pull_back(share_N1 * (proba_NC - target_NC)) + ridge_P * off_P
        return loss + float(ridge_P @ off_P**2) / 2, gradient_P

    n = len(centre_P)
    lower = np.full(n, -np.inf) if lower_P is None else lower_P
    upper = np.full(n, np.inf) if upper_P is None else upper_P
    found = minimize(
        objective,
        np.clip(centre_P, lower, upper),
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(lower, upper, strict=True)),
        options={"maxiter": iterations, "maxcor": 20, "ftol": 1e-9, "gtol": 1e-6},
    )
    best: Vector = found.x
    return best
