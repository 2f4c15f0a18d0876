"""Differences summed over the rows of each group, and how far each group moves their mean.

Where every row is a group of its own, values per group and arm take as much memory as the members' scores: they are
made once, and worked on in blocks. N rows, G groups, A arms.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import row_blocks

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GroupSums:
    """Weighted sum of differences per group and arm, and weight per group: all that intervals over groups need."""

    top_GA: Floats
    bottom_G: Floats
    """Weight per group, above 0."""

    @classmethod
    def of_rows(
        cls, difference_AN: Iterable[Floats], n_arms: int, group_N: NDArray[np.intp], weight_N: Floats
    ) -> "GroupSums":
        """The sums of differences per row, which come arm by arm; groups without weight are left out.

        `group_N` numbers the groups from 0.
        """
        bottom_G = np.bincount(group_N, weight_N).astype(np.float64)
        counted_G = bottom_G > 0
        # Each arm lies in memory as a whole, which is how it is read.
        top_GA = np.empty((int(counted_G.sum()), n_arms), order="F")
        for a, difference_N in enumerate(difference_AN):
            top_GA[:, a] = np.bincount(group_N, weight_N * difference_N)[counted_G]
        return cls(top_GA, bottom_G[counted_G])

    def __len__(self) -> int:
        return len(self.bottom_G)

    def merged(self, most: int) -> "GroupSums":
        """At most so many groups: more are taken together in as many sets of equal size, drawn at random."""
        if len(self) <= most:
            return self
        # Neighbours may be alike, so that their order must not decide.
        set_G = np.random.default_rng(0).permutation(len(self)) % most
        top_AS = [np.bincount(set_G, top_G).astype(np.float64) for top_G in self.top_GA.T]
        return GroupSums(np.stack(top_AS, axis=1), np.bincount(set_G, self.bottom_G).astype(np.float64))

    def step_products(self, arms: Sequence[int]) -> Floats:
        """Sum over groups of the product of the steps of two arms, (A, A); see `steps`."""
        total = self.bottom_G.sum()
        estimate_A = self.top_GA.sum(axis=0)[list(arms)] / total
        product_AA = np.zeros((len(arms), len(arms)))
        for rows in row_blocks(len(self), len(arms)):
            step_BA = _moved(self.top_GA[rows][:, arms], self.bottom_G[rows], estimate_A, total)
            product_AA += step_BA.T @ step_BA
        rounding_A = _is_rounding(np.sqrt(np.diag(product_AA)), estimate_A)
        product_AA[rounding_A] = 0.0
        product_AA[:, rounding_A] = 0.0
        return product_AA


def steps(top_GA: Floats, bottom_G: Floats) -> tuple[Floats, Floats, Floats]:
    """The estimate per arm, the step of the estimate that each group makes, and the jackknife standard error.

    The standard error is the delete-one-group jackknife, CR3 in the cluster literature (MacKinnon, Nielsen & Webb,
    2023, section 3).
    """
    estimate_A = top_GA.sum(axis=0) / bottom_G.sum()
    step_GA = _moved(top_GA, bottom_G, estimate_A, bottom_G.sum())
    n_groups = len(bottom_G)
    error_A = np.sqrt((step_GA**2).sum(axis=0) * (n_groups - 1) / n_groups)
    rounding_A = _is_rounding(error_A, estimate_A)
    error_A[rounding_A] = 0.0
    step_GA[:, rounding_A] = 0.0
    return estimate_A, step_GA, error_A


def _moved(top_GA: Floats, bottom_G: Floats, estimate_A: Floats, total: float) -> Floats:
    """Minus what leaving out each group adds to the estimates, (G, A)."""
    # Leaving out group g moves the mean by -(s_g - mean n_g) / (total - n_g).
    step_GA: Floats = (top_GA - estimate_A * bottom_G[:, None]) / (total - bottom_G)[:, None]
    return step_GA


def _is_rounding(error_A: Floats, estimate_A: Floats) -> NDArray[np.bool_]:
    """Whether the error of an arm is what rounding leaves: equal differences have none."""
    rounding_A: NDArray[np.bool_] = error_A <= 1e-12 * np.abs(estimate_A)
    return rounding_A
