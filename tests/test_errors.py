"""Every refusal names what it is about: a file, a member, an option, a setting or an argument."""

import ast
import re
from collections.abc import Iterator

import pytest

from foldstill import errors
from foldstill.errors import FoldError, at
from source_trees import PACKAGE, source_trees

ERRORS = {name for name, value in vars(errors).items() if isinstance(value, type)} | {"error"}
"""Classes of errors; functions that read files take one as the argument `error`."""

WITHOUT_PLACE = {
    "a worker process was killed, usually because the memory was used up: run the command again, which continues from "
    "the last epoch, with fewer --workers",
}
"""Refusals that are about the machine, not about an input."""


def user_names() -> set[str]:
    """What users write: parameters of public functions, and fields of public classes, which are settings."""
    names: set[str] = set()
    for node in (node for tree in source_trees().values() for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            arguments = node.args
            names |= {each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            fields = (each.target for each in node.body if isinstance(each, ast.AnnAssign))
            names |= {each.id for each in fields if isinstance(each, ast.Name)}
    # Shape letters end the names of arrays, and messages leave them out.
    return names | {re.sub(r"_[A-Z0-9]+$", "", name) for name in names} - {"self", "cls"}


def template(message: ast.expr) -> str:
    """The text of a message with {} for each value that is put in."""
    if isinstance(message, ast.Constant):
        return str(message.value)
    if isinstance(message, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in message.values)
    if isinstance(message, ast.BinOp):
        return template(message.left) + template(message.right)
    return "{}"


def messages(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and template of every error of foldstill that a file raises."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            raised = node.exc.func
            name = raised.id if isinstance(raised, ast.Name) else getattr(raised, "attr", "")
            if name in ERRORS:
                yield node.lineno, template(node.exc.args[0])


def names_a_place(text: str, names: set[str]) -> bool:
    """Whether a message names its place.

    That is a value other than the one that was received (`got ...`), an option, a table, key, code or package, or a
    name that users write in the clause that says what is wrong.
    """
    received, rest = "got " in text, re.sub(r"got [^:]*", "", text)
    wrong = re.split(r",? got ", text)[0] if received else text.rpartition(": ")[0] or text
    if "{}" in (wrong if received else text) or re.search(r"`|--\w|\[\[?\w+\]|\w\.\w|\w = |pip install \w", rest):
        return True
    return bool(set(re.findall(r"\w+", wrong)) & names)


def test_every_refusal_names_a_file_a_member_an_option_or_an_argument() -> None:
    names = user_names()
    lost = {
        f"{path.relative_to(PACKAGE)}:{line}: {text}"
        for path, tree in source_trees().items()
        for line, text in messages(tree)
        if not names_a_place(text, names) and text not in WITHOUT_PLACE
    }
    assert lost == set()


def test_all_raised_errors_are_seen() -> None:
    assert sum(1 for tree in source_trees().values() for _ in messages(tree)) > 650


def test_what_is_said_to_have_no_place_is_still_raised() -> None:
    assert {text for tree in source_trees().values() for _, text in messages(tree)} >= WITHOUT_PLACE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("must be positive, got {}: give 1 or more", False),
        ("values must not be missing: correct them", False),
        ("temperature must be positive, got {}", True),
        ("{} has no rows: check the filter", True),
        ("early stopping does not work here: set recipe.early_stopping = 0", True),
        ("it has {} pages", True),
    ],
)
def test_a_place_is_a_name_and_not_a_value_that_was_received(text: str, expected: bool) -> None:
    assert names_a_place(text, {"temperature"}) is expected


def test_the_place_of_an_error_is_added_once() -> None:
    with pytest.raises(FoldError, match=r"^folds\.csv: fold 3 is empty$"), at("folds.csv"), at("folds.csv"):
        raise FoldError("fold 3 is empty")
