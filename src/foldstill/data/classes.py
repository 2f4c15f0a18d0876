"""Class names: their order, and the class that each label names. N samples (rows), C classes."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.data.text import as_strings, is_whole, require_values
from foldstill.errors import DataError


def in_order(names: Iterable[str]) -> list[str]:
    """The different names, sorted: whole numbers by value, other names as text.

    >>> in_order(["10", "2", "0"]), in_order(["b", "a10", "a9"])
    (['0', '2', '10'], ['a10', 'a9', 'b'])
    """
    different = set(names)
    return sorted(different, key=int) if all(map(is_whole, different)) else sorted(different)


def positional_names(labels: ArrayLike, n_classes: int) -> list[str] | None:
    """The names 0..C-1 of columns without names, where the labels are numbers among them; None otherwise.

    >>> positional_names([0, 2, 0], 3)
    ['0', '1', '2']
    """
    names = [str(i) for i in range(n_classes)]
    return names if set(as_strings(labels, "labels").tolist()) <= set(names) else None


@dataclass(frozen=True)
class MatchedClasses:
    """The class of each label, as an index, and what it was matched by."""

    index_N: NDArray[np.intp]
    by: Literal["name", "number", "position"]


def match_classes(labels: ArrayLike, classes: Sequence[str], name: str) -> MatchedClasses:
    """The class that each label names; `name` says in errors whose labels they are.

    A label is the name of a class, or the number at the end of names such as c0, c1. Where the names hold no numbers,
    whole numbers are positions 0..C-1. Raises DataError when a label fits no class.

    >>> match_classes([2, 1], ["1", "2", "3"], "labels").index_N.tolist()
    [1, 0]
    >>> match_classes([2, 1], ["grade_1", "grade_2"], "labels")
    MatchedClasses(index_N=array([1, 0]), by='number')
    >>> match_classes([2, 1], ["cat", "dog", "owl"], "labels")
    MatchedClasses(index_N=array([2, 1]), by='position')
    """
    array = np.asarray(labels)
    if array.dtype.kind == "f":
        require_values(array, name)
    # Numbers are sorted many times faster than text.
    values, inverse_N = np.unique(array if array.dtype.kind in "iuf" else as_strings(array, name), return_inverse=True)
    wanted = as_strings(values, name).tolist()
    by_name = {class_name: i for i, class_name in enumerate(classes)}
    by_number = _numbers(classes)
    if by_name.keys() >= set(wanted):
        return MatchedClasses(_positions(wanted, by_name)[inverse_N], "name")
    if by_number and by_number.keys() >= set(wanted):
        return MatchedClasses(_positions(wanted, by_number)[inverse_N], "number")
    unknown = in_order(value for value in wanted if value not in by_name)
    if by_number or not all(map(is_whole, wanted)):
        raise DataError(
            f"{name} hold classes {unknown[:3]} that are not among {_some(classes)}: add them to classes, "
            "or correct the labels"
        )
    numbers = [int(value) for value in wanted]
    if min(numbers) < 0 or max(numbers) >= len(classes):
        raise DataError(
            f"{name} must name classes among {_some(classes)} or be class indices 0..{len(classes) - 1}, "
            f"got {min(numbers)} to {max(numbers)}: give labels by name, or number the classes from 0"
        )
    return MatchedClasses(np.asarray(numbers, dtype=np.intp)[inverse_N], "position")


def _numbers(classes: Sequence[str]) -> dict[str, int]:
    """Number -> position of classes that are numbers, or one prefix and a number; empty for other names."""
    if all(map(is_whole, classes)):
        return {name: i for i, name in enumerate(classes)}
    parts = [re.fullmatch(r"(.*?)([0-9]+)", name, re.DOTALL) for name in classes]
    if any(part is None for part in parts) or len({part[1] for part in parts if part}) != 1:
        return {}
    numbers = {part[2].lstrip("0") or "0": i for i, part in enumerate(parts) if part}
    return numbers if len(numbers) == len(classes) else {}


def _positions(wanted: Sequence[str], index: dict[str, int]) -> NDArray[np.intp]:
    return np.asarray([index[value] for value in wanted], dtype=np.intp)


def _some(classes: Sequence[str]) -> str:
    names = list(classes)
    return f"{names[:12]}{f' and {len(names) - 12} more' if len(names) > 12 else ''}"
