"""Members that are calibrated before they are combined: each has a temperature of its own, then any combiner follows.

N samples, M members, C classes.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import Float
from foldstill.oof.table import OOFTable
from foldstill.oof.temperatures import member_temperatures, tempered
from foldstill.settings import NamedKind
from foldstill.stacking.combiner import AnyCombiner, Combination, Proba, require_members
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.stacking.state import State, array, strip_prefix, with_prefix


@dataclass(frozen=True)
class TemperedCombination:
    """The `inner` combination of members that each have a temperature."""

    temperature_M: NDArray[np.float64]
    inner: Combination

    def __call__(self, proba_NMC: Float) -> Proba:
        require_members(proba_NMC, len(self.temperature_M))
        return self.inner(tempered(proba_NMC, self.temperature_M).astype(np.float32))

    def state(self) -> State:
        return {"temperature": self.temperature_M, **with_prefix("of", self.inner.state())}


@dataclass(frozen=True)
class Tempered(NamedKind, kind="tempered", title="Calibrated members"):
    """Each member is calibrated by a temperature of its own before another combiner is applied.

    A temperature is fitted per member to the votes of the same rows first. An average of calibrated members is too
    soft, so the combiner should end with a calibration of its own, as most combiners here do; the plain average does
    not.

    References
    ----------
    R. Ranjan, T. Gneiting (2010), Combining probability forecasts, theorem 1.

    Examples
    --------
    >>> from foldstill.testing import synthetic_table
    >>> Tempered().fit(synthetic_table()).temperature_M.round(1).tolist()
    [0.9, 0.9, 2.3, 6.4]
    """

    of: AnyCombiner = field(default_factory=Recalibrated)
    """The combiner of the calibrated members."""

    def fit(self, table: OOFTable) -> TemperedCombination:
        temperature_M = member_temperatures(table)
        proba_NMC = tempered(table.proba_NMC, temperature_M).astype(np.float32)
        calibrated = replace(table, scores=replace(table.scores, proba_NMC=proba_NMC))
        return TemperedCombination(temperature_M, self.of.fit(calibrated))

    def restore(self, state: State) -> TemperedCombination:
        return TemperedCombination(array(state, "temperature"), self.of.restore(strip_prefix("of", state)))
