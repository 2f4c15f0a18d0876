"""What a combiner is: settings that, fitted to an OOF table, give a combination.

N rows, M members, C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import Float
from foldstill.oof.table import FoldScores, OOFTable, ScoreTable


class Combination(Protocol):
    """A fitted combination: member scores in, one distribution a row out. Never half fitted, deterministic."""

    def __call__(self, proba_NMC: Float) -> NDArray[np.float64]:
        """Scores (N, M, C) of the members it was fitted on, in their order, to (N, C) whose rows sum to one."""
        ...

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Its fitted state as plain arrays, enough to make it again together with the settings."""
        ...


class Combiner(Protocol):
    """Settings of one way to combine members."""

    @property
    def name(self) -> str:
        """The name in tables, folders and reports."""
        ...

    def fit(self, table: OOFTable) -> Combination:
        """The combination fitted to every row of the table, and to nothing else."""
        ...

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> Combination:
        """The combination whose state `arrays` is; the inverse of `Combination.arrays`."""
        ...


@dataclass(frozen=True)
class Fitted:
    """A combination with what it needs to be applied safely elsewhere: settings, member order, classes."""

    combiner: Combiner
    combination: Combination
    members: tuple[str, ...]
    classes: tuple[str, ...]
    table_digest: str
