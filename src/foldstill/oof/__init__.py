"""Score tables: make, import, check, store and export the out-of-fold scores of several members. Imports no torch."""

from foldstill.oof.arrays import oof_table
from foldstill.oof.audit import audit
from foldstill.oof.audit_check import AuditCheck, AuditInput, finding
from foldstill.oof.checks import CHECKS
from foldstill.oof.exports import export_table
from foldstill.oof.findings import AuditReport, Finding
from foldstill.oof.heads import multi_label_tables
from foldstill.oof.import_settings import ImportSettings
from foldstill.oof.imports import import_scores
from foldstill.oof.probabilities import smooth_labels
from foldstill.oof.store import read_labels, read_scores, read_table, write_scores, write_table
from foldstill.oof.table import FoldScores, OOFTable, ScoreTable

__all__ = [
    "CHECKS",
    "AuditCheck",
    "AuditInput",
    "AuditReport",
    "Finding",
    "FoldScores",
    "ImportSettings",
    "OOFTable",
    "ScoreTable",
    "audit",
    "export_table",
    "finding",
    "import_scores",
    "multi_label_tables",
    "oof_table",
    "read_labels",
    "read_scores",
    "read_table",
    "smooth_labels",
    "write_scores",
    "write_table",
]
