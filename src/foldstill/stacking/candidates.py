"""The combiners that `auto` and the super learner choose from by default."""

from foldstill.stacking.combiner import Combiner
from foldstill.stacking.convex import Convex
from foldstill.stacking.gated import Gated
from foldstill.stacking.gradient_boosting import LightGBM
from foldstill.stacking.log_pool import LogPool
from foldstill.stacking.recalibrate import Recalibrated

_FAMILIES: tuple[Combiner, ...] = (
    Recalibrated(name="convex_families", of=Convex(tied=True)),
    LogPool(name="log_pool_families", tied=True),
)
_TREES = LightGBM(folds=3, rounds=100)


def default_ladder() -> tuple[Combiner, ...]:
    """Return the rungs of `auto`, simplest first; all are fast, so that the choice can be repeated in every fold."""
    return (Recalibrated(), *_FAMILIES, LogPool(), _TREES)


def default_library() -> tuple[Combiner, ...]:
    """Return the library of the super learner: the recalibrated average, and different ways to improve on it."""
    return (Recalibrated(), Recalibrated(name="vector_scaled", slope="per_class"), *_FAMILIES, Gated(), _TREES)
