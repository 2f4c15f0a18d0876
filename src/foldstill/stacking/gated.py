"""A pool whose weights depend on how the members disagree: for tables that mix members made for different samples.

N samples, M members, C classes, D columns (families, members, or the average alone), R regime features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import Float, softmax
from foldstill.oof.table import OOFTable
from foldstill.stacking.averages import log_proba, mean
from foldstill.stacking.combiner import Proba, require_members
from foldstill.stacking.features import family_numbers
from foldstill.stacking.loglinear import Prior, minimise_kl
from foldstill.stacking.ridged import Ridged
from foldstill.stacking.state import State, array

F32 = NDArray[np.float32]

Over = Literal["average", "families", "members"]


def regime(proba_NMC: Float) -> F32:
    """Return how the members disagree per sample, (N, 4 + C), independent of their order.

    The entropy of their average, its excess over their mean entropy (the Jensen-Shannon divergence between members),
    the mean standard deviation over members, the largest probability of the average, and the average itself.
    """
    pooled_NC = mean(proba_NMC)
    entropy_N = -(pooled_NC * log_proba(pooled_NC)).sum(axis=1)
    member_entropy_N = -(proba_NMC * log_proba(proba_NMC)).sum(axis=2).mean(axis=1)
    std_N = proba_NMC.std(axis=1).mean(axis=1)
    parts = [entropy_N, entropy_N - member_entropy_N, std_N, pooled_NC.max(axis=1)]
    return np.column_stack([*parts, pooled_NC]).astype(np.float32)


@dataclass(frozen=True)
class GatedCombination:
    """softmax(sum_d power_d(r) log q_d + bias(r)), with powers and biases linear in the sample's standardised regime r.

    q_d is the average of the members of column d; `column_M` is the column of each member.
    """

    column_M: NDArray[np.int64]
    mean_R: F32
    scale_R: F32
    power_RD: NDArray[np.float64]
    bias_RC: NDArray[np.float64]

    def __call__(self, proba_NMC: Float) -> Proba:
        require_members(proba_NMC, len(self.column_M))
        regime_NR = standardised(regime(proba_NMC), self.mean_R, self.scale_R)
        log_NCD = column_logs(proba_NMC, self.column_M)
        return softmax(np.einsum("ncd,nd->nc", log_NCD, regime_NR @ self.power_RD) + regime_NR @ self.bias_RC)

    def state(self) -> State:
        return {
            "column": self.column_M,
            "mean": self.mean_R,
            "scale": self.scale_R,
            "power": self.power_RD,
            "bias": self.bias_RC,
        }


@dataclass(frozen=True)
class Gated(Ridged, kind="gated", title="Gated pool"):
    """A weighted geometric average of families of members; the weights depend on how the members disagree.

    It is a log-linear pool whose powers and biases depend on the disagreement of the members. It is fitted by KL. The
    ridge pulls it towards the geometric average of the families and is chosen by cross-fitting over inner group folds.

    Examples
    --------
    >>> from foldstill.stacking import crossfit
    >>> from foldstill.testing import synthetic_table
    >>> round(crossfit(Gated(ridges=(0.1,)), synthetic_table()).kl, 2)
    0.21
    """

    over: Over = "families"
    """What has a weight: families, single members, or only the plain average, which is then recalibrated by regime."""

    def restore(self, state: State) -> GatedCombination:
        return GatedCombination(*(array(state, key) for key in ("column", "mean", "scale", "power", "bias")))

    def fit_one_ridge(self, table: OOFTable) -> GatedCombination:
        column_M = columns_over(self.over, table.scores.families)
        raw_NR = regime(table.proba_NMC)
        mean_R, scale_R = raw_NR.mean(axis=0), raw_NR.std(axis=0) + np.float32(1e-6)
        regime_NR = standardised(raw_NR, mean_R, scale_R)
        log_NCD = column_logs(table.proba_NMC, column_M)
        n_regimes, n_columns, n_classes = regime_NR.shape[1], log_NCD.shape[2], log_NCD.shape[1]
        n_powers = n_regimes * n_columns

        def score(parameter: NDArray[np.float64]) -> F32:
            power_RD = parameter[:n_powers].reshape(n_regimes, n_columns).astype(np.float32)
            bias_RC = parameter[n_powers:].reshape(n_regimes, n_classes).astype(np.float32)
            scores: F32 = np.einsum("ncd,nd->nc", log_NCD, regime_NR @ power_RD) + regime_NR @ bias_RC
            return scores

        def pull_back(gradient_NC: NDArray[np.float64]) -> NDArray[np.float64]:
            gradient = gradient_NC.astype(np.float32)
            by_power = regime_NR.T @ np.einsum("nc,ncd->nd", gradient, log_NCD)
            return np.concatenate([by_power.ravel(), (regime_NR.T @ gradient).ravel()]).astype(np.float64)

        # The first regime feature is the constant: its powers start at the geometric average, and its biases are free.
        centre_RD, ridge_RC = np.zeros((n_regimes, n_columns)), np.full((n_regimes, n_classes), self.ridges[0])
        centre_RD[0] = 1 / n_columns
        ridge_RC[0] = 1e-6
        prior = Prior(
            centre_P=np.r_[centre_RD.ravel(), np.zeros(n_regimes * n_classes)],
            ridge_P=np.r_[np.full(n_powers, self.ridges[0]), ridge_RC.ravel()],
        )
        weight_N = table.labels.weight_N(self.row_weight)
        best_P = minimise_kl(score, pull_back, prior, target_NC=table.labels.target_NC, weight_N=weight_N)
        power_RD = best_P[:n_powers].reshape(n_regimes, n_columns)
        bias_RC = best_P[n_powers:].reshape(n_regimes, n_classes)
        return GatedCombination(column_M, mean_R, scale_R, power_RD, bias_RC)


def columns_over(over: Over, families: Sequence[str]) -> NDArray[np.int64]:
    """Return the column of each member."""
    if over == "families":
        return family_numbers(families)
    return np.zeros(len(families), np.int64) if over == "average" else np.arange(len(families))


def column_logs(proba_NMC: Float, column_M: NDArray[np.int64]) -> F32:
    """Return the logarithm of the average of each column, (N, C, D)."""
    columns = [proba_NMC[:, column_M == d].mean(axis=1) for d in range(column_M.max() + 1)]
    return log_proba(np.stack(columns, axis=-1))


def standardised(raw_NR: F32, mean_R: F32, scale_R: F32) -> F32:
    """Return a constant, then the regime in standard deviations, clipped at three: (N, 1 + R)."""
    clipped = np.clip((raw_NR - mean_R) / scale_R, -3, 3)
    return np.column_stack([np.ones(len(raw_NR), np.float32), clipped])
