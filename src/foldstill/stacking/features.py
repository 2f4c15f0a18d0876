"""What stackers see of a row: summary statistics of the members, alone or with the members themselves.

N rows, M members, C classes, F features.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import Float
from foldstill.stacking.averages import log_proba

FeatureSet = Literal["statistics", "family_statistics", "statistics_and_members", "members"]
"""Statistics over all members (invariant to their order), over each family, with every member's log-probabilities, or
these alone."""

STATISTICS = ("min", "max", "mean", "std", "median")


def statistics(proba_NMC: Float) -> NDArray[np.float32]:
    """min, max, mean, std and median over members of each class, (N, 5 C), statistic by statistic."""
    parts = (
        proba_NMC.min(axis=1),
        proba_NMC.max(axis=1),
        proba_NMC.mean(axis=1, dtype=np.float64),
        proba_NMC.std(axis=1, dtype=np.float64),
        np.median(proba_NMC, axis=1),
    )
    return np.concatenate([part.astype(np.float32) for part in parts], axis=1)


def features(proba_NMC: Float, which: FeatureSet, columns: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """The features of each row, (N, F), float32; `columns` lists the members of each family."""
    if which == "statistics":
        return statistics(proba_NMC)
    if which == "family_statistics":
        return np.concatenate([statistics(proba_NMC[:, list(column)]) for column in columns], axis=1)
    members_NF = log_proba(proba_NMC).reshape(len(proba_NMC), -1)
    return members_NF if which == "members" else np.concatenate([statistics(proba_NMC), members_NF], axis=1)
