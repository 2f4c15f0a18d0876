"""Rows whose label is missing, as rows of a multi-label problem are in heads that nobody judged.

They are read with the label of another row and left out of the table once rows are matched. N rows.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.columns import Columns
from foldstill.data.label_columns import LABEL_FORMS, LabelColumns
from foldstill.data.text import is_missing
from foldstill.errors import FoldstillWarning, OOFError


def with_every_label(file: Columns, columns: LabelColumns) -> tuple[Columns, NDArray[np.bool_]]:
    """The file with a label in every row, and which rows have one of their own, (N,).

    The others get that of the first row that has one. Rows without any vote have none. Raises OOFError where no row has
    a label.
    """
    form = next(form for form in LABEL_FORMS if getattr(columns, form))
    given = getattr(columns, form)
    arrays = {name: file.get(name, form) for name in ((given,) if isinstance(given, str) else given)}
    known_N = _known(list(arrays.values()), votes=form == "votes")
    if known_N.all():
        return file, known_N
    if not known_N.any():
        raise OOFError(f"{file.path} has no label in any row of {list(arrays)}: name another column, or leave it out")
    first = int(known_N.argmax())
    filled = {name: values.copy() for name, values in arrays.items()}
    for values in filled.values():
        values[~known_N] = values[first]
    cells = {name: cells for name, cells in file.cells.items() if name not in filled}
    return replace(file, arrays={**file.arrays, **filled}, cells=cells), known_N


def note_unlabelled(known_N: NDArray[np.bool_], columns: LabelColumns) -> None:
    """Warn how many rows are left out because their label is missing."""
    if n := int((~known_N).sum()):
        [name] = {str(given) for form in LABEL_FORMS if (given := getattr(columns, form))}
        warnings.warn(
            f"{n:,} of {len(known_N):,} rows have no label in {name!r} and are left out; the other "
            f"{len(known_N) - n:,} are used",
            FoldstillWarning,
            stacklevel=3,
        )


def _known(arrays: Sequence[NDArray[Any]], *, votes: bool) -> NDArray[np.bool_]:
    """Which rows miss no value; of votes also have one."""
    columns = [column for values in arrays for column in values.reshape(len(values), -1).T]
    known_N: NDArray[np.bool_] = ~np.logical_or.reduce([_missing(column) for column in columns])
    if votes and all(column.dtype.kind in "fiub" for column in columns):
        known_N &= np.logical_or.reduce([column != 0 for column in columns])
    return known_N


def _missing(column: NDArray[Any]) -> NDArray[np.bool_]:
    if column.dtype.kind == "f":
        missing_N: NDArray[np.bool_] = np.isnan(column)
        return missing_N
    if column.dtype.kind in "OUT":
        return np.asarray([is_missing(value) or value == "" for value in column.tolist()], dtype=bool)
    return np.zeros(len(column), dtype=bool)
