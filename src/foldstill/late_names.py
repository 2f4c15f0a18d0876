"""Names of a package that are imported when they are first used, so that importing the package stays fast."""

import importlib
from collections.abc import Mapping
from typing import Any


def late_name(package: str, homes: Mapping[str, str], name: str) -> Any:
    """Return what `name` is in the module that `homes` gives for it; call it from the `__getattr__` of a package.

    >>> late_name("shop", {"dumps": "json"}, "dumps")([1])
    '[1]'
    >>> late_name("shop", {"dumps": "json"}, "bread")
    Traceback (most recent call last):
    AttributeError: module 'shop' has no attribute 'bread'
    """
    if name not in homes:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return getattr(importlib.import_module(homes[name]), name)
