"""A finished stage remembers its inputs, and a stage of other inputs is refused by name."""

from pathlib import Path

import pytest

from foldstill.errors import ExperimentError
from foldstill.manifest import Stage, changes


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"recipe": {"epochs": 5}}, {"recipe": {"epochs": 6}}, ["recipe.epochs was 5, is 6"]),
        ({"augment": [{"p": 0.5}, 1]}, {"augment": ({"p": 0.1}, 1)}, ["augment.0.p was 0.5, is 0.1"]),
        ({"sizes": [1, 2]}, {"sizes": [1]}, ["sizes was [1, 2], is [1]"]),
        ({"ema": None}, {}, []),
        ({}, {"ema": 0.9}, ["ema was absent, is 0.9"]),
        ({"loss": "kl"}, {"loss": {"kind": "kl"}}, ['loss was "kl", is {"kind": "kl"}']),
        (1, 2, ["the value was 1, is 2"]),
    ],
)
def test_every_difference_is_named_with_its_path(before: object, after: object, lines: list[str]) -> None:
    assert changes(before, after) == lines


def test_a_finished_stage_is_skipped_refused_or_forced(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"table": "ab", "settings": {"rounds": 5}})
    assert not stage.finished()
    stage.finish(kl=0.5)
    assert stage.finished()
    other = Stage(tmp_path, {"table": "ab", "settings": {"rounds": 6}})
    with pytest.raises(ExperimentError, match=r"made from other inputs: settings\.rounds was 5, is 6.*--force"):
        other.finished()
    assert stage.finished(), "a refused stage changes nothing"
    assert not other.finished(force=True)
