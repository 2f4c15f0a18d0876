"""Cross-fitting: what a combiner says of each group when it was fitted to the others. The one loop that knows folds.

N rows, M members, C classes, K folds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from foldstill.data.folds import torn_groups
from foldstill.data.simplex import row_kl
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.stacking.combiner import Combiner, Fitted, Proba, explanation_of, fit
from foldstill.workers import OnProgress, Progress, silent

C = TypeVar("C", bound=Combiner)

Folds = NDArray[Any] | int | None
"""None: the table's own folds. A number: that many fresh group folds. An array: one fold a row, groups whole."""


@dataclass(frozen=True)
class CrossFit:
    """Held-out scores of one combiner, aligned to the rows of the table, and the loss of each row.

    `weight_N` are the sample weights of the table's labels. `notes` is what the combination of each fold says of its choice (empty where it chooses nothing).
    """

    name: str
    proba_NC: Proba
    row_kl_N: NDArray[np.float64]
    fold_N: NDArray[np.int16]
    weight_N: NDArray[np.float64]
    notes: tuple[str, ...] = ()

    @cached_property
    def kl(self) -> float:
        """Mean over rows by their sample weights, in nats."""
        return float(np.average(self.row_kl_N, weights=self.weight_N))


def crossfit(combiner: Combiner, table: OOFTable, *, folds: Folds = None) -> CrossFit:
    """Each fold's rows combined by `combiner` fitted to all other folds.

    Whatever the combiner chooses (a ridge, a round, a rung) it chooses inside its own `fit`, hence without the fold.
    Raises StackError when a group is in two folds or there are fewer than two folds.
    """
    fold_N = resolve(folds, table)
    parts = [_held_out(combiner, table, fold_N, k) for k in np.unique(fold_N)]
    return _assembled(combiner, table, fold_N, parts)


def crossfit_all(
    combiners: Sequence[Combiner],
    table: OOFTable,
    *,
    folds: Folds = None,
    jobs: int = 1,
    on_progress: OnProgress = silent,
) -> list[CrossFit]:
    """`crossfit` of several combiners over the same folds, (combiner, fold) jobs spread over `jobs` processes.

    The result does not depend on `jobs`. Workers use one thread each.
    """
    fold_N = resolve(folds, table)
    names = np.unique(fold_N)
    # Long jobs first, so that no worker is left with one at the end: the defaults list them last.
    order = [(c, f) for c in reversed(range(len(combiners))) for f in range(len(names))]
    work = [(_numbered_fold, (c, f, combiners[c], table, fold_N, int(names[f]))) for c, f in order]
    parts: dict[tuple[int, int], tuple[Proba, str]] = {}
    for done, (c, f, part) in enumerate(_spread(work, jobs), start=1):
        parts[c, f] = part
        rows = fold_N == names[f]
        kl = row_kl(target=table.labels.target_NC[rows], proba=part[0]).mean()
        on_progress(Progress("cross-fit", done, len(work), f"{combiners[c].name}, fold {names[f]}: KL {kl:.4f}"))
    return [
        _assembled(combiner, table, fold_N, [parts[c, f] for f in range(len(names))])
        for c, combiner in enumerate(combiners)
    ]


def fit_all(
    combiners: Sequence[Combiner], table: OOFTable, *, jobs: int = 1, on_progress: OnProgress = silent
) -> list[Fitted]:
    """`fit` of several combiners to the whole table, spread over `jobs` processes."""
    work = [(_numbered_fit, (c, combiners[c], table)) for c in reversed(range(len(combiners)))]
    fitted: dict[int, Fitted] = {}
    for done, (c, one) in enumerate(_spread(work, jobs), start=1):
        fitted[c] = one
        on_progress(Progress("fit", done, len(work), f"{one.name}, all rows"))
    return [fitted[c] for c in range(len(combiners))]


