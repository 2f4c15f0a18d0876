"""Score tables: the one value that everything before makes and everything after reads. Imports no torch."""

from foldstill.oof.arrays import oof_table
from foldstill.oof.imports import ImportSettings, import_scores
from foldstill.oof.store import read_labels, read_scores, read_table, write_scores, write_table
from foldstill.oof.table import FoldScores, OOFTable, ScoreTable

__all__ = [
    "FoldScores",
    "ImportSettings",
    "OOFTable",
    "ScoreTable",
    "import_scores",
    "oof_table",
    "read_labels",
    "read_scores",
    "read_table",
    "write_scores",
    "write_table",
]
