"""The types of arguments, checked where a public function or a settings class receives them.

A wrong type is then one sentence that names the argument, not a traceback out of the middle of a computation.
"""

import inspect
import math
import numbers
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from foldstill.errors import ArgumentError

_PLAIN = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    NoneType: "None",
}
"""How a type is named in a message."""

_NUMBERS: dict[Any, Any] = {int: numbers.Integral, float: numbers.Real}


def require_types(
    owner: Callable[..., Any], values: Mapping[str, Any], *, names: Mapping[str, Any] | None = None
) -> None:
    """Raise ArgumentError when an argument is of another type than its annotation says, or a number is not finite.

    `owner` is the function or class that received the arguments, and `values` are these by name; other names are
    ignored. A sequence may be given for a tuple, and a number of NumPy for a number. What an array holds is not
    checked. `names` holds what annotations mention and the module imports for type checkers only.

    >>> def double(n: int) -> int:
    ...     require_types(double, locals())
    ...     return 2 * n
    >>> double("two")
    Traceback (most recent call last):
        ...
    foldstill.errors.ArgumentError: n of double must be a whole number, got 'two' (str)
    """
    for name, hint in (_hints(owner) if names is None else _evaluated(owner, names)).items():
        if name in values and not _fits(values[name], hint):
            value = values[name]
            endless = isinstance(value, numbers.Real) and not math.isfinite(value)
            wanted = "a finite number" if endless else _described(hint)
            raise ArgumentError(f"{name} of {owner.__qualname__} must be {wanted}, got {_shown(value)}")


@cache
def _hints(owner: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function or dataclass."""
    try:
        return get_type_hints(owner, include_extras=True)
    except NameError:
        return _evaluated(owner, {})


def _evaluated(owner: Callable[..., Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """The annotations of a function, without those that only a type checker can resolve."""
    known = {**getattr(owner, "__globals__", {}), **names}
    hints = {}
    for name, hint in inspect.get_annotations(owner).items():
        try:
            hints[name] = eval(hint, known) if isinstance(hint, str) else hint
        except NameError:
            continue
    return hints


def _unaliased(hint: Any) -> Any:
    """The type that a name stands for: NDArray is one of the statement `type` from NumPy 2.5 on, and so is ArrayLike,
    which stays as it is because a value fits it by other rules than its parts."""
    while hasattr(hint, "__value__") and not _is_named_array_like(hint):
        hint = hint.__value__
    return hint


def _fits(value: Any, hint: Any) -> bool:
    hint = _unaliased(hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _fits(value, inner[0])
    if origin in (Union, UnionType) or _is_named_array_like(hint):
        arrays, others = _array_like(inner or (hint,))
        return (arrays and _is_array_like(value)) or any(_fits(value, part) for part in others)
    if origin is Literal:
        return isinstance(value, str | int) and value in inner
    if origin is not None:
        return _fits_generic(value, origin, inner)
    if hint is Any or not isinstance(hint, type):
        return True
    if hint in _NUMBERS:
        return isinstance(value, _NUMBERS[hint]) and not _is_bool(value) and math.isfinite(value)
    if hint is bool:
        return _is_bool(value)
    if getattr(hint, "_is_protocol", False):
        return all(hasattr(value, name) for name in _members(hint)) and not isinstance(value, type)
    return isinstance(value, hint)


def _fits_generic(value: Any, origin: Any, inner: tuple[Any, ...]) -> bool:
    """Whether a value fits a type with parameters, such as Sequence[str]."""
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        return (
            _is_sequence(value)
            and len(value) == len(inner)
            and all(_fits(one, part) for one, part in zip(value, inner, strict=True))
        )
    if issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(
            _fits(key, inner[0]) and _fits(one, inner[1]) for key, one in value.items()
        )
    if issubclass(origin, Sequence):
        return _is_sequence(value) and all(_fits(one, part) for one in value for part in inner[:1])
    if issubclass(origin, Callable):  # type: ignore[arg-type]
        return callable(value)
    if issubclass(origin, type):
        return isinstance(value, type)
    return isinstance(value, origin)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool) or type(value).__name__ == "bool"  # that of NumPy


def _is_sequence(value: Any) -> bool:
    if hasattr(value, "__array__"):
        return bool(getattr(value, "ndim", 0) == 1)
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _array_like(parts: tuple[Any, ...]) -> tuple[bool, list[Any]]:
    """Whether the parts of a union hold those of `ArrayLike`, and the other parts."""
    numpy = sys.modules.get("numpy.typing")  # not imported for the sake of a union without arrays
    arrays = set(get_args(numpy.ArrayLike) or [numpy.ArrayLike]) if numpy else set()
    if not arrays or not arrays <= set(parts):
        return False, list(parts)
    return True, [part for part in parts if part not in arrays]


def _is_named_array_like(hint: Any) -> bool:
    """Whether a hint is `ArrayLike` as one name, and not as a union of its parts."""
    numpy = sys.modules.get("numpy.typing")
    return numpy is not None and hint is numpy.ArrayLike and not get_args(hint)


def _is_array_like(value: Any) -> bool:
    """Whether NumPy can make an array of it; texts, mappings and sets are not arrays of anything."""
    if isinstance(value, type):
        return False
    return _is_sequence(value) or hasattr(value, "__array__") or isinstance(value, numbers.Real)


def _members(protocol: type) -> list[str]:
    """The names that a protocol asks for."""
    names = {name for one in protocol.__mro__ if one not in (object,) for name in (*vars(one), *one.__annotations__)}
    return sorted(name for name in names if not name.startswith("_"))


def _described(hint: Any) -> str:
    """A type hint in words."""
    hint = _unaliased(hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _described(inner[0])
    if origin in (Union, UnionType) or _is_named_array_like(hint):
        arrays, others = _array_like(inner or (hint,))
        return " or ".join(dict.fromkeys([*(["an array"] if arrays else []), *map(_described, others)]))
    if origin is Literal:
        return f"one of {', '.join(map(repr, inner))}"
    if getattr(origin, "__name__", "") == "ndarray":
        return "a NumPy array"
    if origin is not None and issubclass(origin, Mapping):
        return "a mapping"
    if origin is not None and issubclass(origin, Sequence):
        return f"a list or tuple of {_described(inner[0])}" if inner else "a list or tuple"
    if origin is not None:
        return "a function"
    name = getattr(hint, "__name__", str(hint))
    return _PLAIN.get(hint) or ("an " if name[0] in "AEIO" else "a ") + name


def _shown(value: Any) -> str:
    text = repr(value)
    text = text if len(text) < 60 else f"{text[:57]}..."
    return f"{text.splitlines()[0] if text else ''} ({type(value).__name__})" if value is not None else "None"
