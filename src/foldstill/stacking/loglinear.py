"""Log-linear fits: scores that are linear in their parameters, a softmax, KL to vote shares, a ridge. All are convex.

N samples, B samples of a block, C classes, D columns of a design, P parameters.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import row_max, row_sum
from foldstill.stacking.box import box_minimum

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


Design = Callable[[], Iterable[tuple[slice, NDArray[np.floating[Any]]]]]
"""The parts of the rows, and what a unit of each parameter adds to each logit there, (B, C, D)."""

_FEW = 2**22
"""Numbers of the design that every Hessian is made of; larger designs are thinned for it."""
_SHORTEST = 1e-6
"""Smallest fraction of a Newton step that is tried: below it only rounding is left."""
_CONVERGED = 1e-8
"""Twice this is what the quadratic model can still gain, in nats, when the last step is taken."""


@dataclass(frozen=True)
class FewParameters:
    """KL of softmax(design @ parameters + bias of each class) with a ridge, for Newton's method.

    The parameters are those of the D columns of the design, then the C biases. `minimise_kl` is for more parameters
    than a Hessian is worth.
    """

    design: Design
    prior: Prior
    target_NC: NDArray[np.float64]
    weight_N: NDArray[np.float64]

    def minimum(self, n_numbers: int) -> Vector:
        """Return the best parameters; `n_numbers` is the size of the design.

        The gradient is that of all rows, the Hessian that of a part of them where they are many (Newton sketch: Pilanci
        and Wainwright, 2017), and a step is the exact minimum of the quadratic model within the bounds.
        """
        share_N = self.weight_N / self.weight_N.sum()
        step = max(1, n_numbers // _FEW)
        lower_P, upper_P = self.prior.bounds()
        parameter_P = np.clip(self.prior.centre_P, lower_P, upper_P)
        loss, gradient_P, hessian_PP = self._quadratic(parameter_P, share_N, step)
        for _ in range(100):
            toward_P = box_minimum(hessian_PP, gradient_P, lower_P - parameter_P, upper_P - parameter_P)
            gain = -float(gradient_P @ toward_P)
            if gain < _CONVERGED:
                return np.clip(parameter_P + toward_P, lower_P, upper_P) if gain > 0 else parameter_P
            length = 1.0
            while length > _SHORTEST:
                trial_P = parameter_P + length * toward_P
                trial = self._quadratic(trial_P, share_N, step)
                if trial[0] <= loss - 1e-4 * length * gain:
                    break
                length /= 2
            else:
                return parameter_P
            parameter_P, (loss, gradient_P, hessian_PP) = trial_P, trial
        return parameter_P

    def _quadratic(self, parameter_P: Vector, share_N: Vector, step: int) -> tuple[float, Vector, NDArray[np.float64]]:
        """Return loss, gradient and Hessian; the Hessian is made of every `step`-th row."""
        n_classes = self.target_NC.shape[1]
        n_columns = len(parameter_P) - n_classes
        off_P = parameter_P - self.prior.centre_P
        loss, gradient_P = float(self.prior.ridge_P @ off_P**2) / 2, self.prior.ridge_P * off_P
        hessian_PP, seen = np.zeros((len(off_P), len(off_P))), 0.0
        for part, design in self.design():
            design_BCD = design.astype(np.float64, copy=False)
            target_BC, share_B = self.target_NC[part], share_N[part]
            value_BC = design_BCD @ parameter_P[:n_columns] + parameter_P[n_columns:]
            value_BC -= row_max(value_BC)[:, None]
            reached = np.einsum("bc,bc->b", target_BC, value_BC)
            np.exp(value_BC, out=value_BC)
            total_B = row_sum(value_BC)
            # Targets sum to one per row, so log-softmax needs one logarithm per row.
            loss += float(share_B @ (np.log(total_B) - reached))
            proba_BC = value_BC / total_B[:, None]
            slope_BC = share_B[:, None] * (proba_BC - target_BC)
            gradient_P[:n_columns] += slope_BC.ravel() @ design_BCD.reshape(-1, n_columns)
            gradient_P[n_columns:] += slope_BC.sum(axis=0)
            few = slice(-part.start % step, None, step)
            hessian_PP += _curvature(design_BCD[few], proba_BC[few], share_B[few])
            seen += float(share_B[few].sum())
        hessian_PP = hessian_PP / seen + np.diag(self.prior.ridge_P)
        # Identical columns leave their parameters undetermined; a small pull towards the present ones decides.
        hessian_PP += 1e-9 * np.trace(hessian_PP) / len(hessian_PP) * np.eye(len(hessian_PP))
        return loss, gradient_P, hessian_PP


def _curvature(design_BCD: NDArray[np.float64], proba_BC: NDArray[np.float64], share_B: Vector) -> NDArray[np.float64]:
    """Return the Hessian of the weighted log-loss of a softmax by the columns and the biases, (P, P)."""
    n_columns, n_classes = design_BCD.shape[2], design_BCD.shape[1]
    mass_BC = share_B[:, None] * proba_BC
    root_BCD = design_BCD * np.sqrt(mass_BC)[..., None]
    mean_BD = (proba_BC[:, None] @ design_BCD)[:, 0]
    hessian_PP = np.empty((n_columns + n_classes,) * 2)
    flat = root_BCD.reshape(-1, n_columns)
    hessian_PP[:n_columns, :n_columns] = flat.T @ flat - (mean_BD * share_B[:, None]).T @ mean_BD
    cross_DC = np.einsum("bcd,bc->dc", design_BCD, mass_BC) - mean_BD.T @ mass_BC
    hessian_PP[:n_columns, n_columns:], hessian_PP[n_columns:, :n_columns] = cross_DC, cross_DC.T
    hessian_PP[n_columns:, n_columns:] = np.diag(mass_BC.sum(axis=0)) - proba_BC.T @ mass_BC
    return hessian_PP
