"""Contract suites for kinds that users write: each says what foldstill expects of a new kind."""

from foldstill.testing.audit_checks import check_audit
from foldstill.testing.combiners import check_combiner, synthetic_table
from foldstill.testing.members import check_member, synthetic_dataset
from foldstill.testing.metrics import check_metric
from foldstill.testing.sources import check_source

__all__ = [
    "check_audit",
    "check_combiner",
    "check_member",
    "check_metric",
    "check_source",
    "synthetic_dataset",
    "synthetic_table",
]
