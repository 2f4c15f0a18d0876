"""HMS: harmful brain activity in EEG, from the competition's files or made from a seed, to views that members read."""

from foldstill.data.hms.prepare import Prepared, prepare
from foldstill.data.hms.source import HmsData, HmsView
from foldstill.data.hms.submission import write_submission
from foldstill.data.hms.synthetic import write_synthetic_hms
from foldstill.data.hms.synthetic_source import SyntheticHmsData

__all__ = [
    "HmsData",
    "HmsView",
    "Prepared",
    "SyntheticHmsData",
    "prepare",
    "write_submission",
    "write_synthetic_hms",
]
