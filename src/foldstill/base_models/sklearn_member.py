"""Members that are estimators of scikit-learn on feature tables. scikit-learn is imported on use, torch never.

N rows, C classes, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.feature_member import FeatureMember
from foldstill.base_models.feature_model import FeatureModel, prediction_cost, read_about, training_table
from foldstill.base_models.recipes import check_name
from foldstill.cost import Cost
from foldstill.data.estimator_files import dump_estimator, load_estimator
from foldstill.data.estimators import (
    check_options,
    count_parameters,
    fit_shares,
    predict_shares,
    read_estimator,
    require_learner,
    require_weights,
    seeded,
    unfitted_estimator,
)
from foldstill.data.feature_form import FeatureForm
from foldstill.data.features import FeatureTable, View
from foldstill.data.simplex import kl_divergence
from foldstill.data.training import FitContext, FitProgress, TrainingSet
from foldstill.errors import EstimatorError, MemberError
from foldstill.files import atomic_write

MODEL = "model.skops"

_LOSS_ROWS = 1000
"""Number of training rows whose KL is reported."""


@dataclass(frozen=True, eq=False)
class SklearnModel(FeatureModel):
    """A fitted estimator, after the preparation of its features where it has one."""

    preparation: Any
    """A ColumnTransformer; None for a Pipeline, which gets a pandas frame."""
    estimator: Any

    def proba(self, table: FeatureTable) -> NDArray[np.float64]:
        prepared = table.frame() if self.preparation is None else self.preparation.transform(table.values_NF)
        return predict_shares(self.estimator, prepared, len(self.classes))

    def save(self, folder: Path) -> None:
        """Write `model.skops`, which needs no pickle, and `model.json`, what it takes to apply it."""
        with atomic_write(folder / MODEL) as part:
            part.write_bytes(self._dumped())
        self.write_about(folder, MODEL)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The model that `save` wrote; raises MemberError if one of its files is missing or damaged."""
        own, _ = read_about(folder, MODEL)
        return cls(*own, *load_estimator((folder / MODEL).read_bytes()))

    def cost(self, views: Mapping[str, View]) -> Cost:
        """Leaves or parameters, bytes and time per row."""
        return prediction_cost(
            lambda rows: self.predict(views, rows),
            parameters=count_parameters(self.estimator),
            size=len(self._dumped()),
        )

    def _dumped(self) -> bytes:
        return dump_estimator([self.preparation, self.estimator])


@dataclass(frozen=True)
class SklearnMember(FeatureMember, kind="sklearn", title="scikit-learn"):
    """An estimator of scikit-learn on a feature table.

    It is a classifier with probabilities or a multi-output regressor. A classifier learns soft labels from one entry
    per row and class, weighted by the share of the class; a regressor learns the shares as its outputs. Missing numbers
    become the median, numbers are scaled, and categories are one-hot encoded, all fitted to the training rows. A
    Pipeline prepares its features itself: it gets a pandas frame.

    Examples
    --------
    >>> SklearnMember("trees", "ExtraTreesClassifier", options={"n_estimators": 50}).unfitted()
    ExtraTreesClassifier(n_estimators=50)
    """

    name: str
    estimator: Any
    """Name of a classifier or regressor as in `sklearn.utils.all_estimators`. In Python also an unfitted estimator or
    Pipeline."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the named estimator, such as `{ n_estimators = 300 }`. `random_state` follows the seed of the run
    unless it is given."""
    family: str = "sklearn"
    """Group of similar members, within which combiners can tie weights."""

    def __post_init__(self) -> None:
        check_name(self.name)
        object.__setattr__(self, "estimator", read_estimator(self.estimator))
        require_learner(self.unfitted())

    @classmethod
    def example(cls) -> Self:
        return cls("trees", "ExtraTreesClassifier", options={"n_estimators": 10, "min_samples_leaf": 2})

    def unfitted(self) -> Any:
        """A new estimator with the options."""
        return unfitted_estimator(self.estimator, self.options)

    def check(self, training_set: TrainingSet) -> float:
        """Number of training rows times features."""
        table, rows = training_table(training_set, self.view, self.name), training_set.rows
        weight = self.weight_N(training_set)[rows]
        estimator = self.unfitted()
        try:
            dump_estimator(estimator)  # what cannot be saved is found before anything is fitted
            check_options(estimator)
            require_weights(estimator, training_set.target_NC[rows], weight)
        except EstimatorError as error:
            raise MemberError(f"member {self.name!r}: {error}") from None
        return float(len(rows) * table.shape[1] * len(training_set.classes))

    def fit(self, training_set: TrainingSet, context: FitContext) -> SklearnModel:
        """Fit the preparation and then the estimator to the training rows."""
        table, rows = training_table(training_set, self.view, self.name), training_set.rows
        form = FeatureForm.of(table[rows])
        learned = table[rows].aligned(form.features)
        estimator = seeded(self.unfitted(), context.seed)
        preparation = None if hasattr(estimator, "steps") else _preparation(learned, estimator)
        prepared = learned.frame() if preparation is None else preparation.fit_transform(learned.values_NF)
        weight_N = self.weight_N(training_set)[rows]
        target_NC = np.asarray(training_set.target_NC[rows], np.float64)
        fit_shares(estimator, prepared, target_NC, weight_N)
        few = prepared[:_LOSS_ROWS]
        proba_NC = predict_shares(estimator, few, len(training_set.classes))
        loss = kl_divergence(target=target_NC[:_LOSS_ROWS], proba=proba_NC)
        context.report(FitProgress(done=1, total=1, loss=loss))
        facts = {"loss": loss, "parameters": count_parameters(estimator)}
        return SklearnModel(training_set.classes, self.view, form, preparation, estimator, facts=facts)

    def load(self, folder: Path) -> SklearnModel:
        return SklearnModel.read(folder)


def _preparation(table: FeatureTable, estimator: Any) -> Any:
    """Turns the values of a table into numbers that every estimator reads, in the range that this one wants."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
    from sklearn.utils import get_tags

    scaler = MinMaxScaler(clip=True) if get_tags(estimator).input_tags.positive_only else StandardScaler()
    imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    numbers = [index for index in range(table.shape[1]) if index not in table.categories]
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(imputer, scaler), numbers),
            ("categories", OneHotEncoder(handle_unknown="ignore", sparse_output=False), table.categories),
        ]
    )
