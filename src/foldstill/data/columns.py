"""Named arrays of one file, whatever its format: `.npz`, CSV or parquet, told apart by suffix."""

import zipfile
from collections.abc import Mapping
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
    """The arrays of one file by name; those of an `.npz` are read when asked for."""

    path: Path
    arrays: Mapping[str, NDArray[Any]]

    def __contains__(self, name: object) -> bool:
        return name in self.arrays

    def get(self, name: str, role: str) -> NDArray[Any]:
        """One array; raises DataError listing what there is when there is none of that name."""
        if name not in self.arrays:
            there = list(self.arrays)
            shown = f"{there[:12]}{f' and {len(there) - 12} more' if len(there) > 12 else ''}"
            raise DataError(f"{self.path} has no {name!r} (for {role}), it has {shown}: name one of these")
        try:
            return self.arrays[name]
        except ValueError as error:
            raise DataError(
                f"{name!r} in {self.path} holds Python objects, which are never unpickled: "
                "save plain numbers or strings"
            ) from error


def read_npz(path: Path) -> Columns:
    """The arrays of an `.npz`; nothing is unpickled."""
    try:
        loaded = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"no file {path}: correct the path") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not an .npz of arrays ({_short(error)}): write it with numpy.savez") from error
    if not isinstance(loaded, np.lib.npyio.NpzFile):
        raise DataError(f"{path} holds one bare array: write an .npz with numpy.savez(path, images=..., votes=...)")
    return Columns(path, loaded)


def read_frame(path: Path) -> Columns:
    """The columns of a CSV (.csv, .csv.gz, .tsv) or parquet (.parquet, .pq) file, one value a row."""
    frame = data_frame(path)
    return Columns(path, {str(column): frame[column].to_numpy() for column in frame.columns})


def data_frame(path: Path) -> "pd.DataFrame":
    """The same as pandas holds it; raises DataError for a file that is absent, empty, or not what its name says."""
    import pandas as pd
    import pyarrow as pa

    name = path.name.lower()
    parquet = name.endswith(PARQUET)
    if not parquet and not name.endswith(CSV):
        raise DataError(f"{path} must be named .csv, .csv.gz, .tsv or .parquet: that says how to read it")
    try:
        frame = (
            _with_index(pd.read_parquet(path))
            if parquet
            else pd.read_csv(path, sep="\t" if ".tsv" in name else ",", low_memory=False)
        )
    except FileNotFoundError:
        raise DataError(f"no file {path}: correct the path") from None
    except (pa.ArrowException, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        what = "a parquet file" if parquet else "a CSV file"
        raise DataError(f"{path} is not {what} ({_short(error)}): name it by what it is, .csv or .parquet") from error
    if len(frame) == 0:
        raise DataError(f"{path} has no rows: check the filter that made it")
    return frame


def _with_index(frame: "pd.DataFrame") -> "pd.DataFrame":
    """With the ids that pandas keeps in an index as a column; a plain numbering is left out."""
    import pandas as pd

    return frame if isinstance(frame.index, pd.RangeIndex) else frame.reset_index()


def _short(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
