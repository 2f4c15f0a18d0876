"""Named arrays of one file; its suffix says whether it is an `.npz`, a CSV or a parquet file."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foldstill.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz")


@dataclass(frozen=True)
class Columns:
    """The arrays of one file by name; those of an `.npz` are read from disk when they are used."""

    path: Path
    arrays: Mapping[str, NDArray[Any]]

    def __contains__(self, name: object) -> bool:
        return name in self.arrays

    @property
    def listing(self) -> str:
        """The names of the arrays for an error message, at most twelve of them."""
        names = list(self.arrays)
        return f"{names[:12]}{f' and {len(names) - 12} more' if len(names) > 12 else ''}"

    def get(self, name: str, role: str) -> NDArray[Any]:
        """One array; raises DataError that lists the names in the file when it has no such array.

        `role` says in the message what the array was wanted for.
        """
        if name not in self.arrays:
            raise DataError(f"{self.path} has no {name!r} (for {role}), it has {self.listing}: name one of these")
        try:
            return self.arrays[name]
        except ValueError as error:
            raise DataError(
                f"{name!r} in {self.path} holds Python objects, which are never unpickled: "
                "save plain numbers or strings"
            ) from error

    def matrix(self, names: Sequence[str], role: str) -> NDArray[Any]:
        """Several columns as one array (N, columns)."""
        return np.stack([self.get(name, role) for name in names], axis=1)


def read_npz(path: Path) -> Columns:
    """Read the arrays of an `.npz`; nothing is unpickled."""
    try:
        loaded = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"no file {path}: correct the path") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not an .npz of arrays ({_first_line(error)}): write it with numpy.savez") from error
    if not isinstance(loaded, np.lib.npyio.NpzFile):
        raise DataError(f"{path} holds one bare array: write an .npz with numpy.savez(path, images=..., votes=...)")
    return Columns(path, loaded)


def read_columns(path: Path) -> Columns:
    """Read the columns of a CSV (.csv, .csv.gz, .tsv) or parquet (.parquet, .pq) file."""
    frame = read_frame(path)
    return Columns(path, {str(column): frame[column].to_numpy() for column in frame.columns})


def read_frame(path: Path) -> "pd.DataFrame":
    """Read a CSV or parquet file with pandas.

    Raises DataError for a file that is missing, empty, or not what its suffix says.
    """
    import pandas as pd
    import pyarrow as pa

    name = path.name.lower()
    parquet = name.endswith(PARQUET)
    if not parquet and not name.endswith(CSV):
        raise DataError(f"{path} must be named .csv, .csv.gz, .tsv or .parquet: the suffix says how to read it")
    try:
        frame = (
            _with_index(pd.read_parquet(path))
            if parquet
            else pd.read_csv(path, sep="\t" if ".tsv" in name else ",", low_memory=False)
        )
    except FileNotFoundError:
        raise DataError(f"no file {path}: correct the path") from None
    except (pa.ArrowException, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        form = "a parquet file" if parquet else "a CSV file"
        raise DataError(
            f"{path} is not {form} ({_first_line(error)}): name it by what it is, .csv or .parquet"
        ) from error
    if len(frame) == 0:
        raise DataError(f"{path} has no rows: check the filter that made it")
    return frame


def _with_index(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The frame with its index as a column, where the index is more than the row numbers."""
    import pandas as pd

    return frame if isinstance(frame.index, pd.RangeIndex) else frame.reset_index()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
