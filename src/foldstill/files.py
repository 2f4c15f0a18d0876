"""Files that are either complete or absent, digests of their content, and seals that show a changed byte.

A seal is the SHA-256 of a file inside the file itself, computed while the seal was blank. It stands in the metadata of
parquet, safetensors and ONNX files, or under a key of JSON, so a sealed file is checked wherever it is copied.
"""

import csv
import errno
import hashlib
import io
import json
import os
import re
import socket
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias

import numpy as np

from foldstill.errors import FileError, FoldstillError, FoldstillWarning

if TYPE_CHECKING:
    import pandas as pd

Table: TypeAlias = "pd.DataFrame | Mapping[str, Any] | Sequence[Mapping[str, Any]]"
"""A pandas frame, column name -> values, or one mapping per line."""

CAUSES = {
    errno.ENOSPC: "the disk is full: free some space and run the command again",
    errno.EDQUOT: "the disk quota is used up: free some space and run the command again",
    errno.EFBIG: "the file would be larger than this system allows: write it to another disk",
    errno.EACCES: "permission denied: choose another path, or change its permissions",
    errno.EPERM: "permission denied: choose another path, or change its permissions",
    errno.EROFS: "the disk is read-only: choose another path",
    errno.EISDIR: "it is a folder: give the path of a file",
    errno.ENOTDIR: "a part of the path is a file, not a folder: choose another path",
    errno.EEXIST: "a file is where a folder should be: choose another path",
    errno.ENAMETOOLONG: "the name is too long: give a shorter one",
    errno.ENOENT: "there is no such file: correct the path",
    errno.EMFILE: "too many files are open: use fewer processes, or raise the limit (ulimit -n)",
    errno.ENOMEM: "not enough memory: use fewer processes",
}
"""What an error number of the system means and what to do about it."""


def file_error(error: Exception, path: Path | None = None) -> FileError:
    """The error of the system about a file, as one sentence with its cure; `path` is the file that is meant."""
    number = _error_number(error)
    subject = path or (error.filename if isinstance(error, OSError) else None)
    cause = CAUSES.get(number or 0) or f"{str(error).rstrip('.')}: check the file and the disk"
    return FileError(f"{subject}: {cause}" if subject else cause[0].upper() + cause[1:])


