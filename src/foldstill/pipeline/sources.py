"""Every kind of data set that an experiment file can name."""

from foldstill.data.digits import DigitsData
from foldstill.data.folder import FolderData
from foldstill.data.npz import NpzData
from foldstill.data.parquet_images import ParquetImagesData
from foldstill.data.table import TableData
from foldstill.data.webdataset import WebDatasetData
from foldstill.hms.edf_source import EdfData
from foldstill.hms.source import HmsData
from foldstill.hms.synthetic_source import SyntheticHmsData

SOURCES = (
    NpzData,
    FolderData,
    ParquetImagesData,
    WebDatasetData,
    TableData,
    DigitsData,
    HmsData,
    SyntheticHmsData,
    EdfData,
)
"""Add a class here, and experiment files, documentation and contract tests find it by its `kind`."""
