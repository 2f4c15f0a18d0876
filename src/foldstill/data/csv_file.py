"""CSV files: separator, encoding and header, and the cells as they are written, read in blocks of rows."""

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import dropwhile, tee
from pathlib import Path
from typing import Any

from foldstill.data.csv_column import CsvColumn, GrowingColumn
from foldstill.errors import DataError

SEPARATORS = (",", ";", "\t", "|")
_PIECE = 2**20
"""Bytes of a file that are decoded at a time."""
_BLOCK_BYTES = 2**20
"""Bytes whose rows become numbers at a time; a row must be shorter."""
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class CsvFile(Mapping[str, CsvColumn]):
    """The columns of a CSV (.csv, .csv.gz, .tsv): UTF-8 or UTF-16, separated by commas, semicolons, tabs or bars.

    The separator is the one that divides the header. Raises DataError that names the separator or the encoding; for
    rows of another length than the header when a column is first asked for, which reads them all, in blocks. The text
    of numbers that are not whole is dropped, and read again if it is asked for.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.encoding = _encoding(path)
        self.separator, self.names, self.has_rows = _header(path, self.encoding)
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            raise DataError(f"{path} has several columns named {repeated[:3]}: give every column its own name")

    def __getitem__(self, name: str) -> CsvColumn:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return map(self._shown, self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    @cached_property
    def _columns(self) -> dict[str, CsvColumn]:
        growing = self._grown()
        # One by one, so that the blocks of a column are gone before the next is made whole.
        return {self._shown(name): growing.pop(name).finished(partial(self._cells, name)) for name in self.names}

    @property
    def _is_padded(self) -> bool:
        """Whether a blank follows every separator."""
        return len(self.names) > 1 and all(name.startswith(" ") for name in self.names[1:])

    def _shown(self, name: str) -> str:
        """The name of a column without the blank that belongs to the separator."""
        return name.strip() if self._is_padded else name

    def _grown(self) -> dict[str, GrowingColumn]:
        """All columns. Where one turns out to be text when some of it was dropped, the file is read again."""
        kept: set[str] = set()
        while True:
            columns = {name: GrowingColumn(self.separator, keep_cells=name in kept) for name in self.names}
            refused = next((name for name, cells in self._blocks() if not columns[name].add(cells)), None)
            if refused is None:
                return columns
            kept.add(refused)

    def _cells(self, name: str) -> Any:
        """The text of one column, an arrow array."""
        import pyarrow as pa

        return pa.chunked_array([cells for _, cells in self._blocks([name])], pa.string())

    def _blocks(self, names: Sequence[str] = ()) -> Iterator[tuple[str, Any]]:
        """The named columns of each block of rows, all by default: the name, and the cells as text."""
        import pyarrow as pa
        import pyarrow.compute as pc
        from pyarrow import csv as arrow_csv

        try:
            with (
                _opened(self.path) as stream,
                arrow_csv.open_csv(
                    stream,
                    read_options=arrow_csv.ReadOptions(
                        use_threads=False, encoding=self.encoding, block_size=_BLOCK_BYTES
                    ),
                    parse_options=arrow_csv.ParseOptions(delimiter=self.separator, newlines_in_values=True),
                    convert_options=arrow_csv.ConvertOptions(
                        column_types=dict.fromkeys(self.names, pa.string()), include_columns=list(names)
                    ),
                ) as blocks,
            ):
                for block in blocks:
                    for name in names or self.names:
                        cells = block.column(name)
                        yield name, pc.utf8_trim_whitespace(cells) if self._is_padded else cells
        except pa.ArrowException as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise DataError(
                f"{self.path} is not a CSV separated by {self.separator!r}, as its header is ({reason}): "
                "write every row with as many cells as the header"
            ) from error


def _opened(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.GzipFile(path) if path.name.lower().endswith(".gz") else path.open("rb")


def _encoding(path: Path) -> str:
    """The encoding of a file of text; raises DataError for another file."""
    is_blank, position = True, 0
    try:
        with _opened(path) as stream:
            piece = stream.read(_PIECE)
            encoding = "utf-16" if piece.startswith(_UTF16) else "utf-8"
            decoder = codecs.getincrementaldecoder(encoding)()
            while True:
                # The bytes of a character that a piece cuts off come again with the next.
                position -= len(decoder.getstate()[0])
                text = decoder.decode(piece, final=not piece)
                if "\0" in text:
                    raise DataError(f"{path} holds zero bytes, as UTF-16 without its mark does: save it as UTF-8")
                is_blank = is_blank and not text.strip("\ufeff").strip()
                if not piece:
                    break
                position = stream.tell()
                piece = stream.read(_PIECE)
    except FileNotFoundError:
        raise DataError(f"no file {path}: correct the path") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not {encoding.upper()} text ({error.reason} at byte {position + error.start}): save it as UTF-8"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}): write it again, or name it by what it is") from error
    if is_blank:
        raise DataError(f"{path} is not a CSV file, it is empty: check what wrote it")
    return encoding


def _header(path: Path, encoding: str) -> tuple[str, list[str], bool]:
    """The separator, the names of the columns, and whether a row follows."""
    with (
        _opened(path) as stream,
        io.TextIOWrapper(stream, "utf-8-sig" if encoding == "utf-8" else encoding, newline="\n") as text,
    ):
        lines = dropwhile(lambda line: not line.strip("\r\n"), text)
        readers = {
            separator: csv.reader(each, delimiter=separator)
            for separator, each in zip(SEPARATORS, tee(lines, len(SEPARATORS)), strict=True)
        }
        divided = {separator: next(reader) for separator, reader in readers.items()}
        if ".tsv" in path.name.lower():
            separator = "\t"
        else:
            separator = "," if len(divided[","]) > 1 else max(SEPARATORS, key=lambda each: len(divided[each]))
        return separator, divided[separator], any(readers[separator])
