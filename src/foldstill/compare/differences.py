"""Loss of every arm minus the loss of the baseline, per group. N rows, A arms, G groups."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.intervals import Interval, IntervalSettings, paired_intervals
from foldstill.compare.simultaneous import simultaneous_intervals

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Differences:
    """Mean loss per group of every arm minus that of the arm at position `baseline`, and the weight per group.

    Intervals over groups need no more, and a value per row and arm would take as much memory as the members' scores.
    """

    difference_GA: Floats
    baseline: int
    weight_G: Floats

    @classmethod
    def of_rows(
        cls, losses: Sequence[Floats], baseline: int, group_N: NDArray[np.intp], weight_N: Floats
    ) -> "Differences":
        """The differences of losses per row, one array (N,) per arm; groups without weight are left out."""
        weight_G = np.bincount(group_N, weight_N).astype(np.float64)
        counted = weight_G > 0
        difference_GA = np.empty((int(counted.sum()), len(losses)))
        for a, loss_N in enumerate(losses):
            total_G = np.bincount(group_N, weight_N * (loss_N - losses[baseline]))
            difference_GA[:, a] = total_G[counted] / weight_G[counted]
        return cls(difference_GA, baseline, weight_G[counted])

    def intervals(self, settings: IntervalSettings) -> list[Interval | None]:
        """One interval per arm; None for the baseline, and for every arm when the rows belong to one group."""
        return self._intervals(settings, ["all"] * self.difference_GA.shape[1], together=False)

    def simultaneous(self, settings: IntervalSettings, families: Sequence[str]) -> list[Interval | None]:
        """The same, but intervals of the arms of one family hold at once; `families` names that of each arm."""
        return self._intervals(settings, families, together=True)

    def _intervals(
        self, settings: IntervalSettings, families: Sequence[str], *, together: bool
    ) -> list[Interval | None]:
        result: list[Interval | None] = [None] * len(families)
        if len(self.weight_G) < 2:
            return result
        compute = simultaneous_intervals if together else paired_intervals
        group_G = np.arange(len(self.weight_G))
        for family in dict.fromkeys(families):
            arms = [a for a, own in enumerate(families) if own == family and a != self.baseline]
            if arms:
                difference_GA = self.difference_GA[:, arms]
                intervals = compute(difference_GA, group_G, weight_N=self.weight_G, settings=settings)
                for a, interval in zip(arms, intervals, strict=True):
                    result[a] = interval
        return result

    def improved(self, arm: int) -> float:
        """Share of groups in which the arm at this position is better."""
        mean_G = self.difference_GA[:, arm]
        return float(np.mean((mean_G < 0) + 0.5 * (mean_G == 0)))

    def design_effect(self, arm: int, estimate: float, difference_N: Floats, weight_N: Floats) -> float | None:
        """The design effect of the mean difference of the arm at this position, with its differences per row."""
        clustered = ((self.weight_G * (self.difference_GA[:, arm] - estimate)) ** 2).sum()
        independent = ((weight_N * (difference_N - estimate)) ** 2).sum()
        return float(clustered / independent) if independent > 0 else None
