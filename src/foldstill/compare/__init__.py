"""Is it better than plain averaging, and how sure is that? Metrics, paired intervals, arms, the report; no torch."""

from foldstill.compare.arms import Arm, Cost
from foldstill.compare.bootstrap import Interval, paired_intervals
from foldstill.compare.comparison import Comparison
from foldstill.compare.floor import noise_floor
from foldstill.compare.metrics import scores
from foldstill.compare.pairing import compare

__all__ = ["Arm", "Comparison", "Cost", "Interval", "compare", "noise_floor", "paired_intervals", "scores"]
