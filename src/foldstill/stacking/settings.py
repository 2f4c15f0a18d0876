"""Every combiner's settings in one union, and the arms a comparison has unless told otherwise."""

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
from foldstill.stacking.super_learner import Super
from foldstill.stacking.tempered import Tempered

CombinerSettings = (
    Average
    | BestMember
    | Geometric
    | Median
    | Trimmed
    | Recalibrated
    | Convex
    | Greedy
    | Pruned
    | LogPool
    | Gated
    | Logistic
    | MLP
    | LightGBM
    | Super
    | Auto
    | Tempered
)
"""One of these, told apart by `kind`."""


def default_combiners() -> tuple[Combiner, ...]:
    """The combiners every comparison has, the dearest last."""
    return (Average(), BestMember(), Geometric(), Recalibrated(), Convex(), LogPool(), MLP(), LightGBM(), Auto())
