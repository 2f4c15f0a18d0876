"""Sentences about the mistakes in an experiment file, each with its path in the file."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


def sentences(error: "ValidationError", raw: Any, written: Any, classes: Sequence[Any]) -> list[str]:
    """One sentence per mistake.

    `raw` is the parsed file with shared tables filled in, as it was checked; `written` is the file as the user wrote
    it. `classes` are the settings classes whose keys can be suggested. A mistake in a table that several others share
    is one mistake.
    """
    keys = sorted({each.name for one in classes for each in fields(one)})
    return list(dict.fromkeys(_sentence(detail, raw, written, keys) for detail in error.errors()))


def _sentence(detail: "ErrorDetails", raw: Any, written: Any, keys: Sequence[str]) -> str:
    path, value = [], raw
    for step in detail["loc"]:
        # pydantic puts the kind of a union into the path; the file has no such key.
        if isinstance(value, Mapping) and step not in value and value.get("kind") == step:
            continue
        path.append(str(step))
        value = value[step] if _holds(value, step) else None
    dotted = ".".join(_path_in_file(path, written))
    match detail["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            # A key of this very name belongs to another table.
            near = difflib.get_close_matches(path[-1], [key for key in keys if key != path[-1]], n=1)
            elsewhere = path[-1] in keys
            return f"{dotted}: no such key" + (
                " in this table" if elsewhere else f"; did you mean {near[0]}?" if near else ""
            )
        case "union_tag_invalid":
            kinds = detail["ctx"]["expected_tags"].replace("'", "").split(", ")
            near = difflib.get_close_matches(detail["ctx"]["tag"], kinds, n=1)
            return f"{dotted}.kind: no kind {detail['ctx']['tag']!r}; " + (
                f"did you mean {near[0]}?" if near else f"the kinds are {', '.join(kinds)}"
            )
        case "union_tag_not_found":
            return f"{dotted}: needs a table with a `kind`, got {_shown(detail['input'])}"
        case "missing" | "missing_argument":
            return f"{dotted}: is required and missing"
        case "value_error":
            message = detail["msg"].removeprefix("Value error, ")
            return f"{dotted}: {message}" if dotted else message
        case _:
            return f"{dotted}: {detail['msg'][0].lower()}{detail['msg'][1:]}, got {_shown(detail['input'])}"


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) < 60 else text[:57] + "..."


def _path_in_file(path: list[str], written: Any) -> list[str]:
    """The path where the file says it: the path itself, in the [student] of an ablation, or in the shared [recipe]."""
    candidates = [path]
    if path[:1] == ["ablation"]:
        candidates.append(["student", *path[2:]])
    if "learner" in path:
        # The keys of a learner stand in the table of its student.
        return _path_in_file([step for step in path if step != "learner"], written)
    if "recipe" in path:
        candidates.append(path[path.index("recipe") :])
    return next((candidate for candidate in candidates if _exists(written, candidate)), path)


def _exists(value: Any, path: list[str]) -> bool:
    for step in path:
        key: Any = int(step) if isinstance(value, list) and step.isdigit() else step
        if not _holds(value, key):
            return False
        value = value[key]
    return True


def _holds(value: Any, step: Any) -> bool:
    if isinstance(value, Mapping):
        return step in value
    return isinstance(value, list) and isinstance(step, int) and step < len(value)
