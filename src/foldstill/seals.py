"""Seals, which show that a byte of a file changed after foldstill wrote it.

A seal is the SHA-256 of a file inside the file itself, computed while the seal was blank. It stands in the metadata of
parquet, safetensors and ONNX files, or under a key of JSON, so a sealed file is checked wherever it is copied.
"""

import hashlib
from pathlib import Path
from typing import BinaryIO

from foldstill.errors import FoldstillError

SEAL = "foldstill_seal"
"""Key of the seal in metadata and JSON."""
_MARK = b"foldstill-sha256:"
BLANK_SEAL = f"{_MARK.decode()}{'0' * 64}"
"""What a writer puts under the key before the file is sealed."""
_PIECE = 2**20
"""Bytes of a file that are read at a time."""


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
