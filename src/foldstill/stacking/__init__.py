"""Combiners, the combinations that a fit returns, and cross-fitting, the only honest score of a combiner."""

from foldstill.stacking.combiner import Combination, Combiner, FittedCombiner, fit
from foldstill.stacking.crossfit import CrossFit, crossfit, crossfit_all, fit_all
from foldstill.stacking.kinds import COMBINERS, default_combiners
from foldstill.stacking.store import load, save

__all__ = [
    "COMBINERS",
    "Combination",
    "Combiner",
    "CrossFit",
    "FittedCombiner",
    "crossfit",
    "crossfit_all",
    "default_combiners",
    "fit",
    "fit_all",
    "load",
    "save",
]
