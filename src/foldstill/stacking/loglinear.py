"""Log-linear fits: scores that are linear in their parameters, a softmax, KL to vote shares, a ridge. All are convex.

N samples, C classes, P parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import row_max, row_sum

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Prior:
    """Where a fit starts (`centre_P`), how strongly a ridge pulls the parameters back there, and their bounds."""

    centre_P: Vector
    ridge_P: Vector
    lower_P: Vector | None = None
    upper_P: Vector | None = None

    def bounds(self) -> tuple[Vector, Vector]:
        """Return the lower and the upper bound of each parameter; infinite when there is none."""
        n = len(self.centre_P)
        lower_P = np.full(n, -np.inf) if self.lower_P is None else self.lower_P
        return lower_P, np.full(n, np.inf) if self.upper_P is None else self.upper_P


def minimise_kl(
    score: Callable[[Vector], NDArray[Any]],
    pull_back: Callable[[NDArray[np.float64]], Vector],
    prior: Prior,
    *,
    target_NC: NDArray[np.float64],
    weight_N: NDArray[np.float64],
) -> Vector:
    """Return the parameters that minimise mean KL(target || softmax(score)) + sum ridge (parameter - centre)^2 / 2.

    `score` maps parameters to logits (N, C); `pull_back` maps a gradient by these logits to one by the parameters.
    `weight_N` is the weight of each row. The optimiser is L-BFGS-B and starts at the centre of the prior.
    """
    from scipy.optimize import minimize

    share_N = weight_N / weight_N.sum()
    wanted_NC = share_N[:, None] * target_NC

    def objective(parameter_P: Vector) -> tuple[float, Vector]:
        value_NC = score(parameter_P).astype(np.float64)
        value_NC -= row_max(value_NC)[:, None]
        reached = np.vdot(wanted_NC, value_NC)
        np.exp(value_NC, out=value_NC)
        total_N = row_sum(value_NC)
        # Targets sum to one per row, so log-softmax needs one logarithm per row.
        loss = float(share_N @ np.log(total_N) - reached)
        value_NC *= (share_N / total_N)[:, None]
        value_NC -= wanted_NC
        off_P = parameter_P - prior.centre_P
        gradient_P = pull_back(value_NC) + prior.ridge_P * off_P
        return loss + float(prior.ridge_P @ off_P**2) / 2, gradient_P

    lower_P, upper_P = prior.bounds()
    result = minimize(
        objective,
        np.clip(prior.centre_P, lower_P, upper_P),
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(lower_P, upper_P, strict=True)),
        options={"maxiter": 300, "maxcor": 20, "ftol": 1e-9, "gtol": 1e-6},
    )
    best_P: Vector = result.x
    return best_P
