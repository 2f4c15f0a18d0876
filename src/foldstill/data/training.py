"""The two values that cross from the pipeline to a member: what it learns from, and how the fit is run.

N rows, C classes. Importing this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.batch import BatchTeacher, Hint
from foldstill.data.features import View
from foldstill.data.heads import BINARY, two_classes
from foldstill.data.labels import Labels
from foldstill.data.row_form import Recipe
from foldstill.data.row_weights import RowWeight, vote_weights
from foldstill.data.simplex import Float, check_rows
from foldstill.data.text import Strings
from foldstill.errors import DataError

Rows = NDArray[np.intp]
"""Index of rows."""


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """The rows that a member learns from, with their targets.

    All arrays cover all N rows of the views; `rows` picks those to learn from, and no other row is read by a fit.
    """

    views: Mapping[str, View]
    """Values of N rows per view; memory maps are read as they lie."""
    classes: tuple[str, ...]
    rows: Rows
    target_NC: Float
    """One distribution per row; of a multi-label problem one share per head, NaN where the label is not known."""
    weight_N: NDArray[np.floating[Any]] = field(default_factory=lambda: np.empty(0))
    """Sample weight per row; ones by default."""
    total_N: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """Number of votes per row; 0 (the default) for a row without votes."""
    group_N: NDArray[Any] = field(default_factory=lambda: np.empty(0, np.str_))
    """What an inner split must not separate; by default each row is its own group."""
    fold_N: NDArray[Any] | None = None
    """Fold per row, where rows may be mixed with rows of their own fold only; None allows any partner."""
    unit_N: Strings | None = None
    """The unit of which each row is one window, such as a recording; None where rows are no windows."""
    teacher: BatchTeacher | None = None
    """Gives the targets of each augmented batch instead of `target_NC`."""
    hint: Hint | None = None
    """Features to match besides the targets."""
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    """How the rows of each view were prepared, where that is known; kept with the model."""
    multi_label: bool = False
    """Whether the classes are heads, each with a probability of its own."""

    def __post_init__(self) -> None:
        n = len(self.target_NC)
        for name, usual in (("weight_N", np.ones(n)), ("total_N", np.zeros(n)), ("group_N", np.arange(n))):
            if len(getattr(self, name)) == 0:
                object.__setattr__(self, name, usual)
        lengths = {f"view {name!r}": len(array) for name, array in self.views.items()}
        lengths |= {name: len(getattr(self, name)) for name in ("weight_N", "total_N", "group_N")}
        lengths |= {name: len(part) for name in ("fold_N", "unit_N") if (part := getattr(self, name)) is not None}
        wrong = {name: length for name, length in lengths.items() if length != n}
        if wrong:
            raise DataError(f"a training set has {n} targets, got {wrong}: give every array one value per row")
        if np.ndim(self.target_NC) != 2 or np.shape(self.target_NC)[1] != len(self.classes):
            raise DataError(
                f"targets must have one column per class ({len(self.classes)}), got shape {np.shape(self.target_NC)}"
            )
        rows = self.rows
        if rows.dtype.kind not in "iu" or rows.ndim != 1 or (len(rows) and not 0 <= rows.min() <= rows.max() < n):
            raise DataError(f"rows must be indices 0..{n - 1}, got {rows.dtype} of shape {rows.shape}")
        if len(rows) and not self.multi_label:
            check_rows(self.target_NC[rows], "the training targets")
        if self.multi_label and ((self.target_NC < 0) | (self.target_NC > 1)).any():
            raise DataError("targets of heads must be in [0, 1], or NaN where they are not known")
        weight = self.weight_N[rows]
        if not (np.isfinite(weight).all() and (weight >= 0).all() and (weight.any() or not len(rows))):
            raise DataError("weights of training rows must be finite, not negative and not all zero")

    @classmethod
    def from_labels(
        cls,
        labels: Labels,
        views: Mapping[str, View],
        rows: Rows,
        unit_N: Strings | None = None,
        recipes: Mapping[str, Recipe] = MappingProxyType({}),
    ) -> TrainingSet:
        """A training set whose targets are the vote shares of the labels, or the labels of all heads.

        >>> labels = Labels.from_votes([[3, 1], [0, 2]])
        >>> TrainingSet.from_labels(labels, {"signal": np.zeros((2, 1, 8))}, np.array([0])).target_NC[0].tolist()
        [0.75, 0.25]
        """
        heads = labels.heads
        return cls(
            views,
            labels.classes if heads is None else heads.names,
            rows,
            labels.target_NC if heads is None else heads.share_NH,
            weight_N=labels.sample_weight_N,
            total_N=labels.total_N,
            group_N=labels.groups,
            unit_N=unit_N,
            recipes=recipes,
            multi_label=heads is not None,
        )

    def __len__(self) -> int:
        return len(self.target_NC)

    def with_views(self, names: Sequence[str]) -> TrainingSet:
        """The same rows with these views only, in this order."""
        missing = sorted(set(names) - set(self.views))
        if missing:
            raise DataError(
                f"no view {missing[0]!r}, there is {sorted(self.views)}: name one of these in the member's `view`"
            )
        return replace(self, views={name: self.views[name] for name in names})

    def of_head(self, head: int) -> TrainingSet:
        """The binary problem of one head, learned from the rows whose label is known."""
        positive_N = self.target_NC[:, head]
        known_N = ~np.isnan(positive_N)
        target_NC = two_classes(np.where(known_N, positive_N, 0.0))
        rows = self.rows[known_N[self.rows]]
        return replace(self, classes=BINARY, target_NC=target_NC, rows=rows, multi_label=False)

    def row_weights(self, rows: Rows, scheme: RowWeight, maximum: float = 10.0) -> NDArray[np.float64]:
        """Weight per row, (N,): the sample weight times the weight by votes, mean 1 over `rows`, 0 elsewhere."""
        weight = np.zeros(len(self))
        if len(rows):
            of_rows = self.weight_N[rows] * vote_weights(self.total_N[rows], scheme, maximum)
            if not of_rows.any():
                raise DataError(
                    f'row_weight = {scheme!r} weighs rows by their votes, and no training row has any: set "none"'
                )
            weight[rows] = of_rows / of_rows.mean()
        return weight


@dataclass(frozen=True)
class FitProgress:
    """How far a fit is: epochs done of all epochs, and the mean training loss of the last one."""

    done: int
    total: int
    loss: float


def ignore(progress: FitProgress) -> None:
    """Receives progress and does nothing."""


@dataclass(frozen=True)
class FitContext:
    """How one fit is run."""

    seed: int = 0
    """Seed of the first weights, and of everything random that has no other seed."""
    device: str = "cpu"
    """cpu, cuda, cuda:<number> or mps."""
    folder: Path | None = None
    """Where checkpoints and history.csv are kept; None keeps nothing."""
    made_from: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that name all inputs: a checkpoint made from others is refused."""
    report: Callable[[FitProgress], None] = ignore
    """Called after each epoch."""
    batch_seed: int | None = None
    """Seed of batches and augmentation; None derives it from `seed`. Students that differ in nothing but their first
    weights share it."""
