"""Files that are either complete or absent, and what the system says when one cannot be written."""

import errno
import os
import re
import socket
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from foldstill.errors import FileError, FoldstillWarning
from foldstill.seals import BLANK_SEAL, SEAL, set_seal

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
