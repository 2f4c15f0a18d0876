"""LightGBM on soft labels: boosted trees that start at an average and can stop there.

N samples, C classes, F features, R rounds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import row_kl, softmax
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.stacking.anchored import AnchoredCombination, Bag, BaggedSettings, fit_anchor, log_anchor
from foldstill.stacking.combiner import Combination
from foldstill.stacking.crossfit import group_folds
from foldstill.stacking.features import family_numbers, features
from foldstill.stacking.setting_checks import require_at_least
from foldstill.stacking.state import State, array, text

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Trees:
    """A booster in LightGBM's text format; empty when it has no rounds, and then it adds nothing."""

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


@dataclass(frozen=True)
class LightGBM(BaggedSettings):
    """Boosted trees on summary statistics of the members' scores per class, added to an average of the members.

    The trees are fitted to vote shares by KL; the average, called the anchor, is added in log space. One booster per
    inner group fold grows in step with the others. All keep the number of rounds with the lowest KL over all held-out
    rows, which can be zero, and their scores are averaged. Every row thus counts in the choice of the number of rounds,
    and no final refit is needed.

    References
    ----------
    G. Ke et al. (2017), LightGBM: a highly efficient gradient boosting decision tree.

    Examples
    --------
    >>> from foldstill.stacking import crossfit
    >>> from foldstill.testing import synthetic_table
    >>> round(crossfit(LightGBM(rounds=4, folds=3, rows_per_leaf=10), synthetic_table()).kl, 2)
    0.25
    """

    title: ClassVar[str] = "LightGBM"

    kind: Literal["lightgbm"] = "lightgbm"
    name: str = "lightgbm"
    rounds: int = 200
    """Maximum number of rounds."""
    patience: int = 10
    """Number of rounds without improvement after which training stops."""
    learning_rate: float = 0.1
    """Learning rate."""
    leaves: int = 8
    """Maximum number of leaves per tree."""
    rows_per_leaf: int = 100
    """Minimum number of rows per leaf."""
    l2: float = 10.0
    """L2 regularisation of leaf values."""
    feature_share: float = 1.0
    """Share of the features that each tree uses; above 0, at most 1."""

    def __post_init__(self) -> None:
        require_at_least(self, folds=2, rounds=0, patience=1, leaves=2, rows_per_leaf=1)
        if not (0 < self.learning_rate <= 1 and 0 < self.feature_share <= 1 and self.l2 >= 0):
            raise StackError(
                "learning_rate and feature_share of lightgbm must be in (0, 1] and l2 at least 0, got "
                f"{self.learning_rate}, {self.feature_share} and {self.l2}"
            )

    @classmethod
    def example(cls) -> Self:
        return cls(rounds=4, folds=3, rows_per_leaf=10)

    def fit(self, table: OOFTable) -> AnchoredCombination:
        family_M = family_numbers(table.scores.families)
        features_NF = features(table.proba_NMC, self.features, family_M)
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
        return AnchoredCombination(tuple(bags), self.features, family_M)

    def residual(self, state: State) -> Trees:
        return Trees(text(state, "model"), int(array(state, "n_classes")))

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
    """The booster of one fold during training, with the rows it learns from and the held-out rows."""

    anchor: Combination | None
    booster: Any
    target_NC: Matrix
    weight_N: Matrix
    held_target_NC: Matrix
    held_weight_N: Matrix

    def grow(self) -> None:
        """Add one round."""
        self.booster.update(fobj=soft_objective(self.target_NC, self.weight_N))

    def held_out_loss(self) -> float:
        """Return the weighted sum of KL over the held-out rows after the rounds so far."""

        def kl(score_NC: Matrix, _: Any) -> tuple[str, float, bool]:
            losses = row_kl(target=self.held_target_NC, proba=softmax(score_NC))
            return "kl", float(self.held_weight_N @ losses), False

        return float(self.booster.eval_valid(kl)[0][2])

    def text(self, rounds: int) -> str:
        """Return the model after this number of rounds; empty for zero."""
        return str(self.booster.model_to_string(num_iteration=rounds)) if rounds else ""


def soft_objective(target_NC: Matrix, weight_N: Matrix) -> Callable[[Matrix, Any], tuple[Matrix, Matrix]]:
    """Return a function for the gradient and Hessian of cross-entropy to soft targets: p - y and C / (C - 1) p (1 - p).

    The factor is that of LightGBM's own multi-class objective (Friedman, 2001, section 4.5).
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
    """Return a booster without rounds whose scores start at `start_NC`; `update(fobj=...)` adds rounds.

    LightGBM's predictions do not contain the start: the caller adds it again.
    """
    import lightgbm

    settings = {
        "objective": "none",
        "num_class": start_NC.shape[1],
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "max_bin": 63,
        # Otherwise LightGBM reports a table that is too small for one split of this leaf size as one without features.
        "feature_pre_filter": False,
        "verbose": -1,
        **parameters,
    }
    # The label is not used with a custom objective, but a data set must have one.
    train = lightgbm.Dataset(features_NF, np.zeros(len(features_NF)), init_score=start_NC, params=settings)
    booster = lightgbm.Booster(settings, train)
    if valid is not None:
        held_NF, held_start_NC = valid
        dummy = np.zeros(len(held_NF))
        booster.add_valid(train.create_valid(held_NF, dummy, init_score=held_start_NC, params=settings), "held_out")
    return booster
