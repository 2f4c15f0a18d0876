"""Is a combination better than plain averaging, and how sure is that? Metrics, intervals, verdict, report; no torch."""

from foldstill.compare.arms import Arm
from foldstill.compare.comparison import Comparison
from foldstill.compare.floor import noise_floor
from foldstill.compare.heads import HeadsComparison, over_heads
from foldstill.compare.intervals import Interval, IntervalSettings, paired_intervals
from foldstill.compare.metrics import scores
from foldstill.compare.pairing import compare
from foldstill.compare.report import write_report
from foldstill.compare.settings import CompareSettings
from foldstill.compare.simultaneous import simultaneous_intervals
from foldstill.compare.table import arms_table

__all__ = [
    "Arm",
    "CompareSettings",
    "Comparison",
    "HeadsComparison",
    "Interval",
    "IntervalSettings",
    "arms_table",
    "compare",
    "noise_floor",
    "over_heads",
    "paired_intervals",
    "scores",
    "simultaneous_intervals",
    "write_report",
]