def _error_number(error: Exception) -> int | None:
    """The error number of the system; writers such as safetensors and pyarrow keep it in the text of their errors."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if "no space left on device" in str(error).lower():
        return errno.ENOSPC
    number = re.search(r"\b(?:os error|errno) (\d+)", str(error))
    return int(number[1]) if number else None


def check_output(path: Path, suffixes: Sequence[str] = (), *, inputs: Sequence[Path] = ()) -> None:
    """Raise FileError unless a file can be written at `path`; called before any work is done.

    `suffixes` are those of the formats that can be written, all when empty. `inputs` are files that must not be
    replaced because the command reads them. A missing parent folder is fine: it is made.
    """
    part = _part(path)
    if suffixes and path.suffix not in suffixes:
        raise FileError(
            f"{path}: the suffix of an output chooses its format and must be one of {', '.join(suffixes)}: rename it"
        )
    try:
        if path.is_dir():
            raise FileError(f"{path}: {CAUSES[errno.EISDIR]}")
        with suppress(FileNotFoundError, NotADirectoryError):
            part.lstat()  # shows a name that is too long
        folder = next((each for each in path.absolute().parents if each.exists()), path.parent)
        if not folder.is_dir():
            raise FileError(f"{path}: {folder} is a file, not a folder: choose another path")
        if not os.access(folder, os.W_OK):
            raise FileError(f"{path}: {CAUSES[errno.EACCES]}")
        for source in inputs:
            if path.exists() and source.exists() and path.samefile(source):
                raise FileError(f"{path} is an input of this command and would be replaced: choose another output")
    except OSError as error:
        raise file_error(error, path) from error


def refuse_unmarked(path: Path, marked: bool, *, force: bool) -> None:
    """Raise FileError where a file at `path` holds no mark of foldstill; with `force`, warn that it is replaced."""
    if marked or not path.exists():
        return
    if not force:
        raise FileError(
            f"{path} exists, and nothing in it says that foldstill wrote it: name another output, or use --force to "
            "replace it"
        )
    warnings.warn(f"{path} is replaced, as --force says", FoldstillWarning, stacklevel=2)


def name_problems(kind: str, names: Sequence[str]) -> list[str]:
    """One sentence per name that cannot safely name a file or folder; empty when all can.

    Names of up to 100 bytes contain no separator or control character, begin with no dot, begin and end with no blank,
    and differ in more than upper and lower case.

    >>> for problem in name_problems("member", ["a", "..", "A"]):
    ...     print(problem)
    member name '..' begins with a dot and cannot name a folder: rename it
    member names 'a' and 'A' differ only in case: rename one
    """
    problems, known = [], dict[str, str]()
    for name in names:
        separators = sorted({c for c in name if c in "/\\" or not c.isprintable()})
        faults = {
            "is empty": not name.strip(),
            f"contains {' '.join(map(repr, separators))}": bool(separators),
            "begins with a dot": name.startswith("."),
            "begins or ends with a blank": name != name.strip(),
            f"has {len(name.encode())} bytes, more than 100": len(name.encode()) > 100,
        }
        problems += [
            f"{kind} name {name!r} {fault} and cannot name a folder: rename it"
            for fault, found in faults.items()
            if found
        ][:1]
        before = known.setdefault(name.casefold(), name)
        if before != name:
            problems.append(f"{kind} names {before!r} and {name!r} differ only in case: rename one")
    return problems


SEAL = "foldstill_seal"
"""Key of the seal in metadata and JSON."""
_MARK = b"foldstill-sha256:"
BLANK_SEAL = f"{_MARK.decode()}{'0' * 64}"
"""What a writer puts under the key before the file is sealed."""
_PIECE = 2**20
"""Bytes of a file that are read at a time."""


@contextmanager
def atomic_write(path: Path, *, sealed: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to `path` when the block succeeds and removed when it fails.

    The content is on the disk before the name is, and the name before this returns: a power cut leaves the old file or
    the new one. With `sealed`, the block writes `BLANK_SEAL` once, and the digest of the file takes its place. The file
    gets the permissions of an ordinary new file, also when its writer restricts them, as safetensors does. Raises
    FileError when the system refuses, for example because the disk is full.
    """
    part = _part(path)
    try:
        make_folder(path.parent)
        # The permissions of an ordinary new file: reading the umask itself would change it for every thread.
        part.touch()
        mode = part.stat().st_mode
        part.unlink()
        yield part
        if part.stat().st_mode != mode:
            part.chmod(mode)
        if sealed:
            set_seal(part)
        sync(part)
        os.replace(part, path)
        sync(path.parent)
    except Exception as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) or _error_number(error) is not None:
            raise file_error(error, path) from error
        raise
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class Inside:
    """A property that gives a path inside the folder of its owner, which is its `root`.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Shop:
    ...     root: Path
    ...     prices = Inside("prices.csv")
    >>> Shop(Path("shops/a")).prices.as_posix()
    'shops/a/prices.csv'
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def __get__(self, owner: "_Folder", _: type) -> Path:
        return owner.root / self.path


class _Folder(Protocol):
    @property
    def root(self) -> Path: ...


def _part(path: Path) -> Path:
    """The temporary path; its suffix stays last, because some writers choose their format by it."""
    if not path.name:
        raise FileError(f"the path of an output must name a file, got {str(path)!r}: give the path of a file")
    return path.with_name(f".{path.stem}.{_host()}.{os.getpid()}.part{path.suffix}")


@cache
def _host() -> str:
    """The name of this machine in file names: processes of two machines may have the same number."""
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:32]


def is_part(name: str) -> bool:
    """Whether a file has the name of a temporary file of `atomic_write`.

    >>> is_part(".oof.laptop.4711.part.parquet"), is_part(".hidden.part"), is_part("oof.parquet")
    (True, False, False)
    """
    return re.fullmatch(r"\..+\.\d+\.part(\.[^.]+)?", name) is not None


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents so that they survive a power cut."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name != "posix":
        return  # only POSIX opens folders
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str, *, sealed: bool = False) -> None:
    with atomic_write(path, sealed=sealed) as part:
        part.write_text(text, encoding="utf-8")


def set_seal(path: Path) -> None:
    """Put the digest of a file in the place of its blank seal."""
    with path.open("r+b") as stream:
        start = _find(stream, BLANK_SEAL.encode())
        assert start >= 0, "a sealed file contains the blank seal"
        seal = _digest_without_seal(stream, start + len(_MARK))
        stream.seek(start + len(_MARK))
        stream.write(seal)


def _find(stream: BinaryIO, wanted: bytes) -> int:
    """Position of the first `wanted` in a file, -1 without one.

    The file is read in pieces and not mapped: pages of a mapped file count as memory of the process.
    """
    stream.seek(0)
    position, end = 0, b""
    while piece := stream.read(_PIECE):
        found = (end + piece).find(wanted)
        if found >= 0:
            return position - len(end) + found
        position += len(piece)
        end = (end + piece)[1 - len(wanted) :]
    return -1


def _digest_without_seal(stream: BinaryIO, begin: int) -> bytes:
    """Digest of a file with zeros in the place of the digest at `begin`."""
    sha = hashlib.sha256()
    stream.seek(0)
    for start in range(0, begin, _PIECE):
        sha.update(stream.read(min(_PIECE, begin - start)))
    sha.update(b"0" * 64)
    stream.seek(begin + 64)
    while piece := stream.read(_PIECE):
        sha.update(piece)
    return sha.hexdigest().encode()


def check_seal(path: Path, *, error: type[FoldstillError], cure: str, required: bool = True) -> bool:
    """Whether a file is sealed; raises `error`, which ends with `cure`, if a byte changed after it was.

    Also raised for a file without a seal when one is `required`. Each file is read once, until it changes.
    """
    status = path.stat()
    version = (str(path.absolute()), status.st_ino, status.st_size, status.st_mtime_ns)
    if version not in _CHECKED:
        _CHECKED[version] = _seal_holds(path)
    holds = _CHECKED[version]
    if holds is False or (holds is None and required):
        happened = "has no seal" if holds is None else "does not have the bytes of its seal"
        raise error(f"{path} {happened}, so it was damaged or changed after foldstill wrote it: {cure}")
    return bool(holds)


_CHECKED: dict[tuple[str, int, int, int], bool | None] = {}


def _seal_holds(path: Path) -> bool | None:
    """Whether the bytes are those that were sealed; None for a file without a seal."""
    if path.stat().st_size < len(BLANK_SEAL):
        return None
    with path.open("rb") as stream:
        start = _find(stream, _MARK)
        if start < 0:
            return None
        begin = start + len(_MARK)
        stream.seek(begin)
        return stream.read(64) == _digest_without_seal(stream, begin)


def write_parquet(path: Path, table: Any, *, further: Iterable[Any] = (), **options: Any) -> None:
    """Write an Arrow table as a sealed parquet file, with the options of `pyarrow.parquet.ParquetWriter`.

    Rows of `further` tables with the same columns follow.
    """
    import pyarrow.parquet as pq

    with atomic_write(path, sealed=True) as part, pq.ParquetWriter(part, table.schema, **options) as writer:
        for rows in chain([table], further):
            writer.write_table(rows)
        # In the metadata of the file and not of the schema, which parquet keeps twice.
        writer.add_key_value_metadata({SEAL: BLANK_SEAL})


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


def digest(*parts: Any) -> str:
    """First 16 hex digits of the SHA-256 over arrays (dtype, shape, bytes) and JSON-able values, in order."""
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            # Unicode widths depend on the longest string of the whole array; joined text does not.
            if part.dtype.kind == "U":
                sha.update(json.dumps(part.tolist()).encode())
            else:
                sha.update(f"{part.dtype.str}{part.shape}".encode())
                sha.update(np.ascontiguousarray(part).data)
        else:
            sha.update(json.dumps(part, sort_keys=True, allow_nan=False).encode())
        sha.update(b"\x00")
    return sha.hexdigest()[:16]


def rows_digest(array: np.ndarray[Any, Any], rows: Sequence[int] | np.ndarray[Any, Any]) -> str:
    """What `digest` gives for these rows of an array, without a copy of all of them.

    >>> array = np.arange(12.0).reshape(4, 3)
    >>> rows_digest(array, [3, 1]) == digest(array[[3, 1]])
    True
    """
    sha, index = hashlib.sha256(), np.asarray(rows)
    sha.update(f"{array.dtype.str}{(len(index), *array.shape[1:])}".encode())
    for start in range(0, len(index), _BLOCK_ROWS):
        sha.update(np.ascontiguousarray(array[index[start : start + _BLOCK_ROWS]]).data)
    sha.update(b"\x00")
    return sha.hexdigest()[:16]


_BLOCK_ROWS = 256


def npy_digest(path: Path) -> tuple[str, str]:
    """What `file_digest` gives for a `.npy` file, and `digest` for its array; the file is read once, not mapped."""
    whole, values = hashlib.sha256(), hashlib.sha256()
    with path.open("rb") as stream:
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, in_columns, dtype = read_header[np.lib.format.read_magic(stream)](stream)
        assert not in_columns, "an array that foldstill writes has its rows one after the other"
        begin = stream.tell()
        stream.seek(0)
        whole.update(stream.read(begin))
        values.update(f"{dtype.str}{shape}".encode())
        while block := stream.read(_BLOCK_BYTES):
            whole.update(block)
            values.update(block)
    values.update(b"\x00")
    return whole.hexdigest()[:16], values.hexdigest()[:16]


_BLOCK_BYTES = 2**22


def file_digest(path: Path) -> str:
    """First 16 hex digits of the SHA-256 of a file's bytes; a file is read once, until it changes."""
    status = path.stat()
    version = (str(path.absolute()), status.st_ino, status.st_size, status.st_mtime_ns)
    if version not in _DIGESTS:
        with path.open("rb") as stream:
            _DIGESTS[version] = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    return _DIGESTS[version]


_DIGESTS: dict[tuple[str, int, int, int], str] = {}
