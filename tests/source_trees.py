"""The source of the package as syntax trees, which several tests of its text share."""

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "foldstill"


@cache
def source_texts() -> dict[Path, str]:
    """The text of every file of the package, by its path."""
    return {path: path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def source_trees() -> dict[Path, ast.Module]:
    """Every file of the package; parsing all takes a second, so it is done once and by the tests alone."""
    return {path: ast.parse(text) for path, text in source_texts().items()}
