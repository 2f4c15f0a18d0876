"""Fields of an experiment file changed from outside, by `--set` or by a search: the same text, other values."""

from collections.abc import Mapping, Sequence
from typing import Any

from foldstill.errors import ExperimentError


def with_values(text: str, values: Mapping[str, Any]) -> str:
    """A TOML text with some fields changed by their dotted place, comments and order kept.

    >>> print(with_values('[recipe]\\nlr = 0.1 # high', {"recipe.lr": 0.01}))
    [recipe]
    lr = 0.01 # high

    Raises ExperimentError for a place that leads into a plain value, or to an item that a list does not have.
    """
    import tomlkit

    document = tomlkit.parse(text)
    for field, value in values.items():
        *steps, last = field.split(".")
        node: Any = document
        for i, step in enumerate(steps):
            node = _child(node, step, ".".join(steps[: i + 1]))
        if not isinstance(node, dict):
            raise ExperimentError(f"{field}: {last!r} must be a key of a table")
        node[last] = value
    return tomlkit.dumps(document)


def with_changes(text: str, changes: Sequence[str]) -> str:
    """A TOML text with fields changed as `FIELD=VALUE` says; a value is TOML, or else a text that needs no quotes.

    >>> print(with_changes('[recipe]\\nschedule = "step"', ["recipe.schedule=cosine", "recipe.lr=1e-3"]))
    [recipe]
    schedule = "cosine"
    lr = 1e-3
    """
    values = {}
    for change in changes:
        field, equals, value = (part.strip() for part in change.partition("="))
        if not equals or not all(field.split(".")):
            raise ExperimentError(f"--set wants FIELD=VALUE, such as recipe.epochs=5, got {change!r}")
        values[field] = _value(field, value)
    return with_values(text, values)


def _value(field: str, said: str) -> Any:
    import tomlkit
    from tomlkit.exceptions import ParseError

    try:
        return tomlkit.value(said)
    except ParseError as error:
        if said.startswith(("[", "{", '"', "'")):
            raise ExperimentError(f"--set {field}={said}: the value is not valid TOML ({error})") from None
        return said


def _child(node: Any, step: str, place: str) -> Any:
    """What a step of a dotted place leads to: a table, made when it is not there, or an item by name or number."""
    import tomlkit
    from tomlkit.items import InlineTable

    if isinstance(node, list):
        names = [item.get("name", "") for item in node if isinstance(item, dict)]
        if step in names:
            return node[names.index(step)]
        if step.isdigit() and int(step) < len(node):
            return node[int(step)]
        raise ExperimentError(f"{place}: the list has no {step!r}, it has {names}: name one, or give a number")
    if not isinstance(node, dict):
        raise ExperimentError(f"{place}: {step!r} lies inside a plain value, not in a table")
    if step not in node:
        node[step] = tomlkit.inline_table() if isinstance(node, InlineTable) else tomlkit.table()
    return node[step]
