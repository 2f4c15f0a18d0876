"""The rules of the house that a linter does not check: no circle of imports, no long function, one list of layers."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from foldstill.machine import OPTIONAL
from foldstill.pipeline.trackers import TRACKERS
from source_trees import PACKAGE, source_texts, source_trees

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
MAX_LINES = 60
ROOMS = ["cli", "commands", "pipeline", "distill", "stacking | base_models", "compare", "cost", "oof | hms", "data"]
"""The order of imports that the design fixes; the files below `data` follow."""
NO_LAYER = {"__init__", "__main__", "testing"}
"""Nothing inside the package imports these."""


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, ast.Module]:
    return {module_of(path): tree for path, tree in source_trees().items()}


def imported(tree: ast.Module) -> Iterator[str]:
    """Every module of the package that a file imports: at its top, inside functions, and for type checking only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            # `from package import name` means a module of the package, or else a name that the package defines.
            yield name if name in modules() else name.rpartition(".")[0]


def circle(imports: dict[str, set[str]]) -> list[str]:
    """One circle of imports, each module before one that it imports; empty when there is none."""
    try:
        list(TopologicalSorter(imports).static_order())
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def test_no_file_imports_itself_through_others() -> None:
    known = modules()
    imports = {name: {other for other in imported(tree) if other in known} - {name} for name, tree in known.items()}
    assert circle(imports) == []


def test_a_circle_of_imports_would_be_seen() -> None:
    inside = ast.parse("def f():\n    from foldstill.digests import digest")
    assert list(imported(inside)) == ["foldstill.digests"]
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}


def long_functions(text: str, tree: ast.Module | None = None) -> list[str]:
    """Functions of more lines of code than the limit, without a comment above them that begins with `Long:`.

    The docstring is not counted. The comment stands directly above `def` or above the first decorator.
    """
    lines, names = text.splitlines(), []
    for node in ast.walk(tree or ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0]
        doc = first if isinstance(first, ast.Expr) and ast.get_docstring(node) is not None else None
        n_lines = (node.end_lineno or 0) - node.lineno + 1
        if doc is not None:
            n_lines -= (doc.end_lineno or 0) - doc.lineno + 1
        starts = (node.lineno, *(decorator.lineno for decorator in node.decorator_list))
        if n_lines > MAX_LINES and not any(re.match(r"\s*# Long: \w", lines[start - 2]) for start in starts):
            names.append(f"{node.name}: {n_lines} lines")
    return names


def test_a_long_function_has_a_reason_beside_it() -> None:
    long = {module_of(path): long_functions(text, source_trees()[path]) for path, text in source_texts().items()}
    assert {name: functions for name, functions in long.items() if functions} == {}


def test_a_long_function_would_be_seen() -> None:
    body = "    x = 1\n" * MAX_LINES
    assert long_functions("def f():\n" + body) == ["f: 61 lines"]
    assert long_functions('def f():\n    """One line.\n\n    Another.\n    """\n' + body[10:]) == []
    assert (
        long_functions("# Long: one step after the other, each needs the one before.\n@cache\ndef f():\n" + body) == []
    )
    assert long_functions("# A comment without a reason.\ndef f():\n" + body) == ["f: 61 lines"]


def layers() -> list[str]:
    """The layers of the import contract, from the top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    [contract] = [one for one in contracts if one["type"] == "layers"]
    return list(contract["layers"])


def where_things_are() -> list[str]:
    """The blocks of code in the section of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("## Where things are\n")[1].split("\n## ")[0]
    return re.findall(r"```\n(.*?)```", section, flags=re.DOTALL)


def test_the_contract_has_the_layers_of_the_design_and_knows_every_file() -> None:
    assert layers()[: len(ROOMS)] == ROOMS
    listed = {name for layer in layers() for name in layer.split(" | ")}
    there = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert listed == there - NO_LAYER


def test_the_readme_lists_the_layers_in_the_order_of_the_contract() -> None:
    tree, order = where_things_are()
    assert [layer.strip() for layer in " ".join(order.split()).split("->")] == layers()
    listed = re.findall(r"^  (\w+)/ ", tree, flags=re.MULTILINE)
    assert listed == [*(name for layer in ROOMS for name in layer.split(" | ")), "workers"]


