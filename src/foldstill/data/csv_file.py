"""The cells of a CSV as they are written: separator, encoding and missing values. N rows."""

import csv
import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.errors import DataError

SEPARATORS = (",", ";", "\t", "|")
MISSING = ("", "NA", "N/A", "#N/A", "<NA>", "NaN", "nan", "-nan", "NULL", "null", "None", "n/a")
"""What stands for a missing value in a column of numbers. Elsewhere only the empty cell does."""

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_WHOLE = r"^-?(0|[1-9][0-9]*)$"
_WHOLE_FLOAT = r"^-?(0|[1-9][0-9]*)(\.0+)?$"
_DECIMAL_COMMA = r"^-?[0-9]*(,[0-9]+)?([eE][-+]?[0-9]+)?$"


@dataclass(frozen=True)
class CsvColumn:
    """One column of a CSV."""

    cells: Any
    """The cells as text, an arrow array."""
    separator: str

    def values(self) -> NDArray[Any]:
        """Numbers or booleans where every cell is one, else text with None for empty cells."""
        import pyarrow as pa
        import pyarrow.compute as pc

        trimmed = pc.utf8_trim_whitespace(self.cells)
        missing = pc.is_in(trimmed, value_set=pa.array(MISSING))
        if not pc.any(missing).as_py():
            whole = _cast(trimmed, pa.int64())
            if whole is not None:
                return whole
            if pc.all(pc.is_in(trimmed, value_set=pa.array(["True", "False", "true", "false"]))).as_py():
                return _numpy(pc.equal(pc.utf8_lower(trimmed), "true"))
        numbers = pc.if_else(missing, pa.scalar(None, pa.string()), trimmed)
        if self.separator == ";" and pc.all(pc.match_substring_regex(numbers, _DECIMAL_COMMA)).as_py():
            numbers = pc.replace_substring(numbers, ",", ".")
        floats = _cast(numbers, pa.float64())
        # A column of NA alone names things; it holds no numbers.
        if floats is None or (np.isnan(floats).all() and not pc.all(pc.equal(trimmed, "")).as_py()):
            return self._with_none(self.cells)
        return floats

    def text(self) -> NDArray[Any]:
        """The exact text, None for empty cells; whole numbers written `7.0` throughout become `7`."""
        import pyarrow.compute as pc

        if not pc.all(pc.match_substring_regex(self.cells, _WHOLE_FLOAT)).as_py():
            return self._with_none(self.cells)
        return self._with_none(pc.replace_substring_regex(self.cells, r"\.0+$", ""))

    @staticmethod
    def _with_none(cells: Any) -> NDArray[Any]:
        values = _numpy(cells).astype(object)
        values[values == ""] = None
        return values


def read_csv(path: Path) -> dict[str, CsvColumn]:
    """The columns of a CSV (.csv, .csv.gz, .tsv): UTF-8 or UTF-16, separated by commas, semicolons, tabs or bars.

    The separator is the one that divides the header. Raises DataError that names the separator or the encoding.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    text = _decoded(path)
    separator, names = _header(path, text)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{path} has several columns named {repeated[:3]}: give every column its own name")
    try:
        table = arrow_csv.read_csv(
            io.BytesIO(text.encode("utf-8")),
            read_options=arrow_csv.ReadOptions(use_threads=False),
            parse_options=arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(
            f"{path} is not a CSV separated by {separator!r}, as its header is ({reason}): "
            "write every row with as many cells as the header"
        ) from error
    columns = {name: table.column(name) for name in names}
    if len(names) > 1 and all(name.startswith(" ") for name in names[1:]):
        import pyarrow.compute as pc

        columns = {name.strip(): pc.utf8_trim_whitespace(cells) for name, cells in columns.items()}
    return {name: CsvColumn(cells, separator) for name, cells in columns.items()}


def _decoded(path: Path) -> str:
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.name.lower().endswith(".gz") else data
    except FileNotFoundError:
        raise DataError(f"no file {path}: correct the path") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}): write it again, or name it by what it is") from error
    encoding = "utf-16" if data.startswith(_UTF16) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not {encoding.removesuffix('-sig').upper()} text ({error.reason} at byte {error.start}): "
            "save it as UTF-8"
        ) from error
    if "\0" in text:
        raise DataError(f"{path} holds zero bytes, as UTF-16 without its mark does: save it as UTF-8")
    if not text.strip():
        raise DataError(f"{path} is not a CSV file, it is empty: check what wrote it")
    return text


def _header(path: Path, text: str) -> tuple[str, list[str]]:
    """The separator and the names of the columns."""
    divided = {
        separator: next(csv.reader(io.StringIO(text.lstrip("\r\n")), delimiter=separator)) for separator in SEPARATORS
    }
    if ".tsv" in path.name.lower():
        return "\t", divided["\t"]
    separator = "," if len(divided[","]) > 1 else max(SEPARATORS, key=lambda each: len(divided[each]))
    return separator, divided[separator]


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
