"""Votes per class from what annotators say: shares, one class per annotator, or one class per row.

N samples (rows), C classes, A annotators.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.data.classes import in_order, match_classes
from foldstill.data.simplex import check_rows, rounding_tolerance
from foldstill.data.text import Strings, as_array, as_numbers, as_strings, is_missing, is_whole, require_values
from foldstill.errors import DataError

MAX_UNNAMED_CLASSES = 10_000
"""Indices from here on are taken for a mistake where no class names say how many classes there are."""


def votes_from_shares(shares_NC: ArrayLike, total_N: ArrayLike | float) -> NDArray[np.float64]:
    """Votes (N, C) from shares that sum to 1 per row and the number of votes behind them.

    >>> votes_from_shares([[0.25, 0.75]], 4).tolist()
    [[1.0, 3.0]]
    """
    shares = as_numbers(shares_NC, "vote shares")
    if shares.ndim != 2 or not np.isfinite(shares).all():
        raise DataError(
            f"vote shares must be finite numbers of shape (rows, classes), got shape {shares.shape}"
            f"{'' if np.isfinite(shares).all() else ' with NaN or infinity'}: give one column per class"
        )
    sums = shares.sum(axis=-1, keepdims=True)
    if shares.size and (np.abs(sums - 1) <= rounding_tolerance(shares) + 1e-9).all():
        shares = shares / sums
    shares = np.maximum(check_rows(shares, "vote shares"), 0.0)
    total = as_numbers(total_N, "totals of votes")
    if total.shape not in ((), (len(shares),)):
        raise DataError(f"the totals of votes must be one per row ({len(shares)}) or one number, got {total.shape}")
    total = np.broadcast_to(total, (len(shares),))
    if not (np.isfinite(total).all() and (total > 0).all()):
        raise DataError("the total of votes must be positive in every row: give 1 where it is unknown")
    votes: NDArray[np.float64] = shares / shares.sum(axis=1, keepdims=True) * total[:, None]
    return votes


def votes_from_annotators(
    choice_NA: ArrayLike, classes: Sequence[str | int] | None = None
) -> tuple[NDArray[np.float64], list[str]]:
    """Votes (N, C) and names of the classes, from the class that each annotator chose; -1 or NaN is no vote.

    >>> votes_from_annotators([["b", "b", "a"]], ["a", "b"])
    (array([[1., 2.]]), ['a', 'b'])
    """
    choice = as_array(choice_NA, "annotators")
    if choice.ndim != 2:
        raise DataError(
            f"annotators must have shape (rows, annotators), got {choice.shape}: one class per row goes to from_hard"
        )
    flat = np.asarray(["" if is_missing(value) else value for value in choice.ravel().tolist()], dtype=object)
    cast = np.flatnonzero([value not in ("", -1, "-1") for value in flat.tolist()])
    if not len(cast):
        raise DataError("annotators hold no vote at all: give the class that each annotator chose")
    chosen = as_strings(flat[cast], "annotators")
    names = list(map(str, classes)) if classes is not None else _names_up_to(chosen)
    votes = np.zeros((len(choice), len(names)))
    np.add.at(votes, (cast // choice.shape[1], match_classes(chosen, names, "annotators").index_N), 1.0)
    return votes, names


def _names_up_to(chosen: Strings) -> list[str]:
    """c0, c1, ... up to the largest index that an annotator chose."""
    wrong = [value for value in chosen.tolist() if not is_whole(value) or value.startswith("-")]
    largest = max((int(value) for value in chosen.tolist() if value not in set(wrong)), default=0)
    if wrong or largest >= MAX_UNNAMED_CLASSES:
        raise DataError(
            f"annotators without class names must hold class indices 0..{MAX_UNNAMED_CLASSES - 1}, "
            f"got {wrong[0] if wrong else largest}: name the classes with classes"
        )
    return [f"c{i}" for i in range(largest + 1)]


def votes_from_hard(
    labels_N: ArrayLike, classes: Sequence[str | int] | None = None
) -> tuple[NDArray[np.float64], list[str]]:
    """Votes (N, C) and names of the classes, from one class per row.

    >>> votes_from_hard(["b", "a"])
    (array([[0., 1.],
           [1., 0.]]), ['a', 'b'])
    """
    labels = as_array(labels_N, "labels")
    if labels.ndim != 1:
        raise DataError(f"hard labels must be one class per row, got shape {labels.shape}: counts go to from_votes")
    if labels.dtype.kind == "f":
        require_values(labels, "labels")
    if labels.dtype.kind != "f":
        labels = labels if labels.dtype.kind in "iu" else as_strings(labels, "labels")
    elif fractions := [value for value in as_strings(np.unique(labels), "labels").tolist() if not is_whole(value)]:
        raise DataError(
            f"hard labels must be names or whole numbers, got fractions such as {fractions[0]}: "
            "shares of votes go to from_shares"
        )
    if classes is None:
        classes = in_order(as_strings(np.unique(labels), "labels").tolist())
        if "-1" in classes:
            raise DataError(
                "labels hold -1, which often stands for a missing label: drop these rows, or name every class, "
                "-1 among them, with classes"
            )
    names = [str(c) for c in classes]
    index_N = match_classes(labels, names, "labels").index_N
    return np.eye(len(names))[index_N], names
