"""Checks that the settings of several combiners share."""

from collections.abc import Iterable
from typing import Any

from foldstill.errors import StackError


def require_at_least(settings: Any, **minimum: int) -> None:
    """Raise StackError when a field of `settings` is below its minimum.

    >>> from types import SimpleNamespace
    >>> require_at_least(SimpleNamespace(kind="mlp", folds=1), folds=2)
    Traceback (most recent call last):
    ...
    foldstill.errors.StackError: folds of mlp must be 2 or more, got 1
    """
    for field, least in minimum.items():
        if getattr(settings, field) < least:
            raise StackError(f"{field} of {settings.kind} must be {least} or more, got {getattr(settings, field)}")


def require_different_names(combiners: Iterable[Any], owner: str) -> None:
    """Raise StackError when two combiners have the same name; `owner` names the setting that holds them."""
    names = [combiner.name for combiner in combiners]
    if len(set(names)) < len(names):
        raise StackError(f"combiners in {owner} must have different names, got {names}: set `name`")
