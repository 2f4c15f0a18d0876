"""Class thresholds for metrics of predicted classes, tuned on held-out groups of the rows of the fit.

N samples, C classes.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.choices import require_metric
from foldstill.data.simplex import Float
from foldstill.oof.table import OOFTable
from foldstill.settings import NamedKind, TextInFile
from foldstill.stacking.averages import Average
from foldstill.stacking.combiner import AnyCombiner, Combination, Proba
from foldstill.stacking.crossfit import crossfit, group_folds
from foldstill.stacking.metric_search import class_weights, metric_loss, weighted
from foldstill.stacking.setting_checks import require_at_least
from foldstill.stacking.state import State, array, strip_prefix, with_prefix


@dataclass(frozen=True)
class ThresholdedCombination:
    """The `inner` combination with its probabilities multiplied by class weights."""

    class_weight_C: NDArray[np.float64]
    inner: Combination

    def __call__(self, proba_NMC: Float) -> Proba:
        return weighted(self.inner(proba_NMC), self.class_weight_C)

    def state(self) -> State:
        return {"class_weight": self.class_weight_C, **with_prefix("of", self.inner.state())}


@dataclass(frozen=True)
class Thresholded(NamedKind, kind="thresholded", title="Tuned thresholds"):
    """Another combiner with class thresholds that are tuned for a metric of predicted classes.

    The probabilities are multiplied by one weight per class, so that a rare class is predicted earlier or later. The
    weights are tuned on cross-fitted scores of the rows of the fit. They serve the predicted class, and the
    probabilities are no longer calibrated.

    Examples
    --------
    >>> from foldstill.testing import synthetic_table
    >>> Thresholded(metric="balanced_accuracy").fit(synthetic_table()).class_weight_C.round(2).tolist()
    [1.31, 0.9, 0.84]
    """

    of: AnyCombiner = field(default_factory=Average)
    """The combiner whose predicted classes are tuned."""
    metric: Annotated[Any, TextInFile()] = "macro_f1"
    """The metric that the thresholds improve; named like `metric` of `[compare]`."""
    folds: int = 5
    """Number of inner group folds, drawn within the rows of the fit, that the thresholds are tuned on."""
    seed: int = 0
    """Random seed."""

    def __post_init__(self) -> None:
        require_at_least(self, folds=2)
        require_metric(self.metric)

    @classmethod
    def example(cls) -> Self:
        return cls(folds=3)

    def fit(self, table: OOFTable) -> ThresholdedCombination:
        fold_N = group_folds(table.labels.groups, self.folds, seed=self.seed)
        held_out_NC = crossfit(self.of, table, folds=fold_N).proba_NC
        weight_C = class_weights(held_out_NC, metric_loss(self.metric, table))
        return ThresholdedCombination(weight_C, self.of.fit(table))

    def restore(self, state: State) -> ThresholdedCombination:
        return ThresholdedCombination(array(state, "class_weight"), self.of.restore(strip_prefix("of", state)))
