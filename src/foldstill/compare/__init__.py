"""Is it better than plain averaging, and how sure is that? Metrics, paired intervals, arms, the report; no torch."""

from foldstill.compare.bootstrap import Interval, paired_intervals

__all__ = ["Interval", "paired_intervals"]
