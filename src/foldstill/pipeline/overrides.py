"""Fields of an experiment file changed on the command line or by a search: the same text with other values."""

from collections.abc import Mapping, Sequence
from typing import Any

from foldstill.errors import ExperimentError


def with_values(text: str, values: Mapping[str, Any]) -> str:
    """A TOML text in which some fields have other values; comments and order are kept.

    A field is a dotted path; an item of a list is named by its `name` or by its number.

    >>> print(with_values('[recipe]\\nlr = 0.1 # high', {"recipe.lr": 0.01}))
    [recipe]
    lr = 0.01 # high

    Raises ExperimentError for a path through a plain value, or to an item that a list does not have.
    """
    import tomlkit

    document = tomlkit.parse(text)
    for field, value in values.items():
        *steps, last = field.split(".")
        node: Any = document
        for i, step in enumerate(steps):
            node = _child(node, step, ".".join(steps[: i + 1]))
        if not isinstance(node, dict):
            raise ExperimentError(
                f"{field}: {last!r} must be a key of a table, and it lies inside {type(node).__name__}"
            )
        node[last] = value
    return tomlkit.dumps(document)


def with_changes(text: str, changes: Sequence[str]) -> str:
    """A TOML text with fields changed as `FIELD=VALUE` says; a value is TOML, or a text without quotes.

    >>> print(with_changes('[recipe]\\nschedule = "step"', ["recipe.schedule=cosine", "recipe.schedule=linear"]))
    [recipe]
    schedule = "linear"
    """
    values = {}
    for change in changes:
        field, equals, value = (part.strip() for part in change.partition("="))
        if not equals or not all(field.split(".")):
            raise ExperimentError(f"--set needs FIELD=VALUE, such as recipe.epochs=5, got {change!r}")
        values[field] = _value(field, value)
    return with_values(text, values)


def _value(field: str, text: str) -> Any:
    import tomlkit
    from tomlkit.exceptions import ParseError

    try:
        return tomlkit.value(text)
    except ParseError as error:
        if text.startswith(("[", "{", '"', "'")):
            raise ExperimentError(f"--set {field}={text}: the value is not valid TOML ({error})") from None
        return text


def _child(node: Any, step: str, path: str) -> Any:
    """What one step of a dotted path leads to: an item of a list, or a table, which is added when it is missing."""
    import tomlkit
    from tomlkit.items import InlineTable

    if isinstance(node, list):
        names = [item.get("name", "") for item in node if isinstance(item, dict)]
        if step in names:
            return node[names.index(step)]
        if step.isdigit() and int(step) < len(node):
            return node[int(step)]
        raise ExperimentError(f"{path}: the list has no {step!r}, it has {names}: give one of these names, or a number")
    if not isinstance(node, dict):
        raise ExperimentError(f"{path}: {step!r} must be a key of a table, and it lies inside a plain value")
    if step not in node:
        node[step] = tomlkit.inline_table() if isinstance(node, InlineTable) else tomlkit.table()
    return node[step]
