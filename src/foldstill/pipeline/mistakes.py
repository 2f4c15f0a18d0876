"""Sentences about the mistakes in an experiment file, each with its path in the file."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from foldstill.settings import Kinds, kinds_of_table, settings_classes

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


def sentences(error: "ValidationError", raw: Any, written: Any, settings: type, kinds: Kinds) -> list[str]:
    """One sentence per mistake.

    `raw` is the parsed file with shared tables filled in, as it was checked; `written` is the file as the user wrote
    it. `settings` is the class of the file, and `kinds` are the classes that its tables select. A mistake in a table
    that several others share is one mistake. Where a key belongs to a kind that its table does not name, what the
    default kind lacks there is no mistake.
    """
    keys = sorted({each.name for one in settings_classes(settings, kinds) for each in fields(one)})
    details = [(detail, _steps(detail, raw)) for detail in error.errors()]
    foreign, without_kind = dict[int, str](), []
    for i, (detail, path) in enumerate(details):
        if detail["type"] in _UNKNOWN:
            table = _value_at(written, _path_in_file(path, written)[:-1])
            classes = kinds_of_table(settings, kinds, raw, path[:-1]) or [
                # The keys of a learner stand in the table of its student; a network has its own keys there.
                one
                for one in kinds_of_table(settings, kinds, raw, [*path[:-1], "learner"])
                if not hasattr(one, "build")
            ]
            if isinstance(table, Mapping) and (owners := _kinds_with(path[-1], table, classes)):
                foreign[i] = _foreign_key(owners, table.get("kind", ""))
                without_kind += [path[:-1]] if "kind" not in table else []
    lines = []
    for i, (detail, path) in enumerate(details):
        if detail["type"] not in _MISSING or path[:-1] not in without_kind:
            problem = foreign[i] if i in foreign else _problem(detail, path, keys)
            lines.append(_at_place(_path_in_file(path, written), problem, written))
    return list(dict.fromkeys(lines))


_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_MISSING = ("missing", "missing_argument")


def _steps(detail: "ErrorDetails", raw: Any) -> list[str]:
    """The path of a mistake in the file that was checked."""
    path, value = [], raw
    for step in detail["loc"]:
        # pydantic puts the kind of a union into the path; the file has no such key.
        if isinstance(value, Mapping) and step not in value and value.get("kind") == step:
            continue
        path.append(str(step))
        value = value[step] if _holds(value, step) else None
    return [*path, "kind"] if detail["type"] == "union_tag_invalid" else path


def _kinds_with(key: str, table: Mapping[str, Any], classes: Sequence[Any]) -> list[str]:
    """The kinds of a table that have this key and every other key of the table that any kind has.

    Where there are none and the table names no kind, those that have this key.
    """
    keys_of = {one.kind: {each.name for each in fields(one)} for one in classes}
    owners = [kind for kind, keys in keys_of.items() if key in keys]
    known = set(table) & set().union(*keys_of.values())
    return [kind for kind in owners if known <= keys_of[kind]] or ([] if "kind" in table else owners)


def _foreign_key(owners: Sequence[str], own: str) -> str:
    """The sentence about a key of other kinds, in a table of the kind `own`, or of none."""
    *others, last = (f'"{kind}"' for kind in owners)
    kinds = f"kind = {', '.join(others)} or {last}" if others else f"kind = {last}"
    if own:
        return f'is a key of {kinds}, not of kind = "{own}"; change the kind, or leave the key out'
    return f"is a key of {kinds}; add {'the one that you mean' if others else kinds}"


def _problem(detail: "ErrorDetails", path: Sequence[str], keys: Sequence[str]) -> str:
    """What is wrong at a path of the file."""
    match detail["type"]:
        case kind if kind in _UNKNOWN:
            # A key of this very name belongs to another table.
            near = difflib.get_close_matches(path[-1], [key for key in keys if key != path[-1]], n=1)
            elsewhere = path[-1] in keys
            return "no such key" + (" in this table" if elsewhere else f"; did you mean {near[0]}?" if near else "")
        case "union_tag_invalid":
            kinds = detail["ctx"]["expected_tags"].replace("'", "").split(", ")
            near = difflib.get_close_matches(detail["ctx"]["tag"], kinds, n=1)
            return f"no kind {detail['ctx']['tag']!r}; " + (
                f"did you mean {near[0]}?" if near else f"the kinds are {', '.join(kinds)}"
            )
        case "union_tag_not_found":
            return f"needs a table with a `kind`, got {_shown(detail['input'])}"
        case kind if kind in _MISSING:
            return "is required and missing"
        case "value_error":
            return detail["msg"].removeprefix("Value error, ")
        case _:
            return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, got {_shown(detail['input'])}"


def _at_place(path: list[str], problem: str, written: Any) -> str:
    """A problem after its path in the file, and after the name of the innermost item of a list, where it has one."""
    if not path:
        return problem
    for end in range(len(path), 1, -1):
        item = _value_at(written, path[:end]) if path[end - 1].isdigit() else None
        if isinstance(item, Mapping) and isinstance(name := item.get("name"), str):
            # What an item says about itself names it already.
            owner = "" if repr(name) in problem else f" ({path[end - 2]} {name!r})"
            return f"{'.'.join(path)}{owner}: {problem}"
    return f"{'.'.join(path)}: {problem}"


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
    return next((candidate for candidate in candidates if _value_at(written, candidate) is not None), path)


def _value_at(value: Any, path: list[str]) -> Any:
    """What a file holds at a path; None, which no file holds, where there is nothing."""
    for step in path:
        key: Any = int(step) if isinstance(value, list) and step.isdigit() else step
        if not _holds(value, key):
            return None
        value = value[key]
    return value


def _holds(value: Any, step: Any) -> bool:
    if isinstance(value, Mapping):
        return step in value
    return isinstance(value, list) and isinstance(step, int) and step < len(value)
