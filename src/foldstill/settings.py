"""What all settings classes share, and how a nested table finds its class by `kind`. Pydantic is imported on use."""

import inspect
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import wraps
from pathlib import Path
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    Protocol,
    Self,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from foldstill.arguments import require_types

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Kinds = Mapping[str, Sequence[type]]
"""Settings classes by the name that `ByKind` uses for them, such as {"combiner": COMBINERS}."""

_KINDS: ContextVar[Kinds] = ContextVar("kinds")


class Settings:
    """Base of the frozen dataclasses that tables become.

    An unknown key is an error where a file is read. A value of another type than the field's, or a number that is not
    finite, is an ArgumentError, in Python too; a class checks ranges in its own `__post_init__`, which runs afterwards.
    """

    files: ClassVar[tuple[str, ...]] = ()
    """Fields whose text, where there is any, is the path of a file."""
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if check := vars(cls).get("__post_init__"):

            @wraps(check)
            def check_types_first(self: Settings) -> None:
                Settings.__post_init__(self)
                check(self)

            setattr(cls, "__post_init__", check_types_first)  # noqa: B010, mypy refuses the plain assignment

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))


def with_root(settings: Any, root: Path) -> Any:
    """The same settings with the relative paths of their files starting at a folder."""
    paths = {name: getattr(settings, name) for name in getattr(settings, "files", ())}
    changed = {name: str(root / path) for name, path in paths.items() if isinstance(path, str) and path}
    return replace(settings, **changed) if changed else settings


class Kind(Protocol):
    """What every kind has: members, combiners, data sources, views, augmentations, losses and mixes of targets."""

    title: ClassVar[str]
    """Short name for tables."""
    summary: ClassVar[str]
    """One plain sentence for reports and documentation."""

    @property
    def kind(self) -> str:
        """The name that selects it in an experiment file."""
        ...


class Described:
    """Base of classes whose summary is the first paragraph of their docstring.

    >>> class Clip(Described):
    ...     "Limits scores to a range."
    >>> Clip.summary
    'Limits scores to a range.'
    """

    title: ClassVar[str]
    summary: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = vars(cls)
        # A class without a docstring of its own keeps the summary of its base.
        if "summary" not in own and own.get("__doc__"):
            cls.summary = " ".join(inspect.cleandoc(own["__doc__"]).partition("\n\n")[0].split())


@dataclass(frozen=True)
class KindSettings(Settings, Described):
    """Base of settings classes that are selected by `kind`: each states its kind where it is defined.

    The title is the kind in words, if none is stated.

    >>> @dataclass(frozen=True)
    ... class Clip(KindSettings, kind="clipped_scores"):
    ...     "Limits scores to a range."
    >>> Clip.kind, Clip.title, Clip()
    ('clipped_scores', 'Clipped scores', Clip(kind='clipped_scores'))
    """

    kind: str = field(default="", kw_only=True)

    def __init_subclass__(cls, *, kind: str = "", title: str = "") -> None:
        super().__init_subclass__()
        if kind:
            _set_field(cls, "kind", Literal[kind], kind)
            cls.title = title or kind.replace("_", " ").capitalize()


@dataclass(frozen=True)
class KindWithExample(KindSettings):
    """Base of kinds whose defaults are a small example."""

    @classmethod
    def example(cls) -> Self:
        """Return the smallest instance that works; contract tests use it."""
        return cls()


@dataclass(frozen=True)
class NamedKind(KindWithExample):
    """Base of kinds that have a name in tables, folders and reports, which is the kind if it is not set."""

    name: str = field(default="", kw_only=True)

    def __init_subclass__(cls, *, kind: str = "", title: str = "") -> None:
        super().__init_subclass__(kind=kind, title=title)
        if kind:
            _set_field(cls, "name", str, kind)


def _set_field(cls: type, name: str, hint: Any, default: str) -> None:
    """Give a class that is about to become a dataclass a keyword with this type and default."""
    cls.__annotations__[name] = hint
    setattr(cls, name, field(default=default, kw_only=True))


