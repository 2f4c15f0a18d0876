"""Cross-fitting: predict each fold with a combiner fitted on the other folds. Only this loop of the room knows folds.

N samples, M members, C classes, K folds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.choices import metric_of
from foldstill.compare.left_out import row_losses
from foldstill.compare.predictions import Predictions
from foldstill.data.folds import torn_groups
from foldstill.data.simplex import row_kl
from foldstill.errors import StackError, at
from foldstill.oof.table import OOFTable
from foldstill.stacking.combiner import Combiner, FittedCombiner, Proba, combined, explanation_of, fit
from foldstill.workers import OnProgress, Progress, Work, silent, spread

C = TypeVar("C", bound=Combiner)

Folds = NDArray[Any] | int | None
"""None: the table's own folds. A number: that many new group folds. An array: the fold of each row."""


@dataclass(frozen=True)
class CrossFit:
    """Held-out scores of one combiner, in the order of the table's rows, and the KL divergence per row.

    `weight_N` holds the sample weights of the table's labels. `notes` holds the explanation of each fold's combination,
    empty when it makes no choice.
    """

    name: str
    proba_NC: Proba
    row_kl_N: NDArray[np.float64]
    fold_N: NDArray[np.int16]
    weight_N: NDArray[np.float64]
    notes: tuple[str, ...] = ()

    @cached_property
    def kl(self) -> float:
        """Mean KL divergence, weighted by the sample weights, in nats."""
        return float(np.average(self.row_kl_N, weights=self.weight_N))


def losses_by(metric: Any, table: OOFTable, proba_NC: Proba) -> NDArray[np.float64]:
    """The loss per row of cross-fitted scores by any metric, (N,): differences of two combiners can be paired.

    Of a metric that is no mean over rows, the rows of a group share what their group adds to it.
    """
    chosen, labels = metric_of(metric), table.labels
    if chosen.name == "kl":
        return row_kl(target=labels.target_NC, proba=proba_NC)
    predictions = Predictions(labels.target_NC, proba_NC, labels.sample_weight_N)
    return row_losses(chosen, predictions, np.unique(labels.groups, return_inverse=True)[1])


def crossfit(combiner: Combiner, table: OOFTable, *, folds: Folds = None) -> CrossFit:
    """Combine the rows of each fold with a combiner fitted on all other folds.

    A combiner chooses its own settings inside `fit` (a ridge, a number of rounds), hence without the held-out fold.

    Parameters
    ----------
    combiner
        Settings of the combiner.
    table
        Out-of-fold scores with labels.
    folds
        Folds to use: the table's own (None, the default), a number of new group folds, or the fold of each row.

    Returns
    -------
    CrossFit
        Held-out scores (N, C) and the KL divergence per row.

    Raises
    ------
    StackError
        When a group is in two folds or there are fewer than two folds.

    Examples
    --------
    >>> from foldstill.stacking.averages import Average
    >>> from foldstill.testing import synthetic_table
    >>> round(crossfit(Average(), synthetic_table()).kl, 3)
    0.247
    """
    fold_N = fold_per_row(folds, table)
    parts = [_held_out(table, fold_N, combiner, k) for k in np.unique(fold_N)]
    return _assembled(combiner, table, fold_N, parts)


def crossfit_by_fold(
    combiner: Combiner, table: OOFTable, fold_N: NDArray[np.int16]
) -> Iterator[tuple[NDArray[np.bool_], Proba]]:
    """Yield which rows a fold holds out, and their scores; a caller that knows enough after some folds stops there."""
    for fold in np.unique(fold_N):
        yield fold_N == fold, _held_out(table, fold_N, combiner, fold)[0]


def crossfit_all(
    combiners: Sequence[Combiner],
    table: OOFTable,
    *,
    folds: Folds = None,
    workers: int | str | None = 1,
    on_progress: OnProgress = silent,
) -> list[CrossFit]:
    """Cross-fit several combiners over the same folds; one job per combiner and fold, where `Work(workers)` says.

    The result does not depend on `workers`. Each process uses one thread.
    """
    fold_N = fold_per_row(folds, table)
    names = np.unique(fold_N)
    # Long jobs first, so that no process is left with one at the end: the defaults list them last.
    order = [(c, f) for c in reversed(range(len(combiners))) for f in range(len(names))]
    calls = [(combiners[c], int(names[f])) for c, f in order]
    parts: dict[tuple[int, int], tuple[Proba, str]] = {}
    parts_of = spread(_held_out, calls, Work(workers).cpu_workers, shared=(table, fold_N))
    for done, (job, part) in enumerate(parts_of, start=1):
        c, f = order[job]
        parts[c, f] = part
        rows = fold_N == names[f]
        kl = row_kl(target=table.labels.target_NC[rows], proba=part[0]).mean()
        on_progress(Progress("cross-fit", done, len(calls), f"{combiners[c].name}, fold {names[f]}: KL {kl:.4f}"))
    return [
        _assembled(combiner, table, fold_N, [parts[c, f] for f in range(len(names))])
        for c, combiner in enumerate(combiners)
    ]


