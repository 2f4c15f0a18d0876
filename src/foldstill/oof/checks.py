"""The checks of an audit, in the order of a report. To add one, add its class to the tuple."""

from foldstill.oof.audit_check import AuditCheck
from foldstill.oof.audit_combiner import FreshLabels, Optimism, RowFolds
from foldstill.oof.audit_folds import GroupsInOneFold, Provenance
from foldstill.oof.audit_leaks import HoldoutGap, VoteNoiseFloor, VoteNoiseSlope
from foldstill.oof.audit_members import Alignment, Duplicates
from foldstill.oof.audit_shift import FoldsAlike, SpreadRatio

CHECKS: tuple[type[AuditCheck], ...] = (
    GroupsInOneFold,
    Provenance,
    Alignment,
    Duplicates,
    VoteNoiseFloor,
    VoteNoiseSlope,
    HoldoutGap,
    RowFolds,
    SpreadRatio,
    FoldsAlike,
    Optimism,
    FreshLabels,
)
