"""A pool whose weights depend on how the members disagree: for tables that mix members made for different rows.

N rows, M members, C classes, D columns (families, members, or the average alone), R regime features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.labels import RowWeight
from foldstill.data.simplex import Float, softmax
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.settings import Settings
from foldstill.stacking.anchored import column_of
from foldstill.stacking.averages import log_proba, mean
from foldstill.stacking.combiner import Proba, State, array, require_members
from foldstill.stacking.crossfit import pick
from foldstill.stacking.loglinear import minimise_kl

F32 = NDArray[np.float32]

Over = Literal["average", "families", "members"]


def regime(proba_NMC: Float) -> F32:
    """How the members of a row disagree, (N, 4 + C), whatever their order.

    Entropy of their average, its excess over their mean entropy (the Jensen-Shannon divergence between members), mean
    spread, the average's largest probability, and the average itself.
    """
    pooled_NC = mean(proba_NMC)
    total_N = -(pooled_NC * log_proba(pooled_NC)).sum(axis=1)
    within_N = -(proba_NMC * log_proba(proba_NMC)).sum(axis=2).mean(axis=1)
    spread_N = proba_NMC.std(axis=1).mean(axis=1)
    parts = [total_N, total_N - within_N, spread_N, pooled_NC.max(axis=1)]
    return np.column_stack([*parts, pooled_NC]).astype(np.float32)


@dataclass(frozen=True)
class GatedPool:
    """softmax(sum_d power_d(r) log q_d + bias(r)), powers and biases linear in the row's standardised regime r.

    q_d averages the members of a column; `column_M` is the column of each member.
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
class Gated(Settings):
    """A log-linear pool of families whose powers and biases move with the disagreement of the members.

    Fitted by KL; the ridge pulls it towards the geometric average of the columns and is chosen on inner group folds.
    """

    kind: Literal["gated"] = "gated"
    """Selects this combiner in an experiment file."""
    name: str = "gated"
    """Name in tables and folders."""
    over: Over = "families"
    """What is weighted: families, single members, or the plain average alone (which is then recalibrated by regime)."""
    ridges: tuple[float, ...] = (1.0, 0.1, 0.01)
    """Ridges to choose from, strongest first; a single one is taken as it is."""
    folds: int = 3
    """Group folds of that choice."""
    row_weight: RowWeight = "none"
    """What a row counts in the fit: all the same, log(1 + votes), or votes up to ten."""

    def __post_init__(self) -> None:
        if not self.ridges or min(self.ridges) <= 0:
            raise StackError(f"ridges must be one or more positive numbers, got {self.ridges}: try (1.0, 0.1, 0.01)")
        if self.folds < 2:
            raise StackError(f"folds must be 2 or more, got {self.folds}: 3 is usual")

    def fit(self, table: OOFTable) -> GatedPool:
        candidates = [replace(self, ridges=(ridge,)) for ridge in self.ridges]
        return pick(candidates, table, folds=self.folds)._fit(table)

    def restore(self, state: State) -> GatedPool:
        return GatedPool(*(array(state, key) for key in ("column", "mean", "scale", "power", "bias")))

    def _fit(self, table: OOFTable) -> GatedPool:
        column_M = columns_over(self.over, table.scores.families)
        raw_NR = regime(table.proba_NMC)
        mean_R, scale_R = raw_NR.mean(axis=0), raw_NR.std(axis=0) + np.float32(1e-6)
        regime_NR = standardised(raw_NR, mean_R, scale_R)
        log_NCD = column_logs(table.proba_NMC, column_M)
        n_regimes, n_columns, n_classes = regime_NR.shape[1], log_NCD.shape[2], log_NCD.shape[1]
        cut = n_regimes * n_columns

        def score(parameter: NDArray[np.float64]) -> F32:
            power_RD = parameter[:cut].reshape(n_regimes, n_columns).astype(np.float32)
            bias_RC = parameter[cut:].reshape(n_regimes, n_classes).astype(np.float32)
            scores: F32 = np.einsum("ncd,nd->nc", log_NCD, regime_NR @ power_RD) + regime_NR @ bias_RC
            return scores

        def pull_back(gradient_NC: NDArray[np.float64]) -> NDArray[np.float64]:
            gradient = gradient_NC.astype(np.float32)
            by_power = regime_NR.T @ np.einsum("nc,ncd->nd", gradient, log_NCD)
            return np.concatenate([by_power.ravel(), (regime_NR.T @ gradient).ravel()]).astype(np.float64)

        # The first regime is the constant: its powers start as the geometric average's, and its biases are free.
        centre_RD, ridge_RC = np.zeros((n_regimes, n_columns)), np.full((n_regimes, n_classes), self.ridges[0])
        centre_RD[0] = 1 / n_columns
        ridge_RC[0] = 1e-6
        found = minimise_kl(
            score,
            pull_back,
            target_NC=table.labels.target_NC,
            weight_N=table.labels.weight_N(self.row_weight),
            centre_P=np.r_[centre_RD.ravel(), np.zeros(n_regimes * n_classes)],
            ridge_P=np.r_[np.full(cut, self.ridges[0]), ridge_RC.ravel()],
        )
        power_RD, bias_RC = found[:cut].reshape(n_regimes, n_columns), found[cut:].reshape(n_regimes, n_classes)
        return GatedPool(column_M, mean_R, scale_R, power_RD, bias_RC)


def columns_over(over: Over, families: Sequence[str]) -> NDArray[np.int64]:
    """The column of each member."""
    if over == "families":
        return column_of(families)
    return np.zeros(len(families), np.int64) if over == "average" else np.arange(len(families))


def column_logs(proba_NMC: Float, column_M: NDArray[np.int64]) -> F32:
    """log of each column's average, (N, C, D)."""
    columns = [proba_NMC[:, column_M == d].mean(axis=1) for d in range(column_M.max() + 1)]
    return log_proba(np.stack(columns, axis=-1))


def standardised(raw_NR: F32, mean_R: F32, scale_R: F32) -> F32:
    """A constant, then the regime in standard deviations, at most three: (N, 1 + R)."""
    clipped = np.clip((raw_NR - mean_R) / scale_R, -3, 3)
    return np.column_stack([np.ones(len(raw_NR), np.float32), clipped])
