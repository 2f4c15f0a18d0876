"""Types of arguments are checked where a public function or a settings class receives them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import foldstill as fs

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
