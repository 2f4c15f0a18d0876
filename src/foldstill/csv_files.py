"""Tables as CSV files: UTF-8, commas, one header line."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from foldstill.files import atomic_write

if TYPE_CHECKING:
    import pandas as pd

Table: TypeAlias = "pd.DataFrame | Mapping[str, Any] | Sequence[Mapping[str, Any]]"
"""A pandas frame, column name -> values, or one mapping per line."""


def write_csv(path: Path, table: "Table", *, float_format: str | None = None) -> None:
    """Write a table as CSV: UTF-8, commas, one header line; see `csv_text`."""
    with atomic_write(path) as part:
        part.write_text(csv_text(table, float_format=float_format), encoding="utf-8", newline="")


def csv_text(table: "Table", *, float_format: str | None = None) -> str:
    """A table as CSV: a pandas frame, column name -> values, or one mapping per line. None and NaN are empty.

    `float_format` such as "%.9g" rounds floats; without it they keep all their digits.

    >>> csv_text([{"epoch": 1, "loss": 0.5, "kl": None}, {"epoch": 2, "loss": 0.25, "kl": 0.1}])
    'epoch,loss,kl\\n1,0.5,\\n2,0.25,0.1\\n'
    """
    if isinstance(table, Sequence) and table and float_format is None:
        header = list(dict.fromkeys(name for line in table for name in line))
        return csv_lines(header, ([line.get(name) for name in header] for line in table))
    import pandas as pd

    if isinstance(table, pd.DataFrame):
        frame = table
    elif isinstance(table, Mapping):
        # As objects, integers beside a None stay integers.
        frame = pd.DataFrame(
            {name: v if isinstance(v, np.ndarray) else pd.Series(list(v), dtype=object) for name, v in table.items()}
        )
    else:
        frame = pd.DataFrame(list(table), dtype=object)
    text: str = frame.to_csv(index=False, float_format=float_format, lineterminator="\n")
    return text


def csv_lines(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A header and rows as CSV, without pandas, whose import would take longer than a few lines do.

    >>> csv_lines(["arm", "kl", "kl"], [["a,b", 0.5, None], ["c", float("nan"), 1]])
    'arm,kl,kl\\n"a,b",0.5,\\nc,,1\\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(["" if value is None or value != value else value for value in row] for row in rows)
    return text.getvalue()


def no_formula(value: Any) -> Any:
    """The value of a cell for people: a name such as `=cmd` gets an apostrophe, so that no spreadsheet runs it.

    >>> [no_formula(value) for value in ("=cmd", "resnet", -0.5)]
    ["'=cmd", 'resnet', -0.5]
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
