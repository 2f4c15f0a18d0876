"""The entries of a table that count for a linear pool: only classes with votes enter sum y log p.

N samples, M members, C classes, E entries with y > 0, D columns (members, or families whose members share a weight).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldstill.data.row_weights import RowWeight
from foldstill.data.simplex import EPS
from foldstill.oof.table import OOFTable

BLOCK = 8192
"""Number of entries that are processed together: a block of fifty members stays in the second-level cache."""


@dataclass(frozen=True)
class VotedEntries:
    """Probabilities of the entries with votes, one column per member or family, and the weight of each entry."""

    proba_ED: NDArray[np.float32]
    share_E: NDArray[np.float64]

    def cross_entropy(self, weight_D: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return -sum y log(P w) and its gradient -P'(y / P w), exact, in blocks with float64 sums.

        This is KL up to a constant. `share_E` includes the mean over rows.
        """
        loss, gradient_D = 0.0, np.zeros(len(weight_D))
        # One block at a time becomes float64, in a buffer that stays in cache: float32 products would leave the
        # gradient noisy at 1e-5, and an optimiser that stops there cannot certify more.
        buffer_BD = np.empty((min(BLOCK, len(self.share_E)), len(weight_D)))
        for start in range(0, len(self.share_E), BLOCK):
            share_B = self.share_E[start : start + BLOCK]
            block_BD = buffer_BD[: len(share_B)]
            np.copyto(block_BD, self.proba_ED[start : start + BLOCK])
            pooled_B = np.maximum(block_BD @ weight_D, EPS)
            loss -= float(share_B @ np.log(pooled_B))
            gradient_D -= (share_B / pooled_B) @ block_BD
        return loss, gradient_D

    def hessian(self, weight_D: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the second derivatives of `cross_entropy`, P' diag(y / (P w)^2) P, (D, D)."""
        hessian_DD = np.zeros((len(weight_D), len(weight_D)))
        for start in range(0, len(self.share_E), BLOCK):
            share_B = self.share_E[start : start + BLOCK]
            block_BD = self.proba_ED[start : start + BLOCK].astype(np.float64)
            block_BD *= (np.sqrt(share_B) / np.maximum(block_BD @ weight_D, EPS))[:, None]
            hessian_DD += block_BD.T @ block_BD
        return hessian_DD

    def thinned(self, entries: int) -> "VotedEntries":
        """Return about this many entries, evenly spaced, with the same total share; all when there are no more."""
        step = max(1, len(self.share_E) // entries)
        if step == 1:
            return self
        share_E = self.share_E[::step]
        return VotedEntries(np.ascontiguousarray(self.proba_ED[::step]), share_E * (self.share_E.sum() / share_E.sum()))


def voted_entries(table: OOFTable, columns: Sequence[Sequence[int]], row_weight: RowWeight = "none") -> VotedEntries:
    """Return the entries with votes of a table; each column averages the members listed for it."""
    target_NC = table.labels.target_NC
    weight_N = table.labels.weight_N(row_weight)
    row_E, class_E = np.divmod(np.flatnonzero((target_NC > 0) & (weight_N > 0)[:, None]), target_NC.shape[1])
    share_E = target_NC[row_E, class_E] * (weight_N / weight_N.sum())[row_E]
    proba_ED = np.empty((len(row_E), len(columns)), np.float32)
    for start in range(0, len(row_E), BLOCK):
        part = slice(start, start + BLOCK)
        block_BM = table.scores.entries(row_E[part], class_E[part])
        proba_ED[part] = column_means(block_BM, columns)
    return VotedEntries(proba_ED, share_E)


def column_means(values: NDArray[np.float32], columns: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Return the mean over the members of each column; members are the second axis.

    >>> column_means(np.array([[1.0, 2.0, 5.0]], np.float32), [(0, 2), (1,)]).tolist()
    [[3.0, 2.0]]
    """
    if all(len(column) == 1 for column in columns):
        return values[:, [column[0] for column in columns]]
    return np.stack([values[:, list(column)].mean(axis=1) for column in columns], axis=1)


def columns_of(families: Sequence[str], *, tied: bool) -> tuple[tuple[int, ...], ...]:
    """Return the members of each column: one member each, or when tied one family each, in order of first appearance.

    >>> columns_of(["cnn", "eeg", "cnn"], tied=True)
    ((0, 2), (1,))
    """
    if not tied:
        return tuple((m,) for m in range(len(families)))
    return tuple(tuple(m for m, f in enumerate(families) if f == family) for family in dict.fromkeys(families))


def member_weights(
    weight_D: NDArray[np.float64], columns: Sequence[Sequence[int]], n_members: int
) -> NDArray[np.float64]:
    """Return the weight of each member; the members of a column share its weight equally.

    >>> member_weights(np.array([0.6, 0.4]), [(0, 2), (1,)], 3).tolist()
    [0.3, 0.4, 0.3]
    """
    weight_M = np.zeros(n_members)
    for weight, column in zip(weight_D, columns, strict=True):
        weight_M[list(column)] = weight / len(column)
    return weight_M
