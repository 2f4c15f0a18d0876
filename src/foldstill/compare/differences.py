"""Loss of every arm minus the loss of the baseline, per group. N rows, A arms, G groups."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.group_sums import GroupSums
from foldstill.compare.intervals import Interval, IntervalSettings, intervals_of
from foldstill.compare.simultaneous import simultaneous_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Differences:
    """Losses of every arm minus those of the arm at position `baseline`, summed over groups.

    Intervals over groups need no more, and a value per row and arm would take as much memory as the members' scores.
    """

    sums: GroupSums
    baseline: int

    @classmethod
    def of_rows(
        cls, losses: Sequence[Floats], baseline: int, group_N: NDArray[np.intp], weight_N: Floats
    ) -> "Differences":
        """The differences of losses per row, one array (N,) per arm."""
        differences = (loss_N - losses[baseline] for loss_N in losses)
        return cls(GroupSums.of_rows(differences, len(losses), group_N, weight_N), baseline)

    def intervals(self, settings: IntervalSettings) -> list[Interval | None]:
        """One interval per arm; None for the baseline, and for every arm when the rows belong to one group."""
        return self._by_family(intervals_of, settings, ["all"] * self.sums.top_GA.shape[1])

    def simultaneous(self, settings: IntervalSettings, families: Sequence[str]) -> list[Interval | None]:
        """The same, but intervals of the arms of one family hold at once; `families` names that of each arm."""
        return self._by_family(simultaneous_of, settings, families)

    def _by_family(
        self,
        compute: Callable[[GroupSums, IntervalSettings, Sequence[int]], list[Interval]],
        settings: IntervalSettings,
        families: Sequence[str],
    ) -> list[Interval | None]:
        result: list[Interval | None] = [None] * len(families)
        if len(self.sums) < 2:
            return result
        for family in dict.fromkeys(families):
            arms = [a for a, own in enumerate(families) if own == family and a != self.baseline]
            if arms:
                for a, interval in zip(arms, compute(self.sums, settings, arms), strict=True):
                    result[a] = interval
        return result

    def improved(self, arm: int) -> float:
        """Share of groups in which the arm at this position is better."""
        total_G = self.sums.top_GA[:, arm]
        return float(np.mean((total_G < 0) + 0.5 * (total_G == 0)))

    def design_effect(self, arm: int, estimate: float, difference_N: Floats, weight_N: Floats) -> float | None:
        """The design effect of the mean difference of the arm at this position, with its differences per row."""
        clustered = ((self.sums.top_GA[:, arm] - estimate * self.sums.bottom_G) ** 2).sum()
        independent = ((weight_N * (difference_N - estimate)) ** 2).sum()
        return float(clustered / independent) if independent > 0 else None
