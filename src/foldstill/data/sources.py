"""Every kind of data set an experiment file can name."""

from foldstill.data.digits import DigitsData
from foldstill.data.folder import FolderData
from foldstill.data.npz import NpzData

__all__ = ["DataSettings", "DigitsData", "FolderData", "NpzData"]

DataSettings = NpzData | FolderData | DigitsData
"""Told apart by `kind`."""
