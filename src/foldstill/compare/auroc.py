"""Area under the ROC curve against vote shares. N rows, C classes, G groups."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def class_auroc(
    *, target: Floats, proba: Floats, weight: Floats | None = None, order_CN: Sequence[NDArray[np.intp]] | None = None
) -> Floats:
    """AUROC of each class against the rest with soft labels, (C,); NaN where a class has all votes or none.

    Every row counts as a positive with weight y and as a negative with weight 1 - y. Even the true shares score below 1
    then, so the value ranks arms on the same rows and cannot be compared with AUROC on hard labels. `order_CN` sorts
    the predictions of each class, where it is known.
    """
    weight_N = np.ones(len(target)) if weight is None else weight
    auroc_C = np.full(target.shape[1], np.nan)
    for c in range(target.shape[1]):
        order = np.argsort(proba[:, c]) if order_CN is None else order_CN[c]
        rising, mass = proba[order, c], weight_N[order]
        positive = mass * target[order, c]
        negative = mass - positive
        differs = rising[1:] != rising[:-1]
        if not differs.all():
            first = np.flatnonzero(np.append(True, differs))
            positive, negative = np.add.reduceat(positive, first), np.add.reduceat(negative, first)
        pairs = positive.sum() * negative.sum()
        if pairs > 0:
            # A tie counts one half (Mann-Whitney).
            auroc_C[c] = positive @ (np.cumsum(negative) - negative / 2) / pairs
    return auroc_C


def mean_of_defined(value_CX: Floats) -> Floats:
    """Mean over the classes whose value is defined, (C, X) to (X,); NaN where none is."""
    defined_CX = ~np.isnan(value_CX)
    mean_X = np.full(value_CX.shape[1], np.nan)
    total_X = np.where(defined_CX, value_CX, 0.0).sum(axis=0)
    np.divide(total_X, defined_CX.sum(axis=0), out=mean_X, where=defined_CX.any(axis=0))
    return mean_X


def auroc_without_groups(*, target_N: Floats, proba_N: Floats, weight_N: Floats, group_N: NDArray[np.intp]) -> Floats:
    """AUROC of one class without each group, (G,), from one sort; NaN where all or none of the remaining votes are its.

    Ordered pairs of a positive and a negative without group g are all pairs, minus those whose positive is in g, minus
    those whose negative is in g, plus those with both in g.
    """
    n_groups = int(group_N.max()) + 1
    _, tie_N = np.unique(proba_N, return_inverse=True)
    positive_N, negative_N = weight_N * target_N, weight_N * (1 - target_N)
    positive_T, negative_T = np.bincount(tie_N, positive_N), np.bincount(tie_N, negative_N)
    below_T = np.cumsum(negative_T) - negative_T / 2
    above_T = positive_T.sum() - np.cumsum(positive_T) + positive_T / 2
    of_positives_G = np.bincount(group_N, positive_N * below_T[tie_N], n_groups)
    of_negatives_G = np.bincount(group_N, negative_N * above_T[tie_N], n_groups)
    # The ties of each group one after the other, so that one cumulative sum serves all groups.
    key, part_N = np.unique(group_N * len(below_T) + tie_N, return_inverse=True)
    own_P, others_P = np.bincount(part_N, positive_N), np.bincount(part_N, negative_N)
    group_P = key // len(below_T)
    before_G = np.concatenate([[0.0], np.cumsum(np.bincount(group_P, others_P, n_groups))[:-1]])
    within_G = np.bincount(group_P, own_P * (np.cumsum(others_P) - others_P / 2 - before_G[group_P]), n_groups)
    pairs_G = (positive_T * below_T).sum() - of_positives_G - of_negatives_G + within_G
    left_G = [part.sum() - np.bincount(group_N, part, n_groups) for part in (positive_N, negative_N)]
    both_G = left_G[0] * left_G[1]
    auroc_G = np.full(n_groups, np.nan)
    nothing = 1e-9 * weight_N.sum()
    np.divide(pairs_G, both_G, out=auroc_G, where=(left_G[0] > nothing) & (left_G[1] > nothing))
    return auroc_G
