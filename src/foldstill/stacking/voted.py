"""The entries of a table that count for a linear pool: only classes with votes enter sum y log p.

N rows, M members, C classes, E entries with y > 0, D columns (members, or families of tied members).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldstill.data.labels import RowWeight
from foldstill.data.simplex import EPS
from foldstill.oof.table import OOFTable

BLOCK = 8192
"""Entries a pass works on at a time: a block of fifty members stays in the second-level cache."""


@dataclass(frozen=True)
class Voted:
    """Probabilities of the voted entries, one column a member or family, and what each entry weighs in the mean."""

    proba_ED: NDArray[np.float32]
    share_E: NDArray[np.float64]

    def cross_entropy(self, weight_D: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """-sum y log(P w) and its gradient -P'(y / P w), exact, in blocks with float64 sums.

        It is KL up to a constant. The mean over rows is in `share_E`.
        """
        loss, gradient_D = 0.0, np.zeros(len(weight_D))
        # One block at a time becomes float64, in a buffer that stays in cache: float32 products would leave the gradient
        # noisy at 1e-5, and an optimiser that stops there cannot certify more.
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
        """The second derivatives of `cross_entropy`, P' diag(y / (P w)^2) P, (D, D)."""
        hessian_DD = np.zeros((len(weight_D), len(weight_D)))
        for start in range(0, len(self.share_E), BLOCK):
            share_B = self.share_E[start : start + BLOCK]
            block_BD = self.proba_ED[start : start + BLOCK].astype(np.float64)
            block_BD *= (np.sqrt(share_B) / np.maximum(block_BD @ weight_D, EPS))[:, None]
            hessian_DD += block_BD.T @ block_BD
        return hessian_DD

    def thinned(self, entries: int) -> "Voted":
        """About this many entries, evenly spaced, with the same total share; all where there are no more."""
        step = max(1, len(self.share_E) // entries)
        if step == 1:
            return self
        share_E = self.share_E[::step]
        return Voted(np.ascontiguousarray(self.proba_ED[::step]), share_E * (self.share_E.sum() / share_E.sum()))


def voted(table: OOFTable, columns: Sequence[Sequence[int]], row_weight: RowWeight = "none") -> Voted:
    """The voted entries of a table; each column averages the members listed for it."""
    target_NC = table.labels.target_NC
    weight_N = table.labels.weight_N(row_weight)
    row_E, class_E = np.divmod(np.flatnonzero((target_NC > 0) & (weight_N > 0)[:, None]), target_NC.shape[1])
    share_E = target_NC[row_E, class_E] * (weight_N / weight_N.sum())[row_E]
    proba_ED = np.empty((len(row_E), len(columns)), np.float32)
    alone = all(len(column) == 1 for column in columns)
    for start in range(0, len(row_E), BLOCK):
        part = slice(start, start + BLOCK)
        block_BM = table.proba_NMC[row_E[part], :, class_E[part]]
        if alone:
            proba_ED[part] = block_BM[:, [column[0] for column in columns]]
        else:
            for d, column in enumerate(columns):
                proba_ED[part, d] = block_BM[:, list(column)].mean(axis=1)
    return Voted(proba_ED, share_E)


def columns_of(families: Sequence[str], *, tied: bool) -> tuple[tuple[int, ...], ...]:
    """Members a column: each alone, or those of one family together, families in the order of their first member."""
    if not tied:
        return tuple((m,) for m in range(len(families)))
    return tuple(tuple(m for m, f in enumerate(families) if f == family) for family in dict.fromkeys(families))


def spread(weight_D: NDArray[np.float64], columns: Sequence[Sequence[int]], n_members: int) -> NDArray[np.float64]:
    """Column weights as member weights: the members of a column share its weight equally."""
    weight_M = np.zeros(n_members)
    for weight, column in zip(weight_D, columns, strict=True):
        weight_M[list(column)] = weight / len(column)
    return weight_M
