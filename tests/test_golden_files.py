"""The goldens' own rules: who writes them, and what counts as the same."""

import json
from pathlib import Path

import pytest

from golden_files import COMPUTED, FOLDER, TRAINED, Golden

VALUE = {"kl": 0.123456789, "rows": 3, "verdict": "Stacking wins by 0.0312 KL.", "scores": {"a": [0.5, None]}}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    Golden(regenerate=True, folder=tmp_path)("one", VALUE, COMPUTED)
    return tmp_path


def test_what_is_written_is_read_back_as_the_same(written: Path) -> None:
    Golden(regenerate=False, folder=written)("one", VALUE, COMPUTED)
    assert json.loads((written / "one.json").read_text())["kl"] == 0.12345679


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kl": 0.1235}, "kl: was 0.12345679, is 0.1235"),
        ({"rows": 4}, "rows: was 3, is 4"),
        ({"rows": 3.0}, "rows: was 3, is 3.0"),
        ({"verdict": "Stacking wins by 0.0412 KL."}, "verdict: was"),
        ({"verdict": "Stacking loses by 0.0312 KL."}, "verdict: was"),
        ({"scores": {"a": [0.5, 0.5]}}, r"scores.a\[1\]: was null, is 0.5"),
        ({"scores": {"b": [0.5, None]}}, r"scores.a: was \[0.5, null\], is gone\n.*scores.b: is new"),
    ],
)
def test_a_difference_is_told_with_its_place(written: Path, change: dict[str, object], told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        Golden(regenerate=False, folder=written)("one", VALUE | change, COMPUTED)


def test_the_last_digit_of_a_number_in_a_text_may_differ(written: Path) -> None:
    Golden(regenerate=False, folder=written)("one", VALUE | {"verdict": "Stacking wins by 0.0313 KL."}, COMPUTED)


def test_nothing_is_written_unless_asked(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="run pytest --regenerate-golden"):
        Golden(regenerate=False, folder=tmp_path)("one", VALUE)
    assert not list(tmp_path.iterdir())


def test_numbers_that_still_agree_keep_the_digits_they_have(written: Path) -> None:
    before = (written / "one.json").read_text()
    Golden(regenerate=True, folder=written)("one", VALUE | {"kl": 0.12346}, TRAINED)
    assert (written / "one.json").read_text() == before
    Golden(regenerate=True, folder=written)("one", VALUE | {"kl": 0.2, "rows": 5}, TRAINED)
    changed = json.loads((written / "one.json").read_text())
    assert (changed["kl"], changed["rows"], changed["scores"]) == (0.2, 5, VALUE["scores"])


def test_goldens_are_small_enough_to_read() -> None:
    sizes = {path.name: path.stat().st_size for path in FOLDER.glob("*.json")}
    assert sizes
    assert sum(sizes.values()) < 60_000, sizes
