"""JSON that foldstill writes: what is read again has the shape of what was written, and its seal."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, TypeAlias

from foldstill.errors import FoldstillError
from foldstill.files import write_text
from foldstill.seals import BLANK_SEAL, SEAL, check_seal

Kind: TypeAlias = type | tuple[type, ...]
Shape: TypeAlias = Kind | Mapping[str, Kind]
"""The type of a JSON value, or the types of the keys that a JSON object has at least."""


def write_json(path: Path, value: Any, *, sealed: bool = False) -> None:
    """Write JSON; a `sealed` value is an object, which `read_json` gives back without the seal."""
    content = value | {SEAL: BLANK_SEAL} if sealed else value
    write_text(path, json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n", sealed=sealed)


def read_json(
    path: Path,
    shape: Shape,
    *,
    sealed: bool = True,
    error: type[FoldstillError] = FoldstillError,
    cure: str = "make it again with the command that wrote it",
) -> Any:
    """Read JSON that foldstill wrote: every JSON file of a run is read here.

    `shape` is the type of the value or, for an object, the type of each key that it must have. Raises `error`, which
    names the file and ends with `cure`, for a file that is not JSON, has another shape, differs from its seal, or has
    none although it is `sealed`. FileNotFoundError is left to the caller.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as reason:
        raise error(f"{path} cannot be read ({reason.strerror}): {cure}") from reason
    value = parse_json(text, shape, path, error=error, cure=cure)
    is_object = isinstance(value, dict)
    check_seal(path, error=error, cure=cure, required=sealed or (is_object and SEAL in value))
    if is_object:
        value.pop(SEAL, None)
    return value


def parse_json(text: bytes, shape: Shape, path: Path, *, error: type[FoldstillError], cure: str) -> Any:
    """The value of a JSON text of a file, such as its metadata; see `read_json`."""
    try:
        value = json.loads(text.decode())
    except (ValueError, RecursionError) as reason:
        raise error(f"{path} is damaged, its JSON cannot be read ({reason}): {cure}") from reason
    check_shape(value, shape, path, error=error, cure=cure)
    return value


def check_shape(value: Any, shape: Shape, path: Path, *, error: type[FoldstillError], cure: str) -> None:
    """Raise `error`, which names the file and ends with `cure`, for a JSON value of another shape."""
    if not isinstance(shape, Mapping):
        _require_kind(value, shape, str(path), error, cure)
        return
    lacking = [key for key in shape if not isinstance(value, dict) or key not in value]
    if lacking:
        raise error(f"{path} must be a JSON object with the keys {list(shape)}, it lacks {lacking}: {cure}")
    _require_kind(value, dict, str(path), error, cure)
    for key, kind in shape.items():
        _require_kind(value[key], kind, f"{key!r} in {path}", error, cure)


def _require_kind(value: Any, kind: Kind, subject: str, error: type[FoldstillError], cure: str) -> None:
    if not isinstance(value, kind):
        names = " or ".join(_KINDS[one] for one in (kind if isinstance(kind, tuple) else (kind,)))
        raise error(f"{subject} must be {names}, got {json.dumps(value):.60}: {cure}")


_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    NoneType: "null",
}
"""What JSON calls a type."""
