"""One column of a CSV, from its cells as text: what is a number, what is missing, and what stays text. N rows."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

MISSING = ("", "NA", "N/A", "#N/A", "<NA>", "NaN", "nan", "-nan", "NULL", "null", "None", "n/a")
"""What stands for a missing value in a column of numbers. Elsewhere only the empty cell does."""

_WHOLE_FLOAT = r"^-?(0|[1-9][0-9]*)(\.0+)?$"
_DECIMAL_COMMA = r"^-?[0-9]*(,[0-9]+)?([eE][-+]?[0-9]+)?$"


@dataclass(frozen=True)
class CsvColumn:
    """One column of a CSV."""

    read_cells: Callable[[], Any]
    """Gives the cells as text, an arrow array."""
    separator: str
    fractions: NDArray[np.float64] | None = None
    """The values of a column of numbers that are not whole: their text, which is larger, is not kept."""

    def values(self) -> NDArray[Any]:
        """Numbers or booleans where every cell is one, else text with None for empty cells."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.fractions is not None:
            return self.fractions
        cells = self.read_cells()
        trimmed = pc.utf8_trim_whitespace(cells)
        missing = pc.is_in(trimmed, value_set=pa.array(MISSING))
        if not pc.any(missing).as_py():
            whole = _cast(trimmed, pa.int64())
            if whole is not None:
                return whole
            if pc.all(pc.is_in(trimmed, value_set=pa.array(["True", "False", "true", "false"]))).as_py():
                return _numpy(pc.equal(pc.utf8_lower(trimmed), "true"))
        floats = _Numbers(self.separator).of(cells)
        # A column of NA alone names things; it holds no numbers.
        if floats is None or (np.isnan(floats).all() and not pc.all(pc.equal(trimmed, "")).as_py()):
            return self._with_none(cells)
        return floats

    def text(self) -> NDArray[Any]:
        """The exact text, None for empty cells; whole numbers written `7.0` throughout become `7`."""
        import pyarrow.compute as pc

        cells = self.read_cells()
        if not pc.all(pc.match_substring_regex(cells, _WHOLE_FLOAT)).as_py():
            return self._with_none(cells)
        return self._with_none(pc.replace_substring_regex(cells, r"\.0+$", ""))

    @staticmethod
    def _with_none(cells: Any) -> NDArray[Any]:
        values = _numpy(cells).astype(object)
        values[values == ""] = None
        return values


class _Numbers:
    """Turns the cells of a column into numbers, block by block."""

    def __init__(self, separator: str) -> None:
        self.separator = separator
        self.commas = self.points = False
        """Whether a block has decimal commas, and whether a block has cells that cannot have one."""

    def of(self, cells: Any) -> NDArray[np.float64] | None:
        """The numbers, NaN for missing ones; None where a cell of this block, or of one before, is no number."""
        import pyarrow as pa
        import pyarrow.compute as pc

        trimmed = pc.utf8_trim_whitespace(cells)
        missing = pc.is_in(trimmed, value_set=pa.array(MISSING))
        numbers = pc.if_else(missing, pa.scalar(None, pa.string()), trimmed)
        if self.separator == ";":
            if pc.all(pc.match_substring_regex(numbers, _DECIMAL_COMMA)).as_py():
                self.commas |= bool(pc.any(pc.match_substring(numbers, ",")).as_py())
                numbers = pc.replace_substring(numbers, ",", ".")
            else:
                self.points = True
            if self.commas and self.points:
                return None
        return _cast(numbers, pa.float64())


class GrowingColumn:
    """A column of which one block of rows comes after the other."""

    def __init__(self, separator: str, *, keep_cells: bool) -> None:
        self.separator = separator
        self.cells: list[Any] | None = []
        """The text so far; None when it is known to be numbers that are not all whole."""
        self.numbers: list[NDArray[np.float64]] | None = None if keep_cells else []
        """The numbers so far; None when a cell is no number, or the text is wanted."""
        self._numbers = _Numbers(separator)

    def add(self, cells: Any) -> bool:
        """Whether the cells were taken: they are not where their column is text, and text before them was dropped."""
        if self.cells is not None:
            self.cells.append(cells)
        if self.numbers is None:
            return True
        numbers = self._numbers.of(cells)
        if numbers is None:
            self.numbers = None
            return self.cells is not None
        self.numbers.append(numbers)
        if self.cells is not None and (numbers[np.isfinite(numbers)] % 1 != 0).any():
            self.cells = None
        return True

    def finished(self, read_again: Callable[[], Any]) -> CsvColumn:
        """The whole column; `read_again` gives the cells that were dropped."""
        import pyarrow as pa

        if self.cells is not None:
            return CsvColumn(partial(pa.chunked_array, self.cells, pa.string()), self.separator)
        assert self.numbers is not None, "cells are dropped for numbers"
        return CsvColumn(read_again, self.separator, np.concatenate(self.numbers))


def _cast(cells: Any, kind: Any) -> NDArray[Any] | None:
    import pyarrow as pa

    try:
        numbers = cells.cast(kind)
    except pa.ArrowInvalid:
        return None
    return _numpy(numbers)


def _numpy(array: Any) -> NDArray[Any]:
    values: NDArray[Any] = np.asarray(array.to_numpy(zero_copy_only=False))
    return values
