"""The features that stackers learn from: summary statistics of the members, with or without the members' own scores.

N samples, M members, C classes, F features.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import Float
from foldstill.oof.table import ScoreTable
from foldstill.stacking.averages import log_proba

FeatureSet = Literal["statistics", "family_statistics", "statistics_and_members", "members"]
"""Statistics over all members (independent of their order), statistics over each family of members, statistics with the
log-probabilities of every member, or these log-probabilities alone."""

STATISTICS = ("min", "max", "mean", "std", "median")


def statistics(proba_NMC: Float) -> NDArray[np.float32]:
    """Return min, max, mean, std and median over members per class, (N, 5 C), one statistic after another."""
    parts = (
        proba_NMC.min(axis=1),
        proba_NMC.max(axis=1),
        proba_NMC.mean(axis=1, dtype=np.float64),
        proba_NMC.std(axis=1, dtype=np.float64),
        np.median(proba_NMC, axis=1),
    )
    return np.concatenate([part.astype(np.float32) for part in parts], axis=1)


def features(proba_NMC: Float, feature_set: FeatureSet, family_M: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the features of each sample, (N, F), float32; `family_M` is the family number of each member."""
    if feature_set == "statistics":
        return statistics(proba_NMC)
    if feature_set == "family_statistics":
        families = range(int(family_M.max()) + 1)
        return np.concatenate([statistics(proba_NMC[:, np.flatnonzero(family_M == d)]) for d in families], axis=1)
    members_NF = log_proba(proba_NMC).reshape(len(proba_NMC), -1)
    return members_NF if feature_set == "members" else np.concatenate([statistics(proba_NMC), members_NF], axis=1)


def features_of(scores: ScoreTable, feature_set: FeatureSet, family_M: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the features of the rows of a table; statistics over all members are computed once."""
    if feature_set == "statistics":
        return scores.by_row(statistics)
    return scores.by_block(lambda proba_NMC: features(proba_NMC, feature_set, family_M))


def family_numbers(families: Sequence[str]) -> NDArray[np.int64]:
    """Return the number of each member's family; families are numbered in the order they first appear.

    >>> family_numbers(["cnn", "cnn", "eeg"]).tolist()
    [0, 0, 1]
    """
    number = {family: d for d, family in enumerate(dict.fromkeys(families))}
    return np.asarray([number[family] for family in families], np.int64)
