"""Every kind of data set an experiment file can name."""

from foldstill.data.digits import DigitsData
from foldstill.data.folder import FolderData
from foldstill.data.hms.source import HmsData
from foldstill.data.hms.synthetic_source import SyntheticHmsData
from foldstill.data.npz import NpzData

__all__ = ["DataSettings", "DigitsData", "FolderData", "HmsData", "NpzData", "SyntheticHmsData"]

DataSettings = NpzData | FolderData | DigitsData | HmsData | SyntheticHmsData
"""Told apart by `kind`."""
