"""Files that the settings of members name: found before anything is trained, and recorded by their content.

K folds. Importing this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from glob import escape, glob
from pathlib import Path
from typing import Any

from foldstill.base_models.module_code import Factory, ModuleCode, factory_digest, factory_name
from foldstill.digests import digest, file_digest
from foldstill.errors import MemberError

FOLD = "{fold}"
"""Stands in a path for the number of a fold, where there is one file per fold."""


def require_file(member: str, setting: str, path: str | Path) -> Path:
    """The path as a path; raises MemberError that names the member and its setting where no file is."""
    if not Path(path).is_file():
        raise MemberError(f"member {member!r}: no file {path}, which `{setting}` names: correct the path")
    return Path(path)


def files_of_folds(member: str, setting: str, pattern: str, n_folds: int) -> list[Path]:
    """One file per fold; folds are numbered from 0, or from 1 where there is no file 0.

    Raises MemberError with the first file that is missing.
    """
    start = 0 if Path(pattern.replace(FOLD, "0")).is_file() or not Path(pattern.replace(FOLD, "1")).is_file() else 1
    numbers = range(start, start + n_folds)
    return [require_file(member, setting, pattern.replace(FOLD, str(number))) for number in numbers]


def settings_as_json(member: Any) -> dict[str, Any]:
    """The settings of a member as JSON values; a file is named without its folder, so that folders may move."""
    values: dict[str, Any] = asdict(member)
    for name in getattr(member, "files", ()):
        value = getattr(member, name)
        if isinstance(value, str):
            values[name] = Path(value).name
        elif callable(value):
            values[name] = factory_name(value)
    return values


def digests_of_files(member: Any, recorded: Mapping[str, str]) -> Mapping[str, str]:
    """Digest of the content of each file that the settings name, by the name of the setting.

    `recorded` are those in a folder of finished work, by which code is recognised that earlier versions recorded in
    another way. Raises MemberError for a file that is missing.
    """
    named = {name: getattr(member, name) for name in getattr(member, "files", ())}
    return {
        name: _content(member.name, name, value, recorded.get(name)) for name, value in named.items() if _is_file(value)
    }


def _is_file(value: Any) -> bool:
    return callable(value) or (isinstance(value, str) and bool(value))


def _content(member: str, setting: str, path: str | Factory, recorded: str | None) -> str:
    """Digest of the content of a file, of all files of a pattern, or of code."""
    if not isinstance(path, str):
        return factory_digest(path)
    if setting == "module":
        return factory_digest(ModuleCode.read(path), recorded)
    if FOLD not in path:
        return file_digest(require_file(member, setting, path))
    return digest(*(file_digest(Path(each)) for each in sorted(glob(escape(path).replace(FOLD, "*")))))
