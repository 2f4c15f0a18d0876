"""Every kind of combiner, from simple to complex, and the combiners that a comparison has by default.

Add a kind to the tuple to offer it. Of combinations that do equally well, a comparison recommends the first.
"""

from foldstill.stacking.auto import Auto
from foldstill.stacking.averages import Average, Geometric, Median, Trimmed
from foldstill.stacking.best_member import BestMember
from foldstill.stacking.combiner import Combiner
from foldstill.stacking.convex import Convex
from foldstill.stacking.gated import Gated
from foldstill.stacking.gradient_boosting import LightGBM
from foldstill.stacking.greedy import Greedy
from foldstill.stacking.log_pool import LogPool
from foldstill.stacking.logistic import Logistic
from foldstill.stacking.mlp import MLP
from foldstill.stacking.pruned import Pruned
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.stacking.sklearn_combiner import SklearnCombiner
from foldstill.stacking.super_learner import Super
from foldstill.stacking.tempered import Tempered

COMBINERS: tuple[type[Combiner], ...] = (
    Average,
    BestMember,
    Geometric,
    Median,
    Trimmed,
    Recalibrated,
    Convex,
    Greedy,
    Pruned,
    LogPool,
    Gated,
    Logistic,
    MLP,
    LightGBM,
    SklearnCombiner,
    Super,
    Auto,
    Tempered,
)


def default_combiners() -> tuple[Combiner, ...]:
    """Return the combiners of every comparison; the slowest are last."""
    return (Average(), BestMember(), Geometric(), Recalibrated(), Convex(), LogPool(), MLP(), LightGBM(), Auto())
