"""Write docs/settings.md: every key of an experiment file, from the settings' own fields and docstrings.

    python docs/make_settings.py

A test fails when the page and the code differ.
"""

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from foldstill.pipeline.experiment import KINDS, Experiment
from foldstill.settings import ByKind, TextInFile, settings_classes

PAGE = Path(__file__).with_name("settings.md")

HEAD = """# Every key of an experiment file

Made from the code by `python docs/make_settings.py`. An experiment is one TOML file. An unknown key is an error that
names its path in the file. A top-level `[recipe]` table holds defaults for the recipe of every member and of the
student.

Two keys recur. `kind` selects the table's class: a section that begins with `kind = "..."` describes one of the
alternatives. `name` is the name in tables, folders and reports; it is the kind when it is not set.
"""


def field_docs(kind: type) -> dict[str, str]:
    """The string that follows each field in the source of a class, or of the class that the field is inherited from."""
    docs = {}
    for owner in reversed([each for each in kind.__mro__ if "__dataclass_fields__" in vars(each)]):
        (tree,) = ast.parse(inspect.cleandoc(inspect.getsource(owner))).body
        assert isinstance(tree, ast.ClassDef)
        for field, after in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
                assert isinstance(after.value, ast.Constant)
                docs[field.target.id] = " ".join(str(after.value.value).split())
    return docs


def description(kind: type) -> str:
    """The docstring of a class without its numpydoc sections."""
    return re.split(r"\n\n\w[\w ]*\n---", inspect.cleandoc(kind.__doc__ or ""))[0]


def in_a_file(hint: Any) -> bool:
    """Whether a file can hold a value of a hint: nothing and functions are for Python alone."""
    return hint is not type(None) and get_origin(hint) is not Callable


def named(hint: Any) -> str:
    """A hint as a reader of TOML would say it."""
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *marks = get_args(hint)
        for kinds in (mark.kinds for mark in marks if isinstance(mark, ByKind) and mark.kinds):
            return f"any [{kinds}](#kinds-of-{kinds})" if isinstance(kinds, str) else named(Union[*kinds])
        return "text" if any(isinstance(mark, TextInFile) for mark in marks) else named(inner)
    if origin is Literal:
        return ", ".join(f'"{value}"' for value in get_args(hint))
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(named(part) for part in get_args(hint) if in_a_file(part)))
    if origin is tuple:
        inner = [part for part in get_args(hint) if part is not Ellipsis]
        return f"list of {' or '.join(dict.fromkeys(named(part) for part in inner))}"
    if dataclasses.is_dataclass(hint):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    plain = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
    return plain.get(getattr(hint, "__name__", ""), "table")


def default(field: "dataclasses.Field[Any]") -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "required"
    if dataclasses.is_dataclass(value) or (isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value))):
        names = [
            getattr(v, "name", "") or getattr(v, "kind", "") for v in (value if isinstance(value, tuple) else (value,))
        ]
        return ", ".join(n for n in names if n) or "its defaults"
    if value is None:
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value!r}`" if value not in ("", (), {}) else "none"


def introduction(kind: type) -> str:
    """What a class is: how a file selects it, its title, and its docstring."""
    selected = next((f.default for f in dataclasses.fields(kind) if f.name == "kind"), None)
    if selected is None:
        return description(kind)
    title = getattr(kind, "title", "")
    heading = f'`kind = "{selected}"`' + (f": {title}." if title else ".")
    return f"{heading}\n\n{description(kind)}"


def rows_of(kind: type) -> list[str]:
    """One line of the table per key, required ones first.

    `kind` and `name` are left out where they mean what they mean everywhere.
    """
    hints, docs = get_type_hints(kind, include_extras=True), field_docs(kind)
    lines = []
    for field in sorted(dataclasses.fields(kind), key=lambda field: default(field) != "required"):
        if field.name not in docs and field.name in ("kind", "name") and field.default is not dataclasses.MISSING:
            continue
        meaning = docs.get(field.name, "Name in tables, folders and reports." if field.name == "name" else "")
        cells = (f"`{field.name}`", named(hints[field.name]), default(field), meaning)
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return lines


def page() -> str:
    lines = [HEAD]
    for kind in settings_classes(Experiment, KINDS):
        lines += [f"## {kind.__name__}", "", introduction(kind), ""]
        if rows := rows_of(kind):
            lines += ["| key | is | default | meaning |", "| --- | --- | --- | --- |", *rows, ""]
    for kinds_name, kinds in KINDS.items():
        lines += [f"## Kinds of {kinds_name}", "", "| `kind` | settings | summary |", "| --- | --- | --- |"]
        lines += [f'| `"{kind.kind}"` | {named(kind)} | {kind.summary} |' for kind in kinds]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE} is written")
