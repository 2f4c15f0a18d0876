"""Members that are LightGBM boosters on feature tables. LightGBM is loaded on use, torch never.

N rows, C classes, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from foldstill.base_models.feature_member import FeatureMember
from foldstill.base_models.feature_model import FeatureModel, prediction_cost, read_about, training_table
from foldstill.base_models.recipes import check_name, require
from foldstill.base_models.rows import inner_split
from foldstill.cost import Cost
from foldstill.data.boosting import Matrix, SoftRows, Trees, TreeSettings, new_booster
from foldstill.data.feature_form import FeatureForm
from foldstill.data.features import FeatureTable, View
from foldstill.data.lightgbm_library import Booster
from foldstill.data.simplex import clip_rows, softmax
from foldstill.data.training import FitContext, FitProgress, Rows, TrainingSet
from foldstill.errors import MemberError
from foldstill.files import write_text

MODEL = "model.txt"


@dataclass(frozen=True, eq=False)
class LightGBMModel(FeatureModel):
    """Boosted trees whose scores are added to the logarithm of the class shares in training."""

    trees: Trees
    start_C: Matrix

    def proba(self, table: FeatureTable) -> Matrix:
        return softmax(self.trees(table.values_NF) + self.start_C)

    def save(self, folder: Path) -> None:
        """Write `model.txt`, the trees in LightGBM's own format, and `model.json`, what it takes to apply them."""
        write_text(folder / MODEL, self.trees.model)
        self.write_about(folder, MODEL, start=self.start_C.tolist())

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The model that `save` wrote; raises MemberError if one of its files is missing or damaged."""
        # LightGBM ends the process when it reads a text that was cut: `read_about` checks it before.
        own, about = read_about(folder, MODEL)
        trees = Trees((folder / MODEL).read_text(encoding="utf-8"), len(about["classes"]))
        return cls(*own, trees, np.asarray(about["start"]))

    def cost(self, views: Mapping[str, View]) -> Cost:
        """Leaves, bytes and time per row. The leaves stand for parameters."""
        size = len(self.trees.model.encode())
        return prediction_cost(lambda rows: self.predict(views, rows), parameters=self.trees.n_leaves, size=size)


@dataclass(frozen=True)
class LightGBMMember(FeatureMember, TreeSettings, kind="lightgbm", title="LightGBM"):
    """Boosted trees of LightGBM on a feature table, fitted to vote shares.

    The objective is the cross-entropy to the shares, row by row weighted. Categories are split as categories, and
    missing values go where they cost least. The number of rounds is chosen on an inner split of the training rows.

    References
    ----------
    G. Ke et al. (2017), LightGBM: a highly efficient gradient boosting decision tree.

    Examples
    --------
    >>> LightGBMMember("boosted", rounds=200).learning_rate
    0.1
    """

    name: str
    rounds: int = 1000
    """Maximum number of rounds; each adds one tree per class."""
    patience: int = 30
    """Number of rounds without a better KL on the inner split before training stops; 0 trains every round on all
    rows."""
    inner_share: float = 0.1
    """Share of the training groups that choose the number of rounds and are not trained on."""
    depth: int = 0
    """Maximum depth of a tree; 0 sets no limit."""
    l1: float = 0.0
    """L1 regularisation of leaf values."""
    row_share: float = 1.0
    """Share of the rows that each round uses; above 0, at most 1."""
    bins: int = 255
    """Maximum number of bins per feature."""
    family: str = "lightgbm"
    """Group of similar members, within which combiners can tie weights."""

    def __post_init__(self) -> None:
        check_name(self.name)
        for name, lowest in {
            "rounds": 1,
            "patience": 0,
            "leaves": 2,
            "depth": 0,
            "rows_per_leaf": 1,
            "bins": 2,
        }.items():
            value = getattr(self, name)
            require(value >= lowest, f"member {self.name!r}: {name} must be {lowest} or more, got {value}")
        for name in ("learning_rate", "feature_share", "row_share"):
            value = getattr(self, name)
            require(0 < value <= 1, f"member {self.name!r}: {name} must be in (0, 1], got {value}")
        for name in ("l1", "l2"):
            value = getattr(self, name)
            require(value >= 0, f"member {self.name!r}: {name} must not be negative, got {value}")
        require(
            0 < self.inner_share < 1, f"member {self.name!r}: inner_share must be in (0, 1), got {self.inner_share}"
        )

    @classmethod
    def example(cls) -> Self:
        return cls("boosted", rounds=8, patience=3, rows_per_leaf=2, inner_share=0.2)

    def check(self, training_set: TrainingSet) -> float:
        """Rows times features times rounds, as far as a split can tell."""
        table = training_table(training_set, self.view, self.name)
        inner_split(training_set, self.inner_share if self.patience else None, 0)
        self.weight_N(training_set)
        return float(len(training_set.rows) * table.shape[1] * self.rounds * len(training_set.classes))

    def fit(self, training_set: TrainingSet, context: FitContext) -> LightGBMModel:
        """Add rounds until KL on the inner split no longer falls; the best number of them is kept."""
        table = training_table(training_set, self.view, self.name)
        rows, judges = inner_split(training_set, self.inner_share if self.patience else None, context.seed)
        form = FeatureForm.of(table[rows])
        weight_N = self.weight_N(training_set)
        target_NC = np.asarray(training_set.target_NC)

        def soft_rows(index: Rows) -> SoftRows:
            return SoftRows(target_NC[index].astype(np.float64), weight_N[index])

        learned = soft_rows(rows)
        start_C = np.log(clip_rows(np.average(learned.target_NC, axis=0, weights=learned.weight_N)[None]))[0]
        judged = None if judges is None else (table[judges].aligned(form.features), soft_rows(judges))
        booster = self._booster(table[rows].aligned(form.features), start_C, judged, context.seed)
        best = self._grow(booster, learned, None if judged is None else judged[1])
        loss = learned.kl(booster.scores(0)) / float(learned.weight_N.sum())
        if not np.isfinite(loss):
            raise MemberError(f"member {self.name!r}: the loss is {loss} after {best} rounds: lower the learning_rate")
        context.report(FitProgress(done=1, total=1, loss=loss))
        text = booster.text(best) if best else ""
        trees = Trees(text, len(training_set.classes))
        facts = {"loss": loss, "rounds": best, "leaves": trees.n_leaves}
        return LightGBMModel(training_set.classes, self.view, form, trees, start_C, facts=facts)

    def load(self, folder: Path) -> LightGBMModel:
        return LightGBMModel.read(folder)

    def _booster(
        self, table: FeatureTable, start_C: Matrix, judged: tuple[FeatureTable, SoftRows] | None, seed: int
    ) -> Booster:
        parameters = {
            **self.parameters,
            "max_depth": self.depth or -1,
            "lambda_l1": self.l1,
            "bagging_fraction": self.row_share,
            "bagging_freq": int(self.row_share < 1),
            "max_bin": self.bins,
            "seed": seed % 2**31,
        }
        valid = None
        if judged is not None:
            valid = (judged[0].values_NF, np.tile(start_C, (len(judged[0]), 1)))
        return new_booster(
            table.values_NF, np.tile(start_C, (len(table), 1)), parameters, categories=table.categories, valid=valid
        )

    def _grow(self, booster: Booster, learned: SoftRows, judged: SoftRows | None) -> int:
        """Add rounds; the best number of them, all where nothing judges them."""
        best, lowest = 0, np.inf
        if judged is not None:
            lowest = judged.kl(booster.scores(1))
        for done in range(1, self.rounds + 1):
            stopped = booster.update(learned.objective)
            if judged is None:
                best = done
            else:
                kl = judged.kl(booster.scores(1))
                if kl < lowest:
                    best, lowest = done, kl
            if stopped or (judged is not None and done - best >= self.patience):
                break
        return best
