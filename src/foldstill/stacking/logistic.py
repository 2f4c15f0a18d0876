"""Multinomial logistic stacking: every class's score is linear in the features, on top of the log anchor.

Class probabilities as features and a linear map over them is what works for stacking (Ting and Witten, 1999).
N rows, C classes, F features.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.labels import RowWeight
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.settings import Settings
from foldstill.stacking.anchored import Anchor, Anchored, Bag, column_of, fit_anchor, log_anchor, restore_anchored
from foldstill.stacking.combiner import State, array
from foldstill.stacking.crossfit import pick
from foldstill.stacking.features import FeatureSet
from foldstill.stacking.loglinear import minimise_kl

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Linear:
    """Standardised features times weights, plus a bias a class."""

    mean_F: F32
    scale_F: F32
    weight_FC: NDArray[np.float64]
    bias_C: NDArray[np.float64]

    def __call__(self, features_NF: F32) -> NDArray[np.float64]:
        score: NDArray[np.float64] = ((features_NF - self.mean_F) / self.scale_F) @ self.weight_FC + self.bias_C
        return score

    def state(self) -> State:
        return {"mean": self.mean_F, "scale": self.scale_F, "weight": self.weight_FC, "bias": self.bias_C}


def restore_linear(state: State) -> Linear:
    return Linear(*(array(state, key) for key in ("mean", "scale", "weight", "bias")))


@dataclass(frozen=True)
class Logistic(Settings):
    """Multinomial logistic regression on log-probabilities or statistics, with a ridge towards the anchor.

    Fitted to vote shares by KL; the ridge is chosen on inner group folds.
    """

    kind: Literal["logistic"] = "logistic"
    """Selects this combiner in an experiment file."""
    name: str = "logistic"
    """Name in tables and folders."""
    features: FeatureSet = "members"
    """What the regression sees."""
    anchor: Anchor = "recalibrated"
    """Where the scores start, and where an infinite ridge would keep them."""
    ridges: tuple[float, ...] = (1.0, 0.1, 0.01, 0.001)
    """Ridges on standardised features to choose from, strongest first; a single one is taken as it is."""
    folds: int = 3
    """Group folds of that choice."""
    row_weight: RowWeight = "none"
    """What a row counts in the fit: all the same, log(1 + votes), or votes up to ten."""

    def __post_init__(self) -> None:
        if not self.ridges or min(self.ridges) <= 0:
            raise StackError(f"ridges must be one or more positive numbers, got {self.ridges}: try (1.0, 0.1, 0.01)")
        if self.folds < 2:
            raise StackError(f"folds must be 2 or more, got {self.folds}: 3 is usual")

    def fit(self, table: OOFTable) -> Anchored:
        candidates = [replace(self, ridges=(ridge,)) for ridge in self.ridges]
        return pick(candidates, table, folds=self.folds)._fit(table)

    def restore(self, state: State) -> Anchored:
        return restore_anchored(state, self.anchor, self.features, restore_linear)

    def _fit(self, table: OOFTable) -> Anchored:
        column_M = column_of(table.scores.families)
        raw_NF = Anchored((), self.features, column_M).features(table.proba_NMC)
        mean_F, scale_F = raw_NF.mean(axis=0), raw_NF.std(axis=0) + np.float32(1e-6)
        features_NF = (raw_NF - mean_F) / scale_F
        anchor = fit_anchor(self.anchor, table)
        start_NC = log_anchor(anchor, table.proba_NMC)
        n_features, n_classes = features_NF.shape[1], len(table.classes)
        cut = n_features * n_classes

        def score(parameter: NDArray[np.float64]) -> NDArray[np.float64]:
            weight_FC = parameter[:cut].reshape(n_features, n_classes).astype(np.float32)
            scores_NC: NDArray[np.float64] = start_NC + features_NF @ weight_FC + parameter[cut:]
            return scores_NC

        def pull_back(gradient_NC: NDArray[np.float64]) -> NDArray[np.float64]:
            by_weight = features_NF.T @ gradient_NC.astype(np.float32)
            return np.concatenate([by_weight.ravel().astype(np.float64), gradient_NC.sum(axis=0)])

        found = minimise_kl(
            score,
            pull_back,
            target_NC=table.labels.target_NC,
            weight_N=table.labels.weight_N(self.row_weight),
            centre_P=np.zeros(cut + n_classes),
            ridge_P=np.r_[np.full(cut, self.ridges[0]), np.full(n_classes, 1e-6)],
        )
        linear = Linear(mean_F, scale_F, found[:cut].reshape(n_features, n_classes), found[cut:])
        return Anchored((Bag(anchor, linear),), self.features, column_M)


def linear_logits() -> Logistic:
    """Linear stacking of the members' logits: no anchor, every member's every class into every class."""
    return Logistic(name="linear_logits", features="members", anchor="none")
