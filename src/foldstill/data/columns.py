"""Named arrays of one file; its suffix says whether it is an `.npz`, a CSV or a parquet file."""

import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.csv_column import CsvColumn
from foldstill.data.csv_file import CsvFile
from foldstill.data.text import as_numbers
from foldstill.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz")


@dataclass(frozen=True)
class Columns:
    """The arrays of one file by name; those of an `.npz` or a CSV are read from disk when they are used."""

    path: Path
    arrays: Mapping[str, NDArray[Any]]
    cells: Mapping[str, CsvColumn] = field(default_factory=dict)
    """The columns of a CSV as they are written."""

    def __contains__(self, name: object) -> bool:
        return name in self.arrays

    def without(self, names: Sequence[str]) -> "Columns":
        """The file without the named arrays, which are then no longer in memory."""
        cells = {name: self.cells[name] for name in self.cells if name not in names}
        kept = [name for name in self.arrays if name not in names]
        if all(name in cells for name in kept):
            return Columns(self.path, _Values({name: cells[name] for name in kept}), cells)
        return Columns(self.path, {name: self.arrays[name] for name in kept}, cells)

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
            values = self.arrays[name]
        except DataError:
            raise
        except ValueError as error:
            if "allow_pickle" in str(error):
                raise DataError(
                    f"{name!r} in {self.path} holds Python objects, which are never unpickled: "
                    "save plain numbers or strings"
                ) from error
            raise self._damaged(name, error) from error
        except MemoryError as error:
            if self._holds_less(name):
                raise self._damaged(name, error) from error
            raise DataError(
                f"{name!r} in {self.path} does not fit into memory: use a machine with more memory, or fewer rows"
            ) from error
        except (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
            raise self._damaged(name, error) from error
        if not isinstance(values, np.ndarray):
            raise DataError(f"{name!r} in {self.path} is no array: write the file with numpy.savez")
        return values

    def _holds_less(self, name: str) -> bool:
        """Whether an array of an `.npz` has fewer bytes than its header says."""
        archive = getattr(self.arrays, "zip", None)
        if archive is None:
            return False
        with archive.open(f"{name}.npy") as stream:
            read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, _, dtype = read_header[np.lib.format.read_magic(stream)](stream)
        size: int = archive.getinfo(f"{name}.npy").file_size
        return size < math.prod(shape) * dtype.itemsize

    def _damaged(self, name: str, error: Exception) -> DataError:
        return DataError(f"{name!r} in {self.path} is damaged ({_first_line(error)}): write the file again")

    def text(self, name: str, role: str) -> NDArray[Any]:
        """One column of ids or names: the exact text of a CSV, such as 007; other files say themselves what is text."""
        values = self.get(name, role)
        if name not in self.cells or (values.dtype.kind == "f" and np.isnan(values).any()):
            return values
        return self.cells[name].text()

    def matrix(self, names: Sequence[str], role: str) -> NDArray[Any]:
        """Several columns of numbers as one array (N, columns); raises DataError that names a column of text."""
        columns = {name: self.get(name, role) for name in names}
        for name, values in columns.items():
            if values.dtype.kind not in "fiub":
                columns[name] = as_numbers(values, f"{name!r} in {self.path} (for {role})")
        return np.stack(list(columns.values()), axis=1)


class _Values(Mapping[str, NDArray[Any]]):
    """The values of columns of a CSV, which are made each time they are asked for: names as objects are large."""

    def __init__(self, cells: Mapping[str, CsvColumn]) -> None:
        self.cells = cells

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.cells[name].values()

    def __iter__(self) -> Iterator[str]:
        return iter(self.cells)

    def __len__(self) -> int:
        return len(self.cells)

    def __contains__(self, name: object) -> bool:
        return name in self.cells


def read_npz(path: Path) -> Columns:
    """Read the arrays of an `.npz`; nothing is unpickled."""
    try:
        with path.open("rb") as stream:
            is_array = stream.read(6) == b"\x93NUMPY"
            # NumPy leaves a file open that is no archive.
            is_archive = zipfile.is_zipfile(stream)
        if is_archive:
            return Columns(path, np.load(path, allow_pickle=False))
    except FileNotFoundError:
        raise DataError(f"no file {path}: correct the path") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not an .npz of arrays ({_first_line(error)}): write it with numpy.savez") from error
    if is_array:
        raise DataError(f"{path} holds one bare array: write an .npz with numpy.savez(path, images=..., votes=...)")
    raise DataError(f"{path} is not an .npz of arrays: write it with numpy.savez")


def read_columns(path: Path, *, without: Sequence[str] = ()) -> Columns:
    """Read the columns of a CSV (.csv, .csv.gz, .tsv) or parquet (.parquet, .pq) file.

    Columns of a parquet file that are named in `without` are not read.

    An index is a column called `index` when it has no name and is more than the row numbers.
    Raises DataError for a file that is missing, empty, or not what its suffix says.
    """
    name = path.name.lower()
    if not name.endswith((*PARQUET, *CSV)):
        raise DataError(f"{path} must be named .csv, .csv.gz, .tsv or .parquet: the suffix says how to read it")
    if name.endswith(PARQUET):
        arrays = _read_parquet(path, without)
        if not arrays or not len(next(iter(arrays.values()))):
            raise DataError(f"{path} has no rows: check the filter that made it")
        return Columns(path, arrays)
    cells = CsvFile(path)
    if not cells.has_rows:
        raise DataError(f"{path} has no rows: check the filter that made it")
    if "" not in cells:
        return Columns(path, _Values(cells), cells)
    # pandas writes the index of a frame as a first column without a name.
    index, named = cells[""], {name: column for name, column in cells.items() if name}
    counts_rows = np.array_equal(index.values(), np.arange(len(index.values())))
    shown = named if "index" in named or counts_rows else {"index": index, **named}
    return Columns(path, _Values(shown), shown)


def read_frame(path: Path) -> "pd.DataFrame":
    """Read a CSV or parquet file as a pandas frame; see `read_columns`."""
    import pandas as pd

    return pd.DataFrame(dict(read_columns(path).arrays))


def _read_parquet(path: Path, without: Sequence[str]) -> dict[str, NDArray[Any]]:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        kept = [name for name in pq.read_schema(path).names if name not in without] if without else None
        frame = pd.read_parquet(path, columns=kept)
        if not isinstance(frame.index, pd.RangeIndex):
            frame = frame.reset_index()
        # Text is decoded here, which damaged bytes do not survive.
        return {str(column): series_array(frame[column]) for column in frame.columns}
    except FileNotFoundError:
        raise DataError(f"no file {path}: correct the path") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{path} is not a parquet file ({_first_line(error)}): name it by what it is, .csv or .parquet"
        ) from error


def series_array(column: "pd.Series[Any]") -> NDArray[Any]:
    """A column of pandas as numbers, with NaN for missing ones, where it holds numbers; categories are objects."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        return np.asarray(column.astype(object), dtype=object)
    if pd.api.types.is_extension_array_dtype(column.dtype) and pd.api.types.is_numeric_dtype(column.dtype):
        if column.hasnans:
            return column.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.asarray(column.tolist())
    return column.to_numpy()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
