"""Every combiner's settings in one union, and the arms a comparison has unless told otherwise."""

from foldstill.stacking.auto import Auto
from foldstill.stacking.averages import Average, Geometric, Median, Trimmed
from foldstill.stacking.combiner import Combiner
from foldstill.stacking.convex import Convex
from foldstill.stacking.log_pool import LogPool
from foldstill.stacking.recalibrate import Recalibrated

CombinerSettings = Average | Geometric | Median | Trimmed | Recalibrated | Convex | LogPool | Auto
"""One of these, told apart by `kind`."""


def default_combiners() -> tuple[Combiner, ...]:
    """The combiners every comparison has."""
    return (Average(), Geometric(), Recalibrated(), Convex(), LogPool(), Auto())
