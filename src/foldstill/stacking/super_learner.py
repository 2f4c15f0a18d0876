"""The super learner: a library of combiners, itself stacked, averaged or narrowed to its best.

van der Laan, Polley and Hubbard (2007). N rows, M members, C classes, L combiners of the library.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import Float
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.settings import Settings
from foldstill.stacking.averages import Average, Geometric, Median, Trimmed, normalised
from foldstill.stacking.combiner import Combination, Proba, State, array, nested, text, within
from foldstill.stacking.convex import Convex, simplex_minimum
from foldstill.stacking.crossfit import crossfit, group_folds
from foldstill.stacking.gated import Gated
from foldstill.stacking.gradient_boosting import LightGBM
from foldstill.stacking.greedy import Greedy
from foldstill.stacking.log_pool import LogPool
from foldstill.stacking.logistic import Logistic
from foldstill.stacking.mlp import MLP
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.stacking.voted import Voted

Book = (
    Average
    | Geometric
    | Median
    | Trimmed
    | Recalibrated
    | Convex
    | Greedy
    | LogPool
    | Gated
    | Logistic
    | MLP
    | LightGBM
)


def default_library() -> tuple[Book, ...]:
    """The default library: the recalibrated average, and a few ways to leave it that err differently."""
    return (
        Recalibrated(),
        Recalibrated(name="vector_scaled", slope="per_class"),
        Recalibrated(name="convex_families", of=Convex(tied=True)),
        LogPool(name="log_pool_families", tied=True),
        Gated(),
        LightGBM(folds=3, rounds=100),
    )


@dataclass(frozen=True)
class Shelf:
    """A weighted average of combinations; those without weight are left out."""

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
                state.update(nested(f"combination{i}", combination.state()))
        return state


@dataclass(frozen=True)
class Super(Settings):
    """Convex weights over the library's cross-fitted scores; or the plain average of the best, or the best alone."""

    kind: Literal["super"] = "super"
    """Selects this combiner in an experiment file."""
    name: str = "super"
    """Name in tables and folders."""
    library: tuple[Book, ...] = field(default_factory=default_library)
    """Combiners to draw on."""
    mode: Literal["stack", "average", "best"] = "stack"
    """Convex weights by KL, equal weights of the best `keep`, or the best alone."""
    keep: int = 3
    """How many are averaged in mode `average`."""
    folds: int = 5
    """Group folds of the cross-fitting, drawn inside the rows given."""
    seed: int = 0
    """Of the group folds."""

    def __post_init__(self) -> None:
        if self.folds < 2 or self.keep < 1:
            raise StackError(f"folds must be 2 or more and keep 1 or more, got {self.folds} and {self.keep}")
        if not self.library:
            raise StackError("the library must hold a combiner: leave it out for the default")
        names = [book.name for book in self.library]
        if len(set(names)) < len(names):
            raise StackError(f"the library must have different names, got {names}: give them a `name`")

    def fit(self, table: OOFTable) -> Shelf:
        books = self.library
        fold_N = group_folds(table.labels.groups, self.folds, seed=self.seed)
        held_out = [crossfit(book, table, folds=fold_N) for book in books]
        weight_L = np.zeros(len(books))
        if self.mode == "stack":
            weight_L, _ = simplex_minimum(_entries(table, np.stack([fit.proba_NC for fit in held_out], axis=1)))
            # Weights this small are the optimiser's dust; each would keep a combination alive at apply time.
            weight_L[weight_L < 1e-3] = 0
        else:
            best = np.argsort([fit.kl for fit in held_out], kind="stable")
            weight_L[best[: self.keep if self.mode == "average" else 1]] = 1
        weight_L /= weight_L.sum()
        kept = [book.fit(table) if weight > 0 else None for book, weight in zip(books, weight_L, strict=True)]
        told = ", ".join(
            f"{weight:.0%} {book.name}" for book, weight in zip(books, weight_L, strict=True) if weight > 0
        )
        why = f"{told}, by KL cross-fitted over {self.folds} folds of {len(np.unique(table.labels.groups))} groups"
        return Shelf(weight_L, tuple(kept), why)

    def restore(self, state: State) -> Shelf:
        weight_L = array(state, "weight")
        if len(weight_L) != len(self.library):
            raise StackError(
                f"the saved weights are for {len(weight_L)} combiners, the library has {len(self.library)}: fit again"
            )
        kept = tuple(
            book.restore(within(f"combination{i}", state)) if weight_L[i] > 0 else None
            for i, book in enumerate(self.library)
        )
        return Shelf(weight_L, kept, text(state, "explanation"))


def _entries(table: OOFTable, proba_NLC: Float) -> Voted:
    target_NC = table.labels.weight_N()[:, None] * table.labels.target_NC
    row_E, class_E = np.nonzero(target_NC)
    return Voted(proba_NLC[row_E, :, class_E].astype(np.float32), target_NC[row_E, class_E] / len(table))
