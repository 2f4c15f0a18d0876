"""Names of a package that are imported when they are first used, so that importing the package stays fast."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def late_names(
    package: str, homes: Mapping[str, str], names: Sequence[str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a package: `homes` gives the module of each name.

    >>> get, names = late_names("shop", {"dumps": "json"}, ["dumps"])
    >>> get("dumps")([1]), names()
    ('[1]', ['dumps'])
    >>> get("bread")
    Traceback (most recent call last):
    AttributeError: module 'shop' has no attribute 'bread'
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(homes[name]), name)

    return get, lambda: list(names)
