"""Tensors in one sealed safetensors file, with a JSON value in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from foldstill.errors import FoldstillError
from foldstill.files import atomic_write
from foldstill.seals import BLANK_SEAL, SEAL, check_seal


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors, and `about` (JSON values) in the header; the file is complete or absent."""
    from safetensors.torch import save

    # One key only: safetensors writes several in any order, and the same tensors must give the same bytes.
    metadata = {"foldstill": json.dumps({**about, SEAL: BLANK_SEAL}, sort_keys=True)}
    contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with atomic_write(path, sealed=True) as part:
        # Its `save_file` writes to a file of its own first, `.tmpXXXXXX`, which a kill would leave for ever.
        part.write_bytes(save(contiguous, metadata=metadata))


def read_tensors(
    path: Path, *, device: str = "cpu", error: type[FoldstillError], cure: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the JSON value in a file of `write_tensors`.

    Raises `error`, which ends with `cure`, for a file that is missing or differs from its seal.
    """
    from safetensors import safe_open

    if not path.is_file():
        raise error(f"no file {path}: {cure}")
    check_seal(path, error=error, cure=cure)
    with safe_open(path, framework="pt", device=device) as stream:
        about: dict[str, Any] = json.loads(stream.metadata()["foldstill"])
        tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 - safe_open is no mapping
    del about[SEAL]
    return tensors, about


def read_about(path: Path) -> dict[str, Any]:
    """The JSON value in the header of a file of `write_tensors`, without its tensors and its seal unchecked."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as stream:
        about: dict[str, Any] = json.loads(stream.metadata()["foldstill"])
    return about
