"""The super learner: a library of combiners that is itself combined.

N samples, C classes, L combiners of the library.
"""

from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import Float
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.settings import NamedKind
from foldstill.stacking.averages import normalised
from foldstill.stacking.candidates import default_library
from foldstill.stacking.combiner import AnyCombiner, Combination, Proba
from foldstill.stacking.convex import Convex, simplex_minimum
from foldstill.stacking.crossfit import crossfit, group_folds
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.stacking.setting_checks import require_at_least, require_different_names
from foldstill.stacking.state import State, array, strip_prefix, text, with_prefix
from foldstill.stacking.voted_entries import VotedEntries


@dataclass(frozen=True)
class SuperCombination:
    """A weighted average of combinations; combinations without weight are None."""

    weight_L: NDArray[np.float64]
    combinations: tuple[Combination | None, ...]
    explanation: str

    def __call__(self, proba_NMC: Float) -> Proba:
        pooled = np.zeros((proba_NMC.shape[0], proba_NMC.shape[2]))
        for weight, combination in zip(self.weight_L, self.combinations, strict=True):
            if combination is not None:
                pooled += weight * combination(proba_NMC)
        return normalised(pooled)

    def state(self) -> State:
        state: dict[str, NDArray[np.generic] | str] = {"weight": self.weight_L, "explanation": self.explanation}
        for i, combination in enumerate(self.combinations):
            if combination is not None:
                state.update(with_prefix(f"combination{i}", combination.state()))
        return state


@dataclass(frozen=True)
class Super(NamedKind, kind="super", title="Super learner"):
    """A weighted average of other combinations, its weights fitted to their cross-fitted scores.

    These are convex weights over a library of combiners, which is called a super learner. Other modes are the plain
    average of the best combiners of the library, and the best one alone.

    References
    ----------
    M. J. van der Laan, E. C. Polley, A. E. Hubbard (2007), Super learner.

    Examples
    --------
    >>> from foldstill.stacking import crossfit
    >>> from foldstill.stacking.averages import Average
    >>> from foldstill.stacking.log_pool import LogPool
    >>> from foldstill.testing import synthetic_table
    >>> round(crossfit(Super(library=(Average(), LogPool()), folds=3), synthetic_table()).kl, 2)
    0.2
    """

    library: tuple[AnyCombiner, ...] = field(default_factory=default_library)
    """The combiners that are combined."""
    mode: Literal["stack", "average", "best"] = "stack"
    """Convex weights that minimise KL, equal weights for the best `keep` combiners, or the best combiner alone."""
    keep: int = 3
    """Number of combiners that mode "average" keeps."""
    folds: int = 5
    """Number of inner group folds, drawn within the rows of the fit."""
    seed: int = 0
    """Random seed."""

    def __post_init__(self) -> None:
        require_at_least(self, folds=2, keep=1)
        if not self.library:
            raise StackError("library of super must contain a combiner, got none: leave it out for the default")
        require_different_names(self.library, "library of super")

    @classmethod
    def example(cls) -> Self:
        return cls(library=(Recalibrated(), Convex(tied=True)), folds=3)

    def fit(self, table: OOFTable) -> SuperCombination:
        fold_N = group_folds(table.labels.groups, self.folds, seed=self.seed)
        held_out = [crossfit(combiner, table, folds=fold_N) for combiner in self.library]
        weight_L = np.zeros(len(self.library))
        if self.mode == "stack":
            weight_L, _ = simplex_minimum(_entries(table, np.stack([one.proba_NC for one in held_out], axis=1)))
            # Weights this small are noise of the optimiser; each would keep a combination in use.
            weight_L[weight_L < 1e-3] = 0
        else:
            best = np.argsort([one.kl for one in held_out], kind="stable")
            weight_L[best[: self.keep if self.mode == "average" else 1]] = 1
        weight_L /= weight_L.sum()
        weighted = list(zip(self.library, weight_L, strict=True))
        shares = ", ".join(f"{weight:.0%} {combiner.name}" for combiner, weight in weighted if weight > 0)
        n_groups = len(np.unique(table.labels.groups))
        return SuperCombination(
            weight_L,
            tuple(combiner.fit(table) if weight > 0 else None for combiner, weight in weighted),
            f"{shares}, by KL cross-fitted over {self.folds} folds of {n_groups} groups",
        )

    def restore(self, state: State) -> SuperCombination:
        weight_L = array(state, "weight")
        if len(weight_L) != len(self.library):
            raise StackError(
                f"the saved weights are for {len(weight_L)} combiners, but the library of super has "
                f"{len(self.library)}: fit the combiner and save it again"
            )
        combinations = tuple(
            combiner.restore(strip_prefix(f"combination{i}", state)) if weight_L[i] > 0 else None
            for i, combiner in enumerate(self.library)
        )
        return SuperCombination(weight_L, combinations, text(state, "explanation"))


def _entries(table: OOFTable, proba_NLC: Float) -> VotedEntries:
    target_NC = table.labels.weight_N()[:, None] * table.labels.target_NC
    row_E, class_E = np.nonzero(target_NC)
    return VotedEntries(proba_NLC[row_E, :, class_E].astype(np.float32), target_NC[row_E, class_E] / len(table))
