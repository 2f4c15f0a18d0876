"""Pages that are made from the code are as the code is."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_of_settings_is_as_the_code_is() -> None:
    made = runpy.run_path(str(DOCS / "make_settings.py"))
    assert (DOCS / "settings.md").read_text(encoding="utf-8") == made["page"](), "run: python docs/make_settings.py"
