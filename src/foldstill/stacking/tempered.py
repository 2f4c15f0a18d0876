"""Members calibrated before they are combined: each is brought to a temperature of its own, then any combiner follows.

N rows, M members, C classes.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import Float
from foldstill.oof.table import OOFTable
from foldstill.oof.temperatures import member_temperatures, tempered
from foldstill.settings import Settings
from foldstill.stacking.auto import Auto
from foldstill.stacking.best_member import BestMember
from foldstill.stacking.combiner import (
    Combination,
    Proba,
    State,
    array,
    explanation_of,
    nested,
    require_members,
    weight_of,
    within,
)
from foldstill.stacking.pruned import Pruned
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.stacking.super_learner import Book, Super

Untempered = Book | BestMember | Pruned | Super | Auto


@dataclass(frozen=True)
class OfTempered:
    """A combination of members at temperatures of their own."""

    temperature_M: NDArray[np.float64]
    combination: Combination

    def __call__(self, proba_NMC: Float) -> Proba:
        require_members(proba_NMC, len(self.temperature_M))
        return self.combination(tempered(proba_NMC, self.temperature_M).astype(np.float32))

    @property
    def weight_M(self) -> NDArray[np.float64] | None:
        """The member weights of the combination."""
        return weight_of(self.combination)

    @property
    def explanation(self) -> str:
        """Why the combination was chosen, where it chooses."""
        return explanation_of(self.combination)

    def state(self) -> State:
        return {"temperature": self.temperature_M, **nested("of", self.combination.state())}


@dataclass(frozen=True)
class Tempered(Settings):
    """A combiner of calibrated members: one temperature a member, fitted to the votes of the rows the combiner is fitted to.

    An average of calibrated members is too soft (Ranjan and Gneiting, 2010, theorem 1; measured in LOG.md), so what follows
    should end with a calibration of its own, as most combiners here do; the plain average does not.
    """

    kind: Literal["tempered"] = "tempered"
    """Selects this combiner in an experiment file."""
    name: str = "tempered"
    """Name in tables and folders."""
    of: Untempered = field(default_factory=Recalibrated)
    """What combines the calibrated members."""

    def fit(self, table: OOFTable) -> OfTempered:
        temperature_M = member_temperatures(table)
        proba_NMC = tempered(table.proba_NMC, temperature_M).astype(np.float32)
        return OfTempered(temperature_M, self.of.fit(replace(table, scores=replace(table.scores, proba_NMC=proba_NMC))))

    def restore(self, state: State) -> OfTempered:
        return OfTempered(array(state, "temperature"), self.of.restore(within("of", state)))
