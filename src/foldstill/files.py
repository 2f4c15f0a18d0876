"""Files that are either complete or absent, and digests of their content."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Table: TypeAlias = "pd.DataFrame | Mapping[str, Any] | Sequence[Mapping[str, Any]]"
"""A pandas frame, column name -> values, or one mapping per line."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to `path` when the block succeeds and removed when it fails.

    The file gets the permissions of an ordinary new file, also when its writer restricts them, as safetensors does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: some writers choose their format by it.
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    # The permissions of an ordinary new file: reading the umask itself would change it for every thread.
    part.touch()
    mode = part.stat().st_mode
    part.unlink()
    try:
        yield part
        if part.stat().st_mode != mode:
            part.chmod(mode)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


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


def file_digest(path: Path) -> str:
    """First 16 hex digits of the SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
