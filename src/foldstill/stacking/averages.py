"""Averages of the members: nothing is fitted, so nothing can be overfitted. The plain average is every baseline.

N samples, M members, C classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import EPS, Float, softmax
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable, ScoreTable
from foldstill.settings import NamedKind
from foldstill.stacking.combiner import Proba, require_members
from foldstill.stacking.state import State, array


def mean(proba_NMC: Float) -> Proba:
    """Return the arithmetic mean over members, (N, C)."""
    pooled: Proba = proba_NMC.mean(axis=1, dtype=np.float64)
    pooled /= pooled.sum(axis=1, keepdims=True)
    return pooled


def log_proba(proba: Float) -> NDArray[np.float32]:
    """Return the logarithm of probabilities floored at EPS, float32: the input of log-space pools and stackers."""
    logs: NDArray[np.float32] = np.log(np.maximum(proba, np.float32(EPS), dtype=np.float32))
    return logs


def geometric_mean(proba_NMC: Float) -> Proba:
    """Return the normalised geometric mean over members, (N, C)."""
    return softmax(log_proba(proba_NMC).mean(axis=1, dtype=np.float64))


def median(proba_NMC: Float) -> Proba:
    """Return the median over members per class, normalised, (N, C)."""
    return normalised(np.median(proba_NMC, axis=1).astype(np.float64))


def trimmed_mean(proba_NMC: Float, share: float) -> Proba:
    """Return the mean over members per class without the lowest and the highest `share`, normalised, (N, C)."""
    n_members = proba_NMC.shape[1]
    cut = min(int(share * n_members), (n_members - 1) // 2)
    kept = np.partition(proba_NMC, [cut, n_members - cut - 1], axis=1)[:, cut : n_members - cut] if cut else proba_NMC
    return normalised(kept.mean(axis=1, dtype=np.float64))


def normalised(pooled_NC: Proba) -> Proba:
    """Return rows that sum to one, floored at EPS."""
    # Members that agree on nothing can leave a row of zeros; the floor turns it into the uniform distribution.
    floored_NC: Proba = np.maximum(pooled_NC, EPS)
    floored_NC /= floored_NC.sum(axis=1, keepdims=True)
    return floored_NC


@dataclass(frozen=True)
class FixedCombination:
    """A combination without parameters: a rule, and the number of members it was made for."""

    rule: Callable[[Float], Proba]
    n_members: int

    def __call__(self, proba_NMC: Float) -> Proba:
        require_members(proba_NMC, self.n_members)
        return self.rule(proba_NMC)

    def of_table(self, scores: ScoreTable) -> Proba:
        """The same for the rows of a table; the rules without settings are computed once."""
        once = self.rule in (mean, geometric_mean, median)
        pooled: Proba = (scores.by_row if once else scores.by_block)(self.rule)
        return pooled

    @property
    def weight_M(self) -> NDArray[np.float64] | None:
        """Equal weights for the two means; None for the median and the trimmed mean, whose weights differ per row."""
        return np.full(self.n_members, 1 / self.n_members) if self.rule in (mean, geometric_mean) else None

    def state(self) -> State:
        return {"n_members": np.asarray(self.n_members)}


class FixedRule(NamedKind, ABC):
    """Base of the averages: nothing is fitted, so the rule is the whole result."""

    @property
    @abstractmethod
    def rule(self) -> Callable[[Float], Proba]:
        """The function from probabilities (N, M, C) to (N, C)."""
        ...

    def fit(self, table: OOFTable) -> FixedCombination:
        return FixedCombination(self.rule, len(table.members))

    def restore(self, state: State) -> FixedCombination:
        return FixedCombination(self.rule, int(array(state, "n_members")))


@dataclass(frozen=True)
class Average(FixedRule, kind="average", title="Plain average"):
    """The plain average of the members' probabilities: what everything else is compared with.

    Examples
    --------
    >>> from foldstill.stacking import crossfit
    >>> from foldstill.testing import synthetic_table
    >>> round(crossfit(Average(), synthetic_table()).kl, 2)
    0.25
    """

    @property
    def rule(self) -> Callable[[Float], Proba]:
        return mean


@dataclass(frozen=True)
class Geometric(FixedRule, kind="geometric", title="Geometric average"):
    """The average of the logarithms of the members' probabilities.

    It is normalised, and sharpens where members agree.

    Examples
    --------
    >>> from foldstill.stacking import crossfit
    >>> from foldstill.testing import synthetic_table
    >>> round(crossfit(Geometric(), synthetic_table()).kl, 2)
    0.27
    """

    @property
    def rule(self) -> Callable[[Float], Proba]:
        return geometric_mean


@dataclass(frozen=True)
class Median(FixedRule, kind="median"):
    """The median of the members' probabilities per class, normalised.

    Examples
    --------
    >>> from foldstill.stacking import crossfit
    >>> from foldstill.testing import synthetic_table
    >>> round(crossfit(Median(), synthetic_table()).kl, 2)
    0.22
    """

    @property
    def rule(self) -> Callable[[Float], Proba]:
        return median


@dataclass(frozen=True)
class Trimmed(FixedRule, kind="trimmed", title="Trimmed average"):
    """The plain average per class without the lowest and the highest members, normalised.

    Examples
    --------
    >>> from foldstill.stacking import crossfit
    >>> from foldstill.testing import synthetic_table
    >>> round(crossfit(Trimmed(share=0.25), synthetic_table()).kl, 2)
    0.22
    """

    share: float = 0.2
    """Share of members to leave out at each end; at least 0 and below 0.5."""

    def __post_init__(self) -> None:
        if not 0 <= self.share < 0.5:
            raise StackError(
                f"share of trimmed must be in [0, 0.5), got {self.share}: 0.2 leaves out a fifth of the members at "
                "each end"
            )

    @classmethod
    def example(cls) -> Self:
        return cls(share=0.25)

    @property
    def rule(self) -> Callable[[Float], Proba]:
        return partial(trimmed_mean, share=self.share)
