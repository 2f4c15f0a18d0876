"""Files that are whole or absent, and digests of what is in them."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that becomes `path` by rename when the block ends well, and is removed when not.

    It may be read by whoever may read other new files, also where its writer keeps it to the owner, as safetensors does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: some writers choose their format by it.
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    # What an ordinary new file may be read by: the umask itself cannot be asked without setting it for every thread.
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
