"""HMS: harmful brain activity in EEG, from the competition's files or from a seed, to views that members read.

EEG files of clinics become the same views.
"""

from foldstill.hms.edf_source import EdfData
from foldstill.hms.prepare import Prepared, prepare
from foldstill.hms.source import HmsData
from foldstill.hms.synthetic import write_synthetic_hms
from foldstill.hms.synthetic_source import SyntheticHmsData
from foldstill.hms.views import VIEWS, HmsView

__all__ = [
    "VIEWS",
    "EdfData",
    "HmsData",
    "HmsView",
    "Prepared",
    "SyntheticHmsData",
    "prepare",
    "write_synthetic_hms",
]
