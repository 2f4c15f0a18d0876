"""Multinomial logistic stacking: the score of each class is linear in the features, on top of the log anchor.

N samples, C classes, F features.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from foldstill.oof.table import OOFTable
from foldstill.stacking.anchored import AnchoredCombination, AnchoredSettings, Bag, fit_anchor, log_anchor_of
from foldstill.stacking.features import FeatureSet, family_numbers, features_of
from foldstill.stacking.loglinear import Prior, minimise_kl
from foldstill.stacking.ridged import Ridged
from foldstill.stacking.state import State, array

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Linear:
    """Standardised features times weights, plus a bias per class."""

    mean_F: F32
    scale_F: F32
    weight_FC: NDArray[np.float64]
    bias_C: NDArray[np.float64]

    def __call__(self, features_NF: F32) -> NDArray[np.float64]:
        score: NDArray[np.float64] = ((features_NF - self.mean_F) / self.scale_F) @ self.weight_FC + self.bias_C
        return score

    def state(self) -> State:
        return {"mean": self.mean_F, "scale": self.scale_F, "weight": self.weight_FC, "bias": self.bias_C}


@dataclass(frozen=True)
class Logistic(Ridged, AnchoredSettings, kind="logistic", title="Logistic regression"):
    """Multinomial logistic regression on the members' log-probabilities, added to an average of the members.

    Statistics of the members can replace the log-probabilities; a ridge pulls towards the average, the anchor. It is
    fitted to vote shares by KL. The ridge is chosen by cross-fitting over inner group folds.

    References
    ----------
    K. M. Ting, I. H. Witten (1999), Issues in stacked generalization: class probabilities as features and a linear
    model work best.

    Examples
    --------
    >>> from foldstill.stacking import crossfit
    >>> from foldstill.testing import synthetic_table
    >>> round(crossfit(Logistic(ridges=(0.1,)), synthetic_table()).kl, 2)
    0.22
    """

    features: FeatureSet = field(default="members", kw_only=True)

    def residual(self, state: State) -> Linear:
        return Linear(*(array(state, key) for key in ("mean", "scale", "weight", "bias")))

    def fit_one_ridge(self, table: OOFTable) -> AnchoredCombination:
        family_M = family_numbers(table.scores.families)
        raw_NF = features_of(table.scores, self.features, family_M)
        mean_F, scale_F = raw_NF.mean(axis=0), raw_NF.std(axis=0) + np.float32(1e-6)
        features_NF = (raw_NF - mean_F) / scale_F
        anchor = fit_anchor(self.anchor, table)
        start_NC = log_anchor_of(anchor, table.scores)
        n_features, n_classes = features_NF.shape[1], len(table.classes)
        n_weights = n_features * n_classes

        def score(parameter: NDArray[np.float64]) -> NDArray[np.float64]:
            weight_FC = parameter[:n_weights].reshape(n_features, n_classes).astype(np.float32)
            scores_NC: NDArray[np.float64] = start_NC + features_NF @ weight_FC + parameter[n_weights:]
            return scores_NC

        def pull_back(gradient_NC: NDArray[np.float64]) -> NDArray[np.float64]:
            by_weight = features_NF.T @ gradient_NC.astype(np.float32)
            return np.concatenate([by_weight.ravel().astype(np.float64), gradient_NC.sum(axis=0)])

        prior = Prior(
            centre_P=np.zeros(n_weights + n_classes),
            ridge_P=np.r_[np.full(n_weights, self.ridges[0]), np.full(n_classes, 1e-6)],
        )
        weight_N = table.labels.weight_N(self.row_weight)
        best_P = minimise_kl(score, pull_back, prior, target_NC=table.labels.target_NC, weight_N=weight_N)
        linear = Linear(mean_F, scale_F, best_P[:n_weights].reshape(n_features, n_classes), best_P[n_weights:])
        return AnchoredCombination((Bag(anchor, linear),), self.features, family_M)


def linear_logits() -> Logistic:
    """Return linear stacking of the members' logits: no anchor; each class sees every class of every member."""
    return Logistic(name="linear_logits", features="members", anchor="none")
