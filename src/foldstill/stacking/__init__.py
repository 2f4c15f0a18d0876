"""Combiners, what fitting them to an OOF table gives, and cross-fitting, their only honest score."""

from foldstill.stacking.combiner import Combination, Combiner, Fitted, fit
from foldstill.stacking.crossfit import CrossFit, crossfit, crossfit_all, fit_all
from foldstill.stacking.settings import CombinerSettings, default_combiners
from foldstill.stacking.store import load, save

__all__ = [
    "Combination",
    "Combiner",
    "CombinerSettings",
    "CrossFit",
    "Fitted",
    "crossfit",
    "crossfit_all",
    "default_combiners",
    "fit",
    "fit_all",
    "load",
    "save",
]
