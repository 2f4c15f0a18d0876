"""Labels, fold plans and datasets, with which every other stage starts. Imports no torch."""

from foldstill.data.dataset import Dataset, content_groups
from foldstill.data.digits import DigitsData
from foldstill.data.features import FeatureTable
from foldstill.data.folder import FolderData
from foldstill.data.folds import TEST, FoldPlan, make_plan
from foldstill.data.huggingface import from_huggingface
from foldstill.data.labels import Labels
from foldstill.data.npz import NpzData
from foldstill.data.parquet_images import ParquetImagesData
from foldstill.data.simplex import kl_divergence, row_kl
from foldstill.data.strata import strata_by_votes
from foldstill.data.table import TableData
from foldstill.data.webdataset import WebDatasetData

__all__ = [
    "TEST",
    "Dataset",
    "DigitsData",
    "FeatureTable",
    "FoldPlan",
    "FolderData",
    "Labels",
    "NpzData",
    "ParquetImagesData",
    "TableData",
    "WebDatasetData",
    "content_groups",
    "from_huggingface",
    "kl_divergence",
    "make_plan",
    "row_kl",
    "strata_by_votes",
]
