"""The rows of a comparison. N rows, G groups."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.calibration import Halves
from foldstill.compare.predictions import by_class
from foldstill.data.labels import Labels


@dataclass(frozen=True)
class ComparedRows:
    """Labels and weights of the rows that arms are compared on."""

    labels: Labels
    weight_N: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def target_NC(self) -> NDArray[np.float64]:
        """Vote shares, each class in memory as a whole."""
        return by_class(self.labels.target_NC)

    @cached_property
    def group_N(self) -> NDArray[np.intp]:
        """Groups as numbers, which sort faster than names and in the same order."""
        return np.unique(self.labels.groups, return_inverse=True)[1]

    @cached_property
    def size_G(self) -> NDArray[np.float64]:
        """Weight per group."""
        return np.bincount(self.group_N, self.weight_N).astype(np.float64)

    @cached_property
    def strata(self) -> tuple[str, ...]:
        """Names of the strata that have rows with weight."""
        return tuple(sorted(set(self.labels.stratum_N[self.weight_N > 0].tolist())))

    @cached_property
    def halves(self) -> Halves | None:
        """The halves of all rows that are calibrated by each other."""
        return Halves.of(self.target_NC, self.weight_N)

    @cached_property
    def halves_of(self) -> dict[str, Halves | None]:
        """The same of the rows of each stratum."""
        held = {name: self.of_stratum(name) for name in self.strata}
        return {
            name: Halves.of(by_class(self.target_NC[held_N]), self.weight_N[held_N]) for name, held_N in held.items()
        }

    def of_stratum(self, name: str) -> NDArray[np.bool_]:
        """Which rows belong to a stratum, (N,)."""
        mask: NDArray[np.bool_] = self.labels.stratum_N == name
        return mask

    def n_groups_of(self, mask_N: NDArray[np.bool_]) -> int:
        """The number of groups among some rows."""
        return len(np.unique(self.group_N[mask_N]))
