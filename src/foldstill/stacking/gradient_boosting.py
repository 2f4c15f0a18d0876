"""LightGBM on soft labels: boosted trees that start at an average and may stop there.

N rows, C classes, F features, R rounds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.labels import RowWeight
from foldstill.data.simplex import row_kl, softmax
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.settings import Settings
from foldstill.stacking.anchored import (
    Anchor,
    Anchored,
    Bag,
    column_of,
    fit_anchor,
    log_anchor,
    restore_anchored,
)
from foldstill.stacking.combiner import Combination, State, array, text
from foldstill.stacking.crossfit import group_folds
from foldstill.stacking.features import FeatureSet

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Trees:
    """A booster as LightGBM writes it; without rounds it is empty and adds nothing."""

    model: str
    n_classes: int

    def __call__(self, features_NF: NDArray[np.float32]) -> Matrix:
        if not self.model:
            return np.zeros((len(features_NF), self.n_classes))
        raw: Matrix = self._booster.predict(features_NF, raw_score=True, num_threads=1)
        return raw

    @cached_property
    def _booster(self) -> Any:
        import lightgbm

        return lightgbm.Booster(model_str=self.model)

    def state(self) -> State:
        return {"model": self.model, "n_classes": np.asarray(self.n_classes)}


def restore_trees(state: State) -> Trees:
    return Trees(text(state, "model"), int(array(state, "n_classes")))


@dataclass(frozen=True)
class LightGBM(Settings):
    """Trees on summary statistics added to the log anchor, fitted to vote shares by KL.

    One booster a group fold grows in step with the others; the round with the lowest KL over all held-out rows, round
    zero included, is kept in each, and their scores are averaged. So every row has a say in when to stop, and no fit is
    spent on a final refit.
    """

    kind: Literal["lightgbm"] = "lightgbm"
    """Selects this combiner in an experiment file."""
    name: str = "lightgbm"
    """Name in tables and folders."""
    features: FeatureSet = "statistics"
    """What the trees see."""
    anchor: Anchor = "recalibrated"
    """Where the scores start."""
    folds: int = 5
    """Group folds, and so boosters."""
    rounds: int = 200
    """Most rounds."""
    patience: int = 10
    """Rounds without a gain after which all boosters stop."""
    learning_rate: float = 0.1
    """Step of a round."""
    leaves: int = 8
    """Leaves of a tree."""
    rows_per_leaf: int = 100
    """Least rows in a leaf."""
    l2: float = 10.0
    """Ridge on leaf values."""
    feature_share: float = 1.0
    """Share of features a tree may use."""
    row_weight: RowWeight = "none"
    """What a row counts in the fit: all the same, log(1 + votes), or votes up to ten."""
    seed: int = 0
    """Of the group folds and the features drawn."""

    def __post_init__(self) -> None:
        for field, least in (("folds", 2), ("rounds", 0), ("patience", 1), ("leaves", 2), ("rows_per_leaf", 1)):
            if getattr(self, field) < least:
                raise StackError(f"{field} must be {least} or more, got {getattr(self, field)}")
        if not (0 < self.learning_rate <= 1 and 0 < self.feature_share <= 1 and self.l2 >= 0):
            raise StackError(
                "learning_rate and feature_share must be in (0, 1] and l2 at least 0, got "
                f"{self.learning_rate}, {self.feature_share}, {self.l2}"
            )

    def fit(self, table: OOFTable) -> Anchored:
        column_M = column_of(table.scores.families)
        features_NF = Anchored((), self.features, column_M).features(table.proba_NMC)
        weight_N = table.labels.weight_N(self.row_weight)
        fold_N = group_folds(table.labels.groups, self.folds, seed=self.seed)
        growing = [self._start(table, features_NF, weight_N, fold_N == k) for k in range(int(fold_N.max()) + 1)]
        total = weight_N.sum()
        curve = [sum(booster.held_out_loss() for booster in growing) / total]
        best = 0
        while len(curve) <= self.rounds and len(curve) - 1 - best < self.patience:
            for booster in growing:
                booster.grow()
            curve.append(sum(booster.held_out_loss() for booster in growing) / total)
            best = best if curve[best] <= curve[-1] else len(curve) - 1
        bags = [Bag(booster.anchor, Trees(booster.text(best), len(table.classes))) for booster in growing]
        return Anchored(tuple(bags), self.features, column_M)

    def restore(self, state: State) -> Anchored:
        return restore_anchored(state, self.anchor, self.features, restore_trees)

    def _start(
        self, table: OOFTable, features_NF: NDArray[np.float32], weight_N: Matrix, held_N: NDArray[np.bool_]
    ) -> "Growing":
        anchor = fit_anchor(self.anchor, table.take(~held_N))
        booster = new_booster(
            features_NF[~held_N],
            log_anchor(anchor, table.proba_NMC[~held_N]),
            {
                "learning_rate": self.learning_rate,
                "num_leaves": self.leaves,
                "min_data_in_leaf": self.rows_per_leaf,
                "lambda_l2": self.l2,
                "feature_fraction": self.feature_share,
                "seed": self.seed,
            },
            valid=(features_NF[held_N], log_anchor(anchor, table.proba_NMC[held_N])),
        )
        target_NC = table.labels.target_NC
        return Growing(anchor, booster, target_NC[~held_N], weight_N[~held_N], target_NC[held_N], weight_N[held_N])


@dataclass(frozen=True)
class Growing:
    """A booster of one fold while it grows, with the rows it learns from and those it is judged on."""

    anchor: Combination | None
    booster: Any
    target_NC: Matrix
    weight_N: Matrix
    held_target_NC: Matrix
    held_weight_N: Matrix

    def grow(self) -> None:
        """One more round."""
        self.booster.update(fobj=soft_objective(self.target_NC, self.weight_N))

    def held_out_loss(self) -> float:
        """Summed KL of the held-out rows after the rounds so far."""

        def kl(score_NC: Matrix, _: Any) -> tuple[str, float, bool]:
            losses = row_kl(target=self.held_target_NC, proba=softmax(score_NC))
            return "kl", float(self.held_weight_N @ losses), False

        return float(self.booster.eval_valid(kl)[0][2])

    def text(self, rounds: int) -> str:
        """The model of the first rounds; empty for none."""
        return str(self.booster.model_to_string(num_iteration=rounds)) if rounds else ""


def soft_objective(target_NC: Matrix, weight_N: Matrix) -> Callable[[Matrix, Any], tuple[Matrix, Matrix]]:
    """LightGBM's gradient and Hessian of cross-entropy to soft targets: p - y and C / (C - 1) p (1 - p).

    The factor is the one LightGBM's own multi-class objective has (Friedman, 2001, section 4.5).
    """
    n_classes = target_NC.shape[1]
    factor_N1 = (n_classes / (n_classes - 1)) * weight_N[:, None]

    def objective(score_NC: Matrix, _: Any) -> tuple[Matrix, Matrix]:
        proba_NC = softmax(score_NC)
        return weight_N[:, None] * (proba_NC - target_NC), factor_N1 * proba_NC * (1 - proba_NC) + 1e-9

    return objective


def new_booster(
    features_NF: NDArray[np.float32],
    start_NC: Matrix,
    parameters: dict[str, float],
    *,
    valid: tuple[NDArray[np.float32], Matrix] | None = None,
) -> Any:
    """A booster without rounds whose scores start at `start_NC`; `update(fobj=...)` adds rounds.

    LightGBM leaves the start out of its predictions: whoever predicts adds it again.
    """
    import lightgbm

    settings = {
        "objective": "none",
        "num_class": start_NC.shape[1],
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "max_bin": 63,
        # A table too small for one split of this leaf size would otherwise be refused as one without features.
        "feature_pre_filter": False,
        "verbose": -1,
        **parameters,
    }
    # The label is never read under an objective of our own, but a data set must have one.
    train = lightgbm.Dataset(features_NF, np.zeros(len(features_NF)), init_score=start_NC, params=settings)
    booster = lightgbm.Booster(settings, train)
    if valid is not None:
        held_NF, held_start_NC = valid
        dummy = np.zeros(len(held_NF))
        booster.add_valid(train.create_valid(held_NF, dummy, init_score=held_start_NC, params=settings), "held_out")
    return booster
