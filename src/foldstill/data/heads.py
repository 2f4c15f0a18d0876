"""Labels of a multi-label problem: a column per head, and each head is a yes-or-no question of its own.

N rows, H heads.
"""

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from foldstill.errors import DataError

Real = TypeVar("Real", bound=np.floating[Any])

BINARY = ("0", "1")
"""The classes of each head."""

NONE = "none of them"
"""The class of rows without any positive label, where rows are balanced between folds."""


@dataclass(frozen=True)
class Heads:
    """The labels of H heads, which exclude each other in no way.

    Parameters
    ----------
    names : tuple of str
        Name of each head.
    share_NH : array of float, shape (N, H)
        1 where a row has the label of a head and 0 where it has not, or the share of annotators who say so. NaN where
        the label is not known.

    Raises
    ------
    DataError
        If there are fewer than two heads, names repeat, or a share is outside of [0, 1].

    Examples
    --------
    >>> heads = Heads(("kidney", "liver"), np.array([[1, 0], [0, np.nan], [0, 0.5]]))
    >>> heads.balanced_NC.tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.5, 0.5]]
    """

    names: tuple[str, ...]
    share_NH: NDArray[np.float64]

    def __post_init__(self) -> None:
        share_NH, names = self.share_NH, self.names
        if share_NH.ndim != 2 or share_NH.shape[1] < 2:
            raise DataError(
                f"labels of a multi-label problem must be (rows, heads), got shape {share_NH.shape}: for one head use "
                "hard labels or votes of two classes"
            )
        if len(names) != share_NH.shape[1] or len({*names, NONE}) <= len(names) or not all(names):
            raise DataError(
                f"heads must be {share_NH.shape[1]} different names, one per column of labels, got {list(names)}"
            )
        known_NH = ~np.isnan(share_NH)
        wrong_N = (known_NH & ~((share_NH >= 0) & (share_NH <= 1))).any(axis=1)
        if wrong_N.any():
            raise DataError(
                "labels of a multi-label problem must be 0, 1 or shares between them, and empty where they are not "
                f"known, got {share_NH[wrong_N][0].tolist()} in row {int(wrong_N.argmax())}: correct the columns"
            )

    def take(self, rows: NDArray[Any]) -> "Heads":
        """The rows selected by an index or a mask, in that order."""
        return replace(self, share_NH=self.share_NH[rows])

    @property
    def balanced_NC(self) -> NDArray[np.float64]:
        """What folds balance: one vote per row, divided among its positive heads and `NONE`, (N, H + 1)."""
        positive_NH = np.nan_to_num(self.share_NH)
        votes_NC = np.column_stack([positive_NH, 1 - positive_NH.max(axis=1)])
        balanced_NC: NDArray[np.float64] = votes_NC / votes_NC.sum(axis=1, keepdims=True)
        return balanced_NC


def two_classes(positive: NDArray[Real]) -> NDArray[Real]:
    """Shares or probabilities of the classes 0 and 1, from those of 1, along a new last axis.

    >>> two_classes(np.array([0.25])).tolist()
    [[0.75, 0.25]]
    """
    pair: NDArray[Real] = np.stack([1 - positive, positive], axis=-1)
    return pair
