"""Digests of arrays, JSON values and files, by which equal inputs are recognised.

A digest is the first 16 hex digits of a SHA-256.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def digest(*parts: Any) -> str:
    """First 16 hex digits of the SHA-256 over arrays (dtype, shape, bytes) and JSON-able values, in order."""
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            for piece in _pieces(part):
                sha.update(piece)
        else:
            sha.update(json.dumps(part, sort_keys=True, allow_nan=False).encode())
        sha.update(b"\x00")
    return sha.hexdigest()[:16]


def _pieces(array: np.ndarray[Any, Any]) -> Iterator[bytes | memoryview]:
    """What stands for an array in a digest, part by part, so that a large one is not copied as a whole."""
    is_text = array.dtype.kind == "U"
    if not is_text:
        yield f"{array.dtype.str}{array.shape}".encode()
    if array.ndim == 0 or (array.flags.c_contiguous and not is_text):
        yield json.dumps(array.tolist()).encode() if is_text else np.ascontiguousarray(array).data
        return
    # Unicode widths depend on the longest string of the whole array; a list of them in JSON does not.
    for start in range(0, len(array), _BLOCK_ROWS):
        block = array[start : start + _BLOCK_ROWS]
        if is_text:
            yield (("[", ", ")[start > 0] + json.dumps(block.tolist())[1:-1]).encode()
        else:
            yield np.ascontiguousarray(block).data
    if is_text:
        yield b"]" if len(array) else b"[]"


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