def pick(candidates: Sequence[C], table: OOFTable, *, folds: int, seed: int = 0) -> C:
    """The candidate with the lowest cross-fitted KL over fresh group folds of the table; the earlier one of equals.

    How a combiner chooses its own settings inside its `fit`. A single candidate is taken without a fit.
    """
    if len(candidates) == 1:
        return candidates[0]
    fold_N = group_folds(table.labels.groups, folds, seed=seed)
    return min(candidates, key=lambda candidate: crossfit(candidate, table, folds=fold_N).kl)


def group_folds(groups: NDArray[Any], n_folds: int, *, seed: int = 0) -> NDArray[np.int16]:
    """Fold 0..K-1 of each row, groups whole, drawn anew from `seed`; labels play no part.

    With fewer groups than folds each group is a fold. Raises StackError for a single group.
    """
    from sklearn.model_selection import GroupKFold

    n_groups = len(np.unique(groups))
    if n_groups < 2:
        raise StackError("cross-fitting needs two or more groups, got one: name the column of patients or recordings")
    fold_N = np.empty(len(groups), np.int16)
    splitter = GroupKFold(min(n_folds, n_groups), shuffle=True, random_state=seed)
    for k, (_, held) in enumerate(splitter.split(groups, groups=groups)):
        fold_N[held] = k
    return fold_N


def resolve(folds: Folds, table: OOFTable) -> NDArray[np.int16]:
    """The fold of each row; see `Folds`."""
    if isinstance(folds, int):
        if folds < 2:
            raise StackError(f"cross-fitting needs two or more folds, got {folds}: 5 is usual")
        return group_folds(table.labels.groups, folds)
    fold_N = table.fold_N if folds is None else np.asarray(folds)
    if fold_N.shape != (len(table),):
        raise StackError(f"folds must be one a row ({len(table)}), got shape {fold_N.shape}")
    if len(np.unique(fold_N)) < 2:
        raise StackError(
            f"cross-fitting needs two or more folds, all rows are in fold {fold_N[0]}: pass folds=5 for fresh ones"
        )
    torn = torn_groups(table.labels.groups, fold_N)
    if len(torn):
        raise StackError(
            f"group {str(torn[0])!r} is in more than one fold: cross-fitted scores would be too good; "
            "pass folds=5 for fresh group folds"
        )
    return fold_N.astype(np.int16)


def _held_out(combiner: Combiner, table: OOFTable, fold_N: NDArray[np.int16], fold: int) -> tuple[Proba, str]:
    held = fold_N == fold
    combination = combiner.fit(table.take(~held))
    return combination(table.proba_NMC[held]), explanation_of(combination)


def _assembled(
    combiner: Combiner, table: OOFTable, fold_N: NDArray[np.int16], parts: Sequence[tuple[Proba, str]]
) -> CrossFit:
    proba_NC = np.empty((len(table), len(table.classes)))
    for fold, (part, _) in zip(np.unique(fold_N), parts, strict=True):
        proba_NC[fold_N == fold] = part
    losses = row_kl(target=table.labels.target_NC, proba=proba_NC)
    notes = tuple(note for _, note in parts)
    return CrossFit(combiner.name, proba_NC, losses, fold_N, table.labels.sample_weight_N, notes)


def _numbered_fold(
    c: int, f: int, combiner: Combiner, table: OOFTable, fold_N: NDArray[np.int16], fold: int
) -> tuple[int, int, tuple[Proba, str]]:
    return c, f, _held_out(combiner, table, fold_N, fold)


def _numbered_fit(c: int, combiner: Combiner, table: OOFTable) -> tuple[int, Fitted]:
    return c, fit(combiner, table)


def _spread(work: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]], jobs: int) -> Any:
    """Results as they come; in this process for one job, else in processes of one thread."""
    if jobs == 1:
        return (function(*arguments) for function, arguments in work)
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(backend="loky", inner_max_num_threads=1):
        return Parallel(n_jobs=jobs, return_as="generator_unordered")(
            delayed(function)(*arguments) for function, arguments in work
        )