def texts_with_values(tree: ast.Module) -> Iterator[list[str | ast.expr]]:
    """Every f-string, as its plain parts and the expressions between them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield [
                part.value if isinstance(part, ast.FormattedValue) else str(getattr(part, "value", ""))
                for part in node.values
            ]


NAMES = (
    "verdict|init|run|train|stack|sizes|distill|compare|heads|apply|predict|export|tune|prepare|oof [a-z]+|show view"
)
COMMAND = re.compile(rf"(?:foldstill (?:{NAMES}) |`--[a-z]+ )(?:(?!: )[^`\n])*$")
"""A text that ends inside a command: whatever follows is one of its words."""


def unquoted(tree: ast.Module) -> list[str]:
    """Values that a printed command holds as they are, so that a blank in them would make two words."""
    found = []
    for parts in texts_with_values(tree):
        text = ""
        for part in parts:
            if isinstance(part, str):
                text += part
                continue
            called = isinstance(part, ast.Call) and ast.unparse(part.func).rpartition(".")[2]
            if COMMAND.search(text) and called not in ("quote", "join"):
                found.append(ast.unparse(part))
            text += "VALUE"
    return found


def test_every_value_in_a_printed_command_is_quoted_for_the_shell() -> None:
    found = {module_of(path): unquoted(tree) for path, tree in source_trees().items()}
    assert {name: values for name, values in found.items() if values} == {}


def test_a_value_that_is_not_quoted_would_be_seen() -> None:
    assert unquoted(ast.parse('f"run `foldstill oof build {folder} --force`"')) == ["folder"]
    assert unquoted(ast.parse("f\"Next: foldstill run {path} --out {quote(out)} {' '.join(more)} {name}\"")) == [
        "path",
        "name",
    ]
    assert unquoted(ast.parse('f"use `--out {path}`"')) == ["path"]
    assert unquoted(ast.parse('f"run `foldstill compare RUN` on {folder}: foldstill reads {n}"')) == []


def install_hints(tree: ast.Module) -> list[str]:
    """Texts of the code, not of its docstrings, that say how an extra is installed."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in docstrings]
    return [text.value for text in texts if isinstance(text.value, str) and "pip install 'foldstill[" in text.value]


def named_extras() -> Iterator[str]:
    """Every extra that a document, a docstring or a template names, and that the code asks for."""
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *PACKAGE.rglob("*.toml"), *PACKAGE.rglob("*.py")]
    for path in documents:
        for names in re.findall(r"foldstill\[([a-z,]+)\]", path.read_text(encoding="utf-8")):
            yield from names.split(",")
    for tree in source_trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "require_package":
                extra = node.args[1]
                yield from [str(extra.value)] if isinstance(extra, ast.Constant) else []
    yield from (extra for _, extra in OPTIONAL.values())
    yield from (kind.kind for kind in TRACKERS)


def test_one_function_says_how_an_extra_is_installed_and_every_extra_that_is_named_exists() -> None:
    found = {module_of(path): install_hints(tree) for path, tree in source_trees().items()}
    assert {name: texts for name, texts in found.items() if texts} == {
        "foldstill.errors": ["pip install 'foldstill["],
    }
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(named_extras()) <= set(extras)
    assert {"dask", "eeg", "mlflow", "onnx", "polars", "ray", "tune", "wavelets"} <= set(named_extras())


def test_a_second_hint_how_to_install_an_extra_would_be_seen() -> None:
    command = "pip install 'foldstill[eeg]'"
    tree = ast.parse(f'def f():\n    "Needs {command}."\n    raise E(f"{{path}}: {command}")')
    assert install_hints(tree) == [f": {command}"]


def test_differences_are_never_printed_as_minus_zero() -> None:
    """The option `z` of a format turns -0.0000 into +0.0000, for example of an arm that equals the average."""
    signed = re.compile(r":\+(?!z)[.\d{]|shown\([^)]*\):\.\d")
    found = {module_of(path): signed.findall(text) for path, text in source_texts().items()}
    assert {name: formats for name, formats in found.items() if formats} == {}
    assert signed.findall("{d:+.4f} {metric.shown(x):.4f} {d:+z.4f}") == [":+.", "shown(x):.4"]


def test_only_the_terminal_makes_consoles_because_its_own_print_names_without_markup() -> None:
    """`[tune]` in a name or a message is text, and rich would take it for markup."""
    makers = re.compile(r"\bConsole\(|rich import print|\becho\(|\bsecho\(|markup=True")
    found = {module_of(path): makers.findall(text) for path, text in source_texts().items()}
    assert {name for name, made in found.items() if made} == {"foldstill.cli.terminal"}


def test_no_name_that_a_package_imports_late_is_that_of_one_of_its_files() -> None:
    """Importing the file would set the name in the package to the file, in place of the function."""
    late = re.compile(r'^    "(\w+)": "foldstill\.', re.MULTILINE)
    names = {
        module_of(path): late.findall(text) for path, text in source_texts().items() if "= late_names(__name__" in text
    }
    assert {"foldstill", "foldstill.distill", "foldstill.pipeline"} == set(names)
    assert all(names.values())
    assert [
        f"{package}.{name}" for package in names for name in names[package] if f"{package}.{name}" in modules()
    ] == []
