"""The examples of docs/extending.md run as they stand there, and each passes the contract suite of its kind."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples" / "extending").glob("*.py"))


def test_there_is_an_example_of_every_kind_that_users_write() -> None:
    assert [path.stem for path in EXAMPLES] == ["combiner", "data_source", "metric"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_one_file_of_at_most_60_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_page_shows_an_example_as_its_file_has_it(path: Path) -> None:
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    name = path.relative_to(ROOT).as_posix()
    (code,) = re.findall(rf"^<!-- {re.escape(name)} -->\n\n```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert code == path.read_text(encoding="utf-8"), f"copy {name} into docs/extending.md"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_passes_its_contract_suite(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It runs as a script, as a reader would run it: it calls the suite and prints a result."""
    assert f"check_{path.stem.removeprefix('data_')}(" in path.read_text(encoding="utf-8")
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip()