def fit_all(
    combiners: Sequence[Combiner], table: OOFTable, *, workers: int | str | None = 1, on_progress: OnProgress = silent
) -> list[FittedCombiner]:
    """Fit several combiners to all rows of the table, where `Work(workers)` says."""
    order = list(reversed(range(len(combiners))))
    calls = [(combiners[c],) for c in order]
    fitted: dict[int, FittedCombiner] = {}
    for done, (job, one) in enumerate(spread(_fit, calls, Work(workers).cpu_workers, shared=(table,)), start=1):
        fitted[order[job]] = one
        on_progress(Progress("fit", done, len(calls), f"{one.name}, all rows"))
    return [fitted[c] for c in range(len(combiners))]


def best_by_crossfit(candidates: Sequence[C], table: OOFTable, *, folds: int, seed: int = 0) -> C:
    """Return the candidate with the lowest cross-fitted KL over new group folds of the table; of equals the first.

    Combiners choose their own settings with it inside their `fit`. A single candidate is returned without a fit.
    """
    if len(candidates) == 1:
        return candidates[0]
    fold_N = group_folds(table.labels.groups, folds, seed=seed)
    return min(candidates, key=lambda candidate: crossfit(candidate, table, folds=fold_N).kl)


def group_folds(groups: NDArray[Any], n_folds: int, *, seed: int = 0) -> NDArray[np.int16]:
    """Return the fold of each row, 0 to K - 1, drawn from `seed` without splitting groups; labels play no part.

    With fewer groups than folds, each group is a fold. Raises StackError when there is only one group.
    """
    names, group_N = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise StackError("cross-fitting needs two or more groups, got one: name the column of patients or recordings")
    # The folds of scikit-learn's GroupKFold with shuffle, without the second that its import takes.
    order = np.random.RandomState(seed).permutation(len(names))
    fold_G = np.empty(len(names), np.int16)
    for k, part in enumerate(np.array_split(order, min(n_folds, len(names)))):
        fold_G[part] = k
    return fold_G[group_N]


def fold_per_row(folds: Folds, table: OOFTable) -> NDArray[np.int16]:
    """Return the fold of each row; see `Folds` for the argument."""
    if isinstance(folds, int):
        if folds < 2:
            raise StackError(f"cross-fitting needs two or more folds, got {folds}: 5 is usual")
        return group_folds(table.labels.groups, folds)
    fold_N = table.fold_N if folds is None else np.asarray(folds)
    if fold_N.shape != (len(table),):
        raise StackError(f"folds must have one entry per row of the table ({len(table)}), got shape {fold_N.shape}")
    if len(np.unique(fold_N)) < 2:
        raise StackError(
            f"cross-fitting needs two or more folds, but all rows are in fold {fold_N[0]}: pass folds=5 for new folds"
        )
    torn = torn_groups(table.labels.groups, fold_N)
    if len(torn):
        raise StackError(
            f"group {str(torn[0])!r} is in more than one fold, which would make cross-fitted scores too good: "
            "pass folds=5 for new group folds"
        )
    return fold_N.astype(np.int16)


def _held_out(table: OOFTable, fold_N: NDArray[np.int16], combiner: Combiner, fold: int) -> tuple[Proba, str]:
    held = fold_N == fold
    with at(f"combiner {combiner.name!r}"):
        combination = combiner.fit(table.take(~held))
    return combined(combination, table.scores.take(held)), explanation_of(combination)


def _assembled(
    combiner: Combiner, table: OOFTable, fold_N: NDArray[np.int16], parts: Sequence[tuple[Proba, str]]
) -> CrossFit:
    proba_NC = np.empty((len(table), len(table.classes)))
    for fold, (part, _) in zip(np.unique(fold_N), parts, strict=True):
        proba_NC[fold_N == fold] = part
    losses = row_kl(target=table.labels.target_NC, proba=proba_NC)
    notes = tuple(note for _, note in parts)
    return CrossFit(combiner.name, proba_NC, losses, fold_N, table.labels.sample_weight_N, notes)


def _fit(table: OOFTable, combiner: Combiner) -> FittedCombiner:
    return fit(combiner, table)
