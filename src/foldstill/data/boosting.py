"""LightGBM on soft labels: the objective, the booster, and the trees that it leaves. LightGBM is loaded on use.

N samples (rows), C classes, F features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.lightgbm_library import Booster, SavedTrees
from foldstill.data.simplex import Float, row_kl, softmax
from foldstill.settings import Settings

Matrix = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TreeSettings(Settings):
    """What members and combiners that are boosted trees share."""

    learning_rate: float = 0.1
    """Learning rate."""
    leaves: int = 31
    """Maximum number of leaves per tree."""
    rows_per_leaf: int = 20
    """Minimum number of rows per leaf."""
    l2: float = 0.0
    """L2 regularisation of leaf values."""
    feature_share: float = 1.0
    """Share of the features that each tree uses; above 0, at most 1."""

    @property
    def parameters(self) -> dict[str, float]:
        """These settings by the names of LightGBM."""
        return {
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.rows_per_leaf,
            "lambda_l2": self.l2,
            "feature_fraction": self.feature_share,
        }


@dataclass(frozen=True)
class Trees:
    """A booster in LightGBM's text format; empty when it has no rounds, and then it adds nothing."""

    model: str
    n_classes: int

    def __call__(self, features_NF: Float) -> Matrix:
        if not self.model:
            return np.zeros((len(features_NF), self.n_classes))
        return self._saved.scores(features_NF, self.n_classes)

    @cached_property
    def _saved(self) -> SavedTrees:
        return SavedTrees(self.model)

    def structures(self) -> list[dict[str, Any]]:
        """The trees as nested dictionaries, those of one round after the other, one per class."""
        if not self.model:
            return []
        import lightgbm

        return [tree["tree_structure"] for tree in lightgbm.Booster(model_str=self.model).dump_model()["tree_info"]]

    def state(self) -> dict[str, NDArray[Any] | str]:
        """What a combination stores."""
        return {"model": self.model, "n_classes": np.asarray(self.n_classes)}

    @property
    def n_leaves(self) -> int:
        """Number of leaves of all trees."""
        return sum(int(line.partition("=")[2]) for line in self.model.splitlines() if line.startswith("num_leaves="))


@dataclass(frozen=True, eq=False)
class SoftRows:
    """What a booster learns from, or is judged by: one distribution and one weight per row."""

    target_NC: Matrix
    weight_N: Matrix

    @cached_property
    def objective(self) -> Callable[[Matrix], tuple[Matrix, Matrix]]:
        """Gradient and Hessian of cross-entropy, for `Booster.update`."""
        return soft_objective(self.target_NC, self.weight_N)

    def kl(self, score_NC: Matrix) -> float:
        """Weighted sum of KL."""
        return float(self.weight_N @ row_kl(target=self.target_NC, proba=softmax(score_NC)))


def soft_objective(target_NC: Matrix, weight_N: Matrix) -> Callable[[Matrix], tuple[Matrix, Matrix]]:
    """Return a function for the gradient and Hessian of cross-entropy to soft targets: p - y and C / (C - 1) p (1 - p).

    The factor is that of LightGBM's own multi-class objective (Friedman, 2001, section 4.5).
    """
    n_classes = target_NC.shape[1]
    factor_N1 = (n_classes / (n_classes - 1)) * weight_N[:, None]

    def objective(score_NC: Matrix) -> tuple[Matrix, Matrix]:
        proba_NC = softmax(score_NC)
        return weight_N[:, None] * (proba_NC - target_NC), factor_N1 * proba_NC * (1 - proba_NC) + 1e-9

    return objective


def new_booster(
    features_NF: Float,
    start_NC: Matrix,
    parameters: dict[str, float],
    *,
    categories: Sequence[int] = (),
    valid: tuple[Float, Matrix] | None = None,
) -> Booster:
    """Return a booster without rounds whose scores start at `start_NC`; `update` adds rounds.

    `categories` are positions of columns whose values are levels. LightGBM's predictions do not contain the start: the
    caller adds it again.
    """
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
    return Booster(features_NF, start_NC, settings, categories=categories, valid=valid)
