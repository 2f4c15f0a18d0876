"""Is it better than plain averaging, and how sure is that? Metrics, paired intervals, arms, the report; no torch."""

from foldstill.compare.arms import Arm
from foldstill.compare.bootstrap import Interval, paired_intervals
from foldstill.compare.comparison import Comparison
from foldstill.compare.floor import noise_floor
from foldstill.compare.metrics import scores
from foldstill.compare.pairing import compare
from foldstill.compare.report import write_report
from foldstill.compare.table import arms_table

__all__ = [
    "Arm",
    "Comparison",
    "Interval",
    "arms_table",
    "compare",
    "noise_floor",
    "paired_intervals",
    "scores",
    "write_report",
]
