"""HMS: harmful brain activity in EEG, from the competition's files or made from a seed, to views that members read."""

from foldstill.hms.prepare import Prepared, prepare
from foldstill.hms.source import HmsData, HmsView
from foldstill.hms.submission import write_submission
from foldstill.hms.synthetic import write_synthetic_hms
from foldstill.hms.synthetic_source import SyntheticHmsData

__all__ = [
    "HmsData",
    "HmsView",
    "Prepared",
    "SyntheticHmsData",
    "prepare",
    "write_submission",
    "write_synthetic_hms",
]
