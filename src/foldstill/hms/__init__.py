"""HMS: harmful brain activity in EEG, from the competition's files or from a seed, to views that members read."""

from foldstill.hms.prepare import Prepared, prepare
from foldstill.hms.source import HmsData
from foldstill.hms.synthetic import write_synthetic_hms
from foldstill.hms.synthetic_source import SyntheticHmsData
from foldstill.hms.views import VIEWS, HmsView

__all__ = [
    "VIEWS",
    "HmsData",
    "HmsView",
    "Prepared",
    "SyntheticHmsData",
    "prepare",
    "write_synthetic_hms",
]
