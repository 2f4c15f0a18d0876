"""Torch modules that users write: a class or function in a Python file. Importing this module imports no torch."""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from foldstill.digests import digest
from foldstill.errors import MemberError

Factory = Callable[..., Any]
"""Called with the shape of a row, the number of classes and the options, it gives a fresh module."""


@dataclass(frozen=True)
class ModuleCode:
    """A class or function in the text of a Python file. Called like it, it gives a module.

    The text travels with the settings to other processes and stays beside the weights, so that a model can be loaded
    when the file has changed or is gone.
    """

    text: str
    name: str
    """Name of the class or function."""
    file: str = "module.py"
    """Name of the file in messages."""

    @classmethod
    def read(cls, module: str) -> ModuleCode:
        """The code that `path/to/file.py:Name` names; raises MemberError where there is no such file."""
        path, name = split_module(module)
        try:
            return cls(path.read_text(encoding="utf-8"), name, path.name)
        except FileNotFoundError:
            raise MemberError(f"no file {path}, which `module` names: correct the path") from None
        except (OSError, UnicodeDecodeError) as error:
            raise MemberError(f"{path} is not a Python file ({error}): correct `module`") from None

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        found = getattr(_executed(self.text, self.file), self.name, None)
        if not callable(found):
            names = [
                node.name for node in ast.parse(self.text).body if isinstance(node, ast.ClassDef | ast.FunctionDef)
            ]
            raise MemberError(
                f"{self.file} has no class or function {self.name!r}, it has {names}: name one of these in `module`"
            )
        return found(*arguments, **options)


def split_module(module: str) -> tuple[Path, str]:
    """Path and name in `path/to/file.py:Name`.

    >>> split_module("my_models.py:Net")
    (PosixPath('my_models.py'), 'Net')
    """
    path, colon, name = module.rpartition(":")
    if not colon or not path.endswith(".py") or not name.isidentifier():
        raise MemberError(
            f'module must name a file and a class or function in it, as in "my_models.py:Net", got {module!r}'
        )
    return Path(path), name


@cache
def _executed(text: str, file: str) -> ModuleType:
    """The module of a Python text, run once per process."""
    name = f"foldstill_module_{digest(text)}"
    module = ModuleType(name)
    module.__file__ = f"<{file} {digest(text)}>"
    # Tracebacks and torch's exporters read the source by this name.
    linecache.cache[module.__file__] = (len(text), None, text.splitlines(keepends=True), module.__file__)
    sys.modules[name] = module
    try:
        exec(compile(text, module.__file__, "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[name]
        raise MemberError(f"{file} cannot be run ({reason_of(error, module.__file__)}): correct it") from error
    return module


def reason_of(error: Exception, file: str = "") -> str:
    """Type and first line of an error, with its line where it was raised in the user's file."""
    text = (str(error).strip().splitlines() or [""])[0]
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(file or "<")]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    return f"{type(error).__name__}: {text}" + (f", line {line}" if line else "")


def factory_name(factory: Factory) -> str:
    """What a factory is called in settings and messages."""
    if isinstance(factory, ModuleCode):
        return f"{factory.file}:{factory.name}"
    if isinstance(factory, partial):
        return factory_name(factory.func)
    return str(getattr(factory, "__qualname__", type(factory).__name__))


def factory_digest(factory: Factory, recorded: str | None = None) -> str:
    """Digest of the source of a factory; of its name alone where Python does not know the source.

    Comments, docstrings and the layout of a file do not count. Everything else in it does: which of its lines the
    factory depends on cannot be known, because Python looks names up when it needs them. `recorded` is the digest in a
    folder of finished work. It is returned where it is that of the text, which runs of earlier versions recorded.

    >>> plain, commented = ModuleCode("def net(): return 1", "net"), ModuleCode("def net():  # new\\n  return 1", "net")
    >>> factory_digest(plain) == factory_digest(commented)
    True
    >>> factory_digest(plain) == factory_digest(ModuleCode("def net(): return 2", "net"))
    False
    """
    if isinstance(factory, ModuleCode):
        of_text = digest(factory.text, factory.name)
        return of_text if recorded == of_text else digest(_syntax_of(factory.text), factory.name)
    if isinstance(factory, partial):
        return digest(factory_digest(factory.func), repr(factory.args), repr(sorted(factory.keywords.items())))
    try:
        return digest(inspect.getsource(factory))
    except (OSError, TypeError):
        return digest(factory_name(factory))


def _syntax_of(text: str) -> str:
    """The syntax of a Python text; the text itself where it is no Python, which is said when it is run."""
    try:
        return _syntax_of_node(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError):
        return text


def _syntax_of_node(node: Any) -> str:
    """A part of a syntax tree without its place and docstrings.

    Fields without a value are left out, because versions of Python differ in them, which `ast.dump` shows.
    """
    if isinstance(node, list):
        return f"[{', '.join(map(_syntax_of_node, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value is not None and value != []}
    if isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = fields["body"][1:]
    return f"{type(node).__name__}({', '.join(f'{name}={_syntax_of_node(value)}' for name, value in fields.items())})"


_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
