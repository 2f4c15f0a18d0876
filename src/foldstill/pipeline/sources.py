"""Every kind of data set an experiment file can name."""

from foldstill.data.digits import DigitsData
from foldstill.data.folder import FolderData
from foldstill.data.npz import NpzData
from foldstill.hms.source import HmsData
from foldstill.hms.synthetic_source import SyntheticHmsData

__all__ = ["DataSettings", "DigitsData", "FolderData", "HmsData", "NpzData", "SyntheticHmsData"]

DataSettings = NpzData | FolderData | DigitsData | HmsData | SyntheticHmsData
"""Told apart by `kind`."""
