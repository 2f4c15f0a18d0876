"""Area under the ROC curve against vote shares. N rows, C classes."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def class_auroc(*, target: Floats, proba: Floats, weight: Floats | None = None) -> Floats:
    """AUROC of each class against the rest with soft labels, (C,); NaN where a class has all votes or none.

    Every row counts as a positive with weight y and as a negative with weight 1 - y. Even the true shares score below 1
    then, so the value ranks arms on the same rows and cannot be compared with AUROC on hard labels.
    """
    weight_N = np.ones(len(target)) if weight is None else weight
    auroc_C = np.full(target.shape[1], np.nan)
    for c in range(target.shape[1]):
        _, tie = np.unique(proba[:, c], return_inverse=True)
        positive = np.bincount(tie, weight_N * target[:, c])
        negative = np.bincount(tie, weight_N * (1 - target[:, c]))
        pairs = positive.sum() * negative.sum()
        if pairs > 0:
            # A tie counts one half (Mann-Whitney).
            auroc_C[c] = (positive * (np.cumsum(negative) - negative / 2)).sum() / pairs
    return auroc_C
