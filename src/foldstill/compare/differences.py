"""Loss of every arm minus the loss of the baseline, per row. N rows, A arms, G groups."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.intervals import Interval, IntervalSettings, group_sums, paired_intervals
from foldstill.compare.simultaneous import simultaneous_intervals

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Differences:
    """Loss per row of every arm minus that of the arm at position `baseline`."""

    difference_NA: Floats
    baseline: int
    group_N: NDArray[np.intp]
    weight_N: Floats

    def take(self, rows: NDArray[np.bool_]) -> "Differences":
        """The differences of some of the rows."""
        return Differences(self.difference_NA[rows], self.baseline, self.group_N[rows], self.weight_N[rows])

    def intervals(self, settings: IntervalSettings) -> list[Interval | None]:
        """One interval per arm; None for the baseline, and for every arm when the rows belong to one group."""
        return self._intervals(settings, ["all"] * self.difference_NA.shape[1], together=False)

    def simultaneous(self, settings: IntervalSettings, families: Sequence[str]) -> list[Interval | None]:
        """The same, but intervals of the arms of one family hold at once; `families` names that of each arm."""
        return self._intervals(settings, families, together=True)

    def _intervals(
        self, settings: IntervalSettings, families: Sequence[str], *, together: bool
    ) -> list[Interval | None]:
        result: list[Interval | None] = [None] * len(families)
        if len(np.unique(self.group_N[self.weight_N > 0])) < 2:
            return result
        compute = simultaneous_intervals if together else paired_intervals
        for family in dict.fromkeys(families):
            arms = [a for a, own in enumerate(families) if own == family and a != self.baseline]
            if arms:
                difference_NA = self.difference_NA[:, arms]
                intervals = compute(difference_NA, self.group_N, weight_N=self.weight_N, settings=settings)
                for a, interval in zip(arms, intervals, strict=True):
                    result[a] = interval
        return result

    def spread_over_groups(self, arm: int, estimate: float) -> tuple[float, float | None]:
        """Share of groups in which the arm at this position is better, and the design effect of its mean difference."""
        difference_N = self.difference_NA[:, arm]
        columns = np.column_stack([difference_N, np.ones_like(self.weight_N)])
        total_G, size_G = group_sums(columns, self.group_N, self.weight_N).T
        mean_G = total_G[size_G > 0] / size_G[size_G > 0]
        improved = float(np.mean((mean_G < 0) + 0.5 * (mean_G == 0)))
        clustered = ((total_G - estimate * size_G) ** 2).sum()
        independent = ((self.weight_N * (difference_N - estimate)) ** 2).sum()
        return improved, float(clustered / independent) if independent > 0 else None
