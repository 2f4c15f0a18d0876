"""How sure the weights of a combination are: refitted to resampled groups.

M members, G groups, R resamples.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.stacking.combiner import Combiner, fit


def weight_intervals(
    combiner: Combiner, table: OOFTable, *, resamples: int = 40, level: float = 0.9, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper end (M,) of each member's weight over fits to groups drawn with replacement (percentiles).

    Members that say the same share their weight in no certain way, which such an interval shows and a point does not.
    Forty refits place the ends of a 90 % interval at the second and third most extreme. Raises StackError for a
    combiner without weights.
    """
    rng = np.random.default_rng(seed)
    _, group_N = np.unique(table.labels.groups, return_inverse=True)
    n_groups = int(group_N.max()) + 1
    drawn = []
    for _ in range(resamples):
        # A group drawn twice counts twice: the same fit as on repeated rows, which a table cannot hold.
        count_G = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)
        labels = replace(table.labels, sample_weight_N=table.labels.sample_weight_N * count_G[group_N])
        weight_M = fit(combiner, replace(table, labels=labels)).weight_M
        if weight_M is None:
            raise StackError(f"{combiner.name} has no member weights: ask for those of convex")
        drawn.append(weight_M)
    low_M, high_M = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low_M, high_M
