"""What the tables of an experiment file have in common."""

import runpy
from pathlib import Path

import pytest

from foldstill.pipeline.experiment import Experiment
from foldstill.settings import Settings

TABLES = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "make_settings.py"))["classes"](Experiment)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_a_table_refuses_a_key_it_does_not_have(table: type) -> None:
    pydantic = pytest.importorskip("pydantic")
    assert issubclass(table, Settings)
    with pytest.raises(pydantic.ValidationError, match=r"epohcs\n  Unexpected keyword argument"):
        pydantic.TypeAdapter(table).validate_python({"epohcs": 1})
