"""Values of files and frames as exact text or as numbers. N samples (rows)."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.errors import DataError

Strings = NDArray[np.str_]


def as_array(values: ArrayLike, name: str) -> NDArray[Any]:
    """An array of plain values; raises DataError for rows of different lengths and for records."""
    try:
        # The mask of a masked array would be lost here and there; its missing entries become NaN.
        array = np.ma.filled(values.astype(float), np.nan) if np.ma.isMaskedArray(values) else np.asarray(values)
    except ValueError as error:
        raise DataError(f"{name} must be an array of one shape, got rows of different lengths ({error})") from None
    if array.dtype.kind == "V":
        raise DataError(f"{name} must hold numbers or text, got records ({array.dtype}): give plain values")
    return array


def require_values(array: NDArray[Any], name: str) -> None:
    """Raise DataError with the first row where an array of floats (N,) holds NaN or infinity."""
    missing = np.logical_not(np.isfinite(array))
    if missing.any():
        raise DataError(
            f"{name} holds NaN or infinity in {missing.sum()} of {len(array)} rows, the first is row "
            f"{missing.argmax()} (counted from 0): every row needs a value"
        )


def as_strings(values: ArrayLike, name: str) -> Strings:
    """Ids, groups, strata or class names as an array of strings (N,); `name` says in errors which column they are.

    Text stays as it is, with leading zeros. Whole numbers lose `.0`, which a missing value elsewhere may have added.

    >>> as_strings([1.0, 2.0], "ids").tolist(), as_strings(["007", "7.0"], "ids").tolist()
    (['1', '2'], ['007', '7.0'])
    """
    array = as_array(values, name)
    if array.ndim != 1:
        raise DataError(f"{name} must be one-dimensional, got shape {array.shape}: give one value per row")
    if array.dtype.kind == "c":
        raise DataError(f"{name} holds complex numbers: give text or whole numbers")
    if array.dtype.kind == "f":
        require_values(array, name)
        if (array == np.floor(array)).all() and (np.abs(array) < 2**53).all():
            array = array.astype(np.int64)
    if array.dtype.kind == "O":
        entries: list[Any] = list(array)
        # Most columns hold strings only, which is quick to see; only other columns can miss values.
        if set(map(type, entries)) != {str}:
            array = np.asarray([_text(entry, name) for entry in entries], dtype=np.str_)
    if array.dtype.kind == "S":
        array = np.asarray([_text(entry, name) for entry in array.tolist()], dtype=np.str_)
    return array.astype(np.str_)


def as_numbers(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Counts, shares or weights as float64; raises DataError that shows the first values that are no numbers.

    >>> as_numbers([[3, None]], "votes").tolist()
    [[3.0, nan]]
    """
    array = as_array(values, name)
    if array.dtype.kind in "fiub":
        return array.astype(np.float64)
    if array.dtype.kind in "mM":
        raise DataError(f"{name} must be numbers, got dates or times ({array.dtype}): give counts, shares or weights")
    if array.dtype.kind == "c":
        raise DataError(f"{name} must be real numbers, got complex ones: give their real part if that is what is meant")
    out = np.empty(array.size)
    wrong: list[str] = []
    for i, entry in enumerate(array.ravel().tolist()):
        if is_missing(entry) or (isinstance(entry, str) and not entry.strip()):
            out[i] = np.nan
            continue
        try:
            out[i] = float(entry)
        except (TypeError, ValueError):
            wrong.append(str(entry))
    if wrong:
        raise DataError(
            f"{name} must be numbers, {len(wrong)} of {array.size} values are not; first: {wrong[:3]}: "
            "write plain numbers such as 1000 or 0.5"
        )
    return out.reshape(array.shape)


def is_missing(entry: Any) -> bool:
    """Whether an entry of a column is None, NaN, or the NA of pandas."""
    if entry is None or type(entry).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(entry, float | np.floating) and bool(np.isnan(entry))


def is_whole(text: str) -> bool:
    """Whether a text is a whole number without leading zeros.

    >>> [is_whole(text) for text in ("10", "-1", "007", "1.0", "²")]
    [True, True, False, False, False]
    """
    digits = text.removeprefix("-")
    return digits.isdecimal() and digits.isascii() and (digits == "0" or not digits.startswith("0"))


def _text(entry: Any, name: str) -> str:
    if is_missing(entry):
        raise DataError(f"{name} holds missing values: every row needs a value")
    if isinstance(entry, bytes):
        try:
            return entry.decode("utf-8")
        except UnicodeDecodeError:
            raise DataError(f"{name} holds bytes that are not UTF-8 text, such as {entry!r}: write text") from None
    if isinstance(entry, float | np.floating) and float(entry).is_integer() and abs(float(entry)) < 2**53:
        return str(int(entry))
    return str(entry)
