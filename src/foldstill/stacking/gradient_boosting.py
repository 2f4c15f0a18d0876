"""LightGBM on soft labels: boosted trees that start at an average and can stop there.

N samples, C classes, F features, R rounds.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from foldstill.data.boosting import SoftRows, Trees, TreeSettings, new_booster
from foldstill.data.lightgbm_library import Booster
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.stacking.anchored import AnchoredCombination, Bag, BaggedSettings, fit_anchor, log_anchor_of
from foldstill.stacking.combiner import Combination
from foldstill.stacking.crossfit import group_folds
from foldstill.stacking.features import family_numbers, features_of
from foldstill.stacking.setting_checks import require_at_least
from foldstill.stacking.state import State, array, text

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class LightGBM(BaggedSettings, TreeSettings, kind="lightgbm", title="LightGBM"):
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

    rounds: int = 200
    """Maximum number of rounds."""
    patience: int = 10
    """Number of rounds without improvement after which training stops."""
    leaves: int = 8
    rows_per_leaf: int = 100
    l2: float = 10.0

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
        features_NF = features_of(table.scores, self.features, family_M)
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
            log_anchor_of(anchor, table.scores.take(~held_N)),
            {**self.parameters, "seed": self.seed},
            valid=(features_NF[held_N], log_anchor_of(anchor, table.scores.take(held_N))),
        )
        target_NC = table.labels.target_NC
        rows, held_rows = (SoftRows(target_NC[row_N], weight_N[row_N]) for row_N in (~held_N, held_N))
        return Growing(anchor, booster, rows, held_rows)


@dataclass(frozen=True)
class Growing:
    """The booster of one fold during training, with the rows it learns from and the held-out rows."""

    anchor: Combination | None
    booster: Booster
    rows: SoftRows
    held_rows: SoftRows

    def grow(self) -> None:
        """Add one round."""
        self.booster.update(self.rows.objective)

    def held_out_loss(self) -> float:
        """Return the weighted sum of KL over the held-out rows after the rounds so far."""
        return self.held_rows.kl(self.booster.scores(1))

    def text(self, rounds: int) -> str:
        """Return the model after this number of rounds; empty for zero."""
        return self.booster.text(rounds) if rounds else ""
