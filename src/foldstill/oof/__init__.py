"""Score tables: the one value that everything before makes and everything after reads. Imports no torch."""

from foldstill.oof.arrays import oof_table
from foldstill.oof.audit import audit
from foldstill.oof.exports import export_table
from foldstill.oof.findings import AuditReport, Finding
from foldstill.oof.import_settings import ImportSettings
from foldstill.oof.imports import import_scores
from foldstill.oof.store import read_labels, read_scores, read_table, write_scores, write_table
from foldstill.oof.table import FoldScores, OOFTable, ScoreTable

__all__ = [
    "AuditReport",
    "Finding",
    "FoldScores",
    "ImportSettings",
    "OOFTable",
    "ScoreTable",
    "audit",
    "export_table",
    "import_scores",
    "oof_table",
    "read_labels",
    "read_scores",
    "read_table",
    "write_scores",
    "write_table",
]
