"""Averages: nothing to fit, so nothing to overfit. The first of them is the anchor of every verdict.

N rows, M members, C classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import EPS, Float, softmax
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.settings import Settings
from foldstill.stacking.combiner import Proba, State, array, require_members


def mean(proba_NMC: Float) -> Proba:
    """The arithmetic average over members, (N, C)."""
    pooled: Proba = proba_NMC.mean(axis=1, dtype=np.float64)
    pooled /= pooled.sum(axis=1, keepdims=True)
    return pooled


def log_proba(proba: Float) -> NDArray[np.float32]:
    """log of probabilities floored at EPS, float32: what log-space pools and stackers are fed."""
    logs: NDArray[np.float32] = np.log(np.maximum(proba, np.float32(EPS), dtype=np.float32))
    return logs


def geometric_mean(proba_NMC: Float) -> Proba:
    """The normalised geometric average over members, (N, C)."""
    return softmax(log_proba(proba_NMC).mean(axis=1, dtype=np.float64))


def median(proba_NMC: Float) -> Proba:
    """The median over members per class, normalised again, (N, C)."""
    return normalised(np.median(proba_NMC, axis=1).astype(np.float64))


def trimmed_mean(proba_NMC: Float, share: float) -> Proba:
    """The average over members per class without the lowest and highest `share` of them, normalised again, (N, C)."""
    n_members = proba_NMC.shape[1]
    cut = min(int(share * n_members), (n_members - 1) // 2)
    kept = np.partition(proba_NMC, [cut, n_members - cut - 1], axis=1)[:, cut : n_members - cut] if cut else proba_NMC
    return normalised(kept.mean(axis=1, dtype=np.float64))


def normalised(pooled_NC: Proba) -> Proba:
    """Rows that sum to one, floored at EPS."""
    # Members that agree on nothing can leave a row of zeros; the floor turns it into the uniform distribution.
    floored_NC: Proba = np.maximum(pooled_NC, EPS)
    floored_NC /= floored_NC.sum(axis=1, keepdims=True)
    return floored_NC


@dataclass(frozen=True)
class Fixed:
    """A combination without parameters: a rule and the number of members it was made for."""

    rule: Callable[[Float], Proba]
    n_members: int

    def __call__(self, proba_NMC: Float) -> Proba:
        require_members(proba_NMC, self.n_members)
        return self.rule(proba_NMC)

    @property
    def weight_M(self) -> NDArray[np.float64] | None:
        """Equal shares for the averages; none for the median and the trimmed mean, which weigh each row anew."""
        return np.full(self.n_members, 1 / self.n_members) if self.rule in (mean, geometric_mean) else None

    def state(self) -> State:
        return {"n_members": np.asarray(self.n_members)}


@dataclass(frozen=True)
class Average(Settings):
    """The plain average of the members' probabilities."""

    kind: Literal["average"] = "average"
    """Selects this combiner in an experiment file."""
    name: str = "average"
    """Name in tables and folders."""

    def fit(self, table: OOFTable) -> Fixed:
        return Fixed(mean, len(table.members))

    def restore(self, state: State) -> Fixed:
        return Fixed(mean, int(array(state, "n_members")))


@dataclass(frozen=True)
class Geometric(Settings):
    """The normalised geometric average: averages in log space, which sharpens where members agree."""

    kind: Literal["geometric"] = "geometric"
    """Selects this combiner in an experiment file."""
    name: str = "geometric"
    """Name in tables and folders."""

    def fit(self, table: OOFTable) -> Fixed:
        return Fixed(geometric_mean, len(table.members))

    def restore(self, state: State) -> Fixed:
        return Fixed(geometric_mean, int(array(state, "n_members")))


@dataclass(frozen=True)
class Median(Settings):
    """The median over members, class by class, normalised again."""

    kind: Literal["median"] = "median"
    """Selects this combiner in an experiment file."""
    name: str = "median"
    """Name in tables and folders."""

    def fit(self, table: OOFTable) -> Fixed:
        return Fixed(median, len(table.members))

    def restore(self, state: State) -> Fixed:
        return Fixed(median, int(array(state, "n_members")))


@dataclass(frozen=True)
class Trimmed(Settings):
    """The average without the extreme members, class by class, normalised again."""

    kind: Literal["trimmed"] = "trimmed"
    """Selects this combiner in an experiment file."""
    name: str = "trimmed"
    """Name in tables and folders."""
    share: float = 0.2
    """Share of members cut at each end; below one half."""

    def __post_init__(self) -> None:
        if not 0 <= self.share < 0.5:
            raise StackError(f"share must be in [0, 0.5), got {self.share}: 0.2 cuts a fifth of the members a side")

    def fit(self, table: OOFTable) -> Fixed:
        return self._fixed(len(table.members))

    def restore(self, state: State) -> Fixed:
        return self._fixed(int(array(state, "n_members")))

    def _fixed(self, n_members: int) -> Fixed:
        return Fixed(partial(trimmed_mean, share=self.share), n_members)