class ByKind:
    """Annotation of a field whose table selects its settings class by the key `kind`.

    `Annotated[Combiner, ByKind("combiner")]` accepts every class that `type_adapter` receives under "combiner". A class
    can therefore hold settings of kinds that its own file does not import, itself included. `Annotated[View,
    ByKind(VIEWS)]` accepts the classes of the tuple, and `Annotated[A | B, ByKind()]` those of the union. In each case
    an error concerns the selected class only.
    """

    def __init__(self, kinds: str | tuple[type, ...] = "") -> None:
        self.kinds = kinds

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        classes = alternatives(Annotated[source, self], _KINDS.get({}))
        return core_schema.tagged_union_schema({c.kind: handler.generate_schema(c) for c in classes}, "kind")


class TextInFile:
    """Annotation of a field that is text in a file, and can be another value in Python."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.str_schema()


def alternatives(hint: Any, kinds: Kinds) -> tuple[Any, ...]:
    """Return the classes and plain types that a value of this type hint can have or contain.

    Unions, tuples and `ByKind` annotations are opened. Raises KeyError when `kinds` lacks a name that `ByKind` uses.

    >>> alternatives(tuple[int, ...] | None, {})
    (<class 'int'>, <class 'NoneType'>)
    """
    if get_origin(hint) is Annotated:
        inner, *marks = get_args(hint)
        for mark in marks:
            if isinstance(mark, ByKind) and mark.kinds:
                if isinstance(mark.kinds, tuple):
                    return mark.kinds
                if mark.kinds not in kinds:
                    raise KeyError(
                        f"no settings classes are known for kinds of {mark.kinds}: pass them to type_adapter, as "
                        f"in type_adapter(settings, {{{mark.kinds!r}: (FirstClass, SecondClass)}})"
                    )
                return tuple(kinds[mark.kinds])
        return alternatives(inner, kinds)
    if get_origin(hint) in (Union, UnionType, tuple):
        return tuple(one for part in get_args(hint) if part is not Ellipsis for one in alternatives(part, kinds))
    return (hint,)


def settings_classes(settings: type, kinds: Kinds) -> list[Any]:
    """Return every settings class that can be part of `settings`, itself first, in the order a reader meets them."""
    classes: list[Any] = []
    ahead: list[Any] = [settings]
    while ahead:
        one = ahead.pop(0)
        if one in classes or not is_dataclass(one):
            continue
        classes.append(one)
        hints = get_type_hints(one, include_extras=True)
        ahead += [part for each in fields(one) for part in alternatives(hints[each.name], kinds)]
    return classes


def kinds_of_table(settings: type, kinds: Kinds, tables: Any, path: Sequence[str]) -> tuple[Any, ...]:
    """Return the settings classes among which the table at a path selects by its `kind`, none where it does not.

    `settings` is the class of the outermost table. The kinds of the tables on the way are read from `tables`, and a
    number in the path is an item of a list.
    """
    classes: tuple[Any, ...] = (settings,)
    for step in path:
        if isinstance(tables, list):
            tables = tables[int(step)]
            continue
        kind = tables.get("kind")
        own = [one for one in classes if is_dataclass(one) and getattr(one, "kind", kind) == kind]
        hints = [get_type_hints(one, include_extras=True).get(step) for one in own]
        classes = tuple(part for hint in hints if hint is not None for part in alternatives(hint, kinds))
        tables = tables.get(step)
    return tuple(one for one in classes if isinstance(getattr(one, "kind", None), str) and one.kind)


def type_adapter(settings: Any, kinds: Kinds) -> "TypeAdapter[Any]":
    """Return pydantic's reader of `settings`, with the classes that nested tables can select by `kind`."""
    from pydantic import TypeAdapter

    token = _KINDS.set(kinds)
    try:
        return TypeAdapter(settings)
    finally:
        _KINDS.reset(token)
