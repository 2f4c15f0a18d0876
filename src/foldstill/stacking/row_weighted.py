"""The setting that combiners share which are fitted to votes: how much each row counts."""

from dataclasses import dataclass, field

from foldstill.data.row_weights import RowWeight
from foldstill.settings import NamedKind


@dataclass(frozen=True)
class RowWeighted(NamedKind):
    """Base of combiners that are fitted to votes."""

    row_weight: RowWeight = field(default="none", kw_only=True)
    """Weight per row in the fit: "none" (all equal), "log1p" (log(1 + votes)), "clamp" (votes, at most 10) or "damped"
    (votes, rising slowly beyond 10)."""
