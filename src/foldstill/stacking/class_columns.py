"""Which column of a matrix holds which member's probability of which class. N samples, M members, C classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import EPS, ROW_SUM_TOLERANCE
from foldstill.data.text import is_whole
from foldstill.errors import StackError
from foldstill.oof.one_probability import known_positive

_CLEAR = 4.0
"""Standard errors from which another order of the classes fits the labels better than by chance."""

_FEWEST_ROWS = 20
"""Fewer rows do not show the order of the classes."""


@dataclass(frozen=True)
class ClassColumns:
    """All classes, sorted, and the column of each member and class."""

    classes: NDArray[Any]
    index_MC: NDArray[np.intp]
    named: bool
    """Whether names say which column is which; otherwise the classes are taken to be in sorted order."""
    positive: Any = None
    """The class whose probability the only column of each member holds; None for one column per class."""


def class_columns(
    observed: NDArray[Any],
    given: Sequence[Any] | None,
    names: Sequence[str] | None,
    positive: Any,
    rows: NDArray[np.float64],
) -> ClassColumns:
    """The columns by their names `member__class`, else by the order of the `given` classes, else in sorted order.

    `observed` are the classes of the labels. Members have one column each where `positive` is given, and where the
    columns do not sum to one in pairs and the names of two classes say which is positive. Raises StackError when the
    columns do not fit the classes.

    >>> class_columns(np.array(["a", "b"]), None, ["x__b", "x__a"], None, np.array([[0.2, 0.8]])).index_MC.tolist()
    [[1, 0]]
    >>> class_columns(np.array([1, 2]), [2, 1, 3], None, None, np.full((1, 6), 1 / 3)).index_MC.tolist()
    [[1, 0, 2], [4, 3, 5]]
    >>> int(class_columns(np.array([0, 1]), None, None, None, np.array([[0.2, 0.7]])).positive)
    1
    """
    n_columns = rows.shape[1]
    known = observed if given is None else np.asarray(given)
    lacking = [c for c in observed.tolist() if c not in known.tolist()]
    if lacking or len(set(known.tolist())) < len(known):
        raise StackError(
            f"classes must be different and hold every class of y, got {known.tolist()} without {lacking[:3]}: "
            "give each class once, in the order of the columns"
        )
    if positive is not None:
        return _one_per_member(known, positive, n_columns)
    if names is not None and (found := _by_name(known, list(names), complete=given is not None)) is not None:
        return found
    texts = [str(c) for c in known.tolist()]
    if (known_name := known_positive(texts)) and not _in_pairs(rows) and 0 <= rows.min() <= rows.max() <= 1:
        return _one_per_member(known, known[texts.index(known_name)], n_columns)
    n_members, rest = divmod(n_columns, max(len(known), 1))
    if rest or len(known) < 2 or not n_members:
        raise StackError(
            f"X must hold each member's {len(known)} classes side by side, got {n_columns} feature(s): "
            "give one column per member and class, and name classes that y lacks with classes; where each column is "
            "one member's probability of one of two classes, name that class with positive"
        )
    classes = np.unique(known)
    order = [known.tolist().index(c) for c in classes.tolist()]
    index_MC = np.arange(n_columns).reshape(n_members, -1)[:, order]
    return ClassColumns(classes, index_MC, named=given is not None)


def _one_per_member(known: NDArray[Any], positive: Any, n_columns: int) -> ClassColumns:
    if len(known) != 2 or positive not in known.tolist():
        raise StackError(
            f"positive must be one of two classes, got {positive!r} with the classes {known.tolist()}: name one of "
            "two, or leave it out and give one column per member and class"
        )
    classes = np.unique(known)
    index_MC = np.repeat(np.arange(n_columns)[:, None], 2, axis=1)
    return ClassColumns(classes, index_MC, named=True, positive=classes[classes.tolist().index(positive)])


def _in_pairs(rows: NDArray[np.float64]) -> bool:
    """Whether most rows sum to one in pairs of columns, as those of two classes side by side do."""
    if rows.shape[1] % 2:
        return False
    sums = rows[:, ::2] + rows[:, 1::2]
    return bool((np.abs(sums - 1) <= ROW_SUM_TOLERANCE).mean() > 0.5)


def _by_name(known: NDArray[Any], names: list[str], *, complete: bool) -> ClassColumns | None:
    """The columns by `member__class`; None when no column is named so.

    Unless the known classes are `complete`, other columns of the members are classes that no label has.
    """
    texts = [str(c) for c in known.tolist()]
    members = dict.fromkeys(n.removesuffix(f"__{c}") for c in texts for n in names if n.endswith(f"__{c}"))
    members = {m: None for m in members if all(f"{m}__{c}" in names for c in texts)}
    if not members:
        return None
    others = {n.removeprefix(f"{m}__") for m in members for n in names if n.startswith(f"{m}__")} - set(texts)
    texts += [] if complete else sorted(others)
    wanted = [f"{m}__{c}" for m in members for c in texts]
    numbers = known.dtype.kind in "iu"
    if sorted(wanted) != sorted(names) or (numbers and not all(map(is_whole, texts))):
        unfit = sorted(set(names) ^ set(wanted))
        raise StackError(
            f"columns must be named member__class for every member and the classes {texts}, these do not fit: "
            f"{unfit[:3]}: rename them, or give classes"
        )
    classes = np.unique(np.asarray(texts).astype(known.dtype) if numbers else np.asarray(texts))
    if known.dtype.kind not in "iuU":  # labels such as booleans keep their type
        classes = np.unique(known)
    index = [[names.index(f"{m}__{c}") for c in classes.tolist()] for m in members]
    return ClassColumns(classes, np.asarray(index, dtype=np.intp), named=True)


def require_best_order(target_NC: NDArray[np.float64], proba_NMC: NDArray[np.floating[Any]], names: list[str]) -> None:
    """Refuse columns without names whose order fits the labels clearly worse than another order."""
    from scipy.optimize import linear_sum_assignment

    log_NC = np.log(np.maximum(proba_NMC.mean(axis=1, dtype=np.float64), EPS))
    _, best = linear_sum_assignment(-(target_NC.T @ log_NC))
    gain_N = (target_NC * (log_NC[:, best] - log_NC)).sum(axis=1)
    error = gain_N.std() / np.sqrt(len(gain_N))
    if len(gain_N) >= _FEWEST_ROWS and gain_N.mean() > max(_CLEAR * error, EPS):
        order = [names[i] for i in np.argsort(best)]
        raise StackError(
            f"no column of X is named after a class of y, and the columns fit the classes in the order {order} better "
            f"than in the sorted order {names}: name the columns member__class, or give classes in the order of the "
            "columns; for cross_val_predict, which numbers the classes, sort the columns by name"
        )
