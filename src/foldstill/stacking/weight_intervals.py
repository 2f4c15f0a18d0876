"""How certain the weights of a combination are: confidence intervals over resampled groups.

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
    """Return the lower and upper ends (M,) of each member's weight over fits to groups drawn with replacement.

    Members with equal predictions share their weight in no determined way, which an interval shows and a point does
    not. The ends are percentiles; with 40 resamples those of a 90 % interval lie between the second and third most
    extreme.

    Parameters
    ----------
    combiner
        A combiner with member weights, such as `Convex()`.
    table
        Out-of-fold scores with labels.
    resamples
        Number of refits. Default: 40.
    level
        Confidence level. Default: 0.9.
    seed
        Random seed. Default: 0.

    Returns
    -------
    Lower and upper ends, each of shape (M,).

    Raises
    ------
    StackError
        When the combiner has no member weights.

    Examples
    --------
    >>> from foldstill.stacking.convex import Convex
    >>> from foldstill.testing import synthetic_table
    >>> low_M, high_M = weight_intervals(Convex(), synthetic_table(), resamples=20)
    >>> bool(high_M[3] < 0.2)
    True
    """
    rng = np.random.default_rng(seed)
    _, group_N = np.unique(table.labels.groups, return_inverse=True)
    n_groups = int(group_N.max()) + 1
    drawn = []
    for _ in range(resamples):
        # A group that is drawn twice has twice the weight: the same fit as on repeated rows, which a table cannot
        # contain.
        count_G = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)
        labels = replace(table.labels, sample_weight_N=table.labels.sample_weight_N * count_G[group_N])
        weight_M = fit(combiner, replace(table, labels=labels)).weight_M
        if weight_M is None:
            raise StackError(
                f"weight intervals need a combiner with member weights, {combiner.name} has none: use convex"
            )
        drawn.append(weight_M)
    low_M, high_M = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low_M, high_M
