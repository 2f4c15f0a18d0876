"""Types of arguments are checked where a public function or a settings class receives them."""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import pytest
from typing_extensions import TypeAliasType

import foldstill as fs
from foldstill.arguments import require_types

VOTES = [[3, 0], [1, 2], [0, 1], [2, 2]]
TABLE = fs.oof_table([[[0.9, 0.1]], [[0.2, 0.8]], [[0.3, 0.7]], [[0.5, 0.5]]], votes=VOTES, folds=[0, 1, 0, 1])

WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "a table that is text": (lambda: fs.stack("oof.parquet"), "table of stack must be an OOFTable"),  # type: ignore[arg-type]
    "a list in place of a table": (lambda: fs.write_table([1], "t.parquet"), "table of write_table"),  # type: ignore[arg-type]
    "a number as a path": (lambda: fs.read_table(3), "path of read_table must be text or a path, got 3"),  # type: ignore[arg-type]
    "a text as paths": (lambda: fs.import_scores("p.npz"), "paths of import_scores"),
    "a text as a number": (lambda: fs.Recipe(epochs="5"), "epochs of Recipe must be a whole number"),  # type: ignore[arg-type]
    "true as a number": (lambda: fs.Recipe(epochs=True), "epochs of Recipe"),
    "infinity": (lambda: fs.Recipe(lr=float("inf")), "lr of Recipe must be a finite number, got inf"),
    "NaN": (lambda: fs.FoldSettings(test_share=float("nan")), "test_share of FoldSettings must be a finite number"),
    "an unknown choice": (lambda: fs.Recipe(optimizer="lion"), "optimizer of Recipe must be one of"),  # type: ignore[arg-type]
    "a mapping of votes": (lambda: fs.Labels.from_votes({"a": 1}), "votes_NC of Labels.from_votes"),  # type: ignore[arg-type]
    "no inputs": (lambda: fs.student_sizes(None, 3), "inputs of student_sizes must be a NumPy array"),  # type: ignore[arg-type]
    "a list of views": (lambda: fs.Dataset(TABLE.labels, [1]), "views of Dataset must be a mapping"),  # type: ignore[arg-type]
    "no workers": (lambda: fs.Work(workers=0), "workers of Work must be 1 or more"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_type_is_a_sentence_that_names_the_argument(name: str) -> None:
    call, message = WRONG[name]
    with pytest.raises(fs.FoldstillError, match="^" + message.replace(".", r"\.")):
        call()


def test_numbers_of_numpy_and_lists_for_tuples_are_accepted() -> None:
    recipe = fs.Recipe(epochs=np.int64(3), lr=np.float32(0.5), betas=[0.9, 0.99])  # type: ignore[arg-type]
    assert recipe.epochs == 3
    assert fs.Labels.from_hard(np.array([0, 1]), classes=[0, 1]).classes == ("0", "1")


def test_the_type_is_checked_before_the_range() -> None:
    with pytest.raises(fs.FoldstillError, match="must be a whole number"):
        fs.Recipe(epochs=None)  # type: ignore[arg-type]


def test_names_of_types_are_read_as_the_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy 2.5 makes NDArray and ArrayLike names of types, which are no classes."""
    scalar = TypeVar("scalar")
    array = TypeAliasType("NDArray", np.ndarray[Any, np.dtype[scalar]], type_params=(scalar,))  # type: ignore[valid-type]
    like = TypeAliasType("ArrayLike", "float | complex")
    monkeypatch.setattr("numpy.typing.ArrayLike", like)

    def mean(values: array[np.float64], weights: like | None, scores: like) -> None:  # type: ignore[valid-type]
        require_types(mean, locals())

    mean(np.ones(2), None, [[1, 2]])
    mean(np.ones(2), [1, 2], np.ones(2))
    with pytest.raises(fs.FoldstillError, match=r"values of .*mean must be a NumPy array, got 3"):
        mean(3, None, [1])
    with pytest.raises(fs.FoldstillError, match=r"weights of .*mean must be an array or None, got 'x'"):
        mean(np.ones(2), "x", [1])
    with pytest.raises(fs.FoldstillError, match=r"scores of .*mean must be an array, got \{\}"):
        mean(np.ones(2), None, {})


def public_paths(module: str) -> Iterator[tuple[str, str]]:
    """Every argument of a public function, class or method whose annotation names Path, with that annotation."""
    package = importlib.import_module(module)
    for name in package.__all__:
        value = getattr(package, name)
        functions = {name: value} if callable(value) else {}
        if inspect.isclass(value):
            own = {key: part for key, part in vars(value).items() if not key.startswith("_")}
            functions |= {f"{name}.{key}": getattr(part, "__func__", part) for key, part in own.items()}
        for place, function in functions.items():
            if not (inspect.isclass(function) or inspect.isfunction(function)):
                continue
            for argument, hint in inspect.get_annotations(function).items():
                text = hint if isinstance(hint, str) else getattr(hint, "__name__", str(hint))
                if argument != "return" and re.search(r"\bPath\b", text):
                    yield f"{module}.{place}({argument})", text


# These get paths from foldstill, and never text from a user.
FROM_US = re.compile(r"\.(load|example|save|fit|with_copy|plan)\(|Lesson\(")


@pytest.mark.parametrize("module", ["foldstill", "foldstill.oof", "foldstill.compare", "foldstill.distill"])
def test_every_path_of_a_public_function_may_be_text(module: str) -> None:
    narrow = [f"{place}: {hint}" for place, hint in public_paths(module) if "str" not in hint]
    assert [place for place in narrow if not FROM_US.search(place)] == []
