"""What the tables of an experiment file have in common."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from pydantic import ValidationError

from foldstill.errors import ArgumentError
from foldstill.pipeline.experiment import KINDS, Experiment
from foldstill.settings import (
    ByKind,
    Described,
    KindSettings,
    NamedKind,
    Settings,
    alternatives,
    settings_classes,
    type_adapter,
)


@pytest.mark.parametrize("table", settings_classes(Experiment, KINDS), ids=lambda table: table.__name__)
def test_a_table_refuses_a_key_it_does_not_have(table: type) -> None:
    assert issubclass(table, Settings)
    with pytest.raises(ValidationError, match=r"epohcs\n  Unexpected keyword argument"):
        type_adapter(table, KINDS).validate_python({"epohcs": 1})


@dataclass(frozen=True)
class Leaf(KindSettings, kind="leaf"):
    size: int


@dataclass(frozen=True)
class Branch(KindSettings, kind="branch"):
    parts: tuple[Annotated[Any, ByKind("plant")], ...] = field(default_factory=tuple)


PLANTS = {"plant": (Leaf, Branch)}


def test_a_table_can_contain_tables_of_its_own_kind() -> None:
    tree = {"kind": "branch", "parts": [{"kind": "branch", "parts": [{"kind": "leaf", "size": 2}]}]}
    assert type_adapter(Branch, PLANTS).validate_python(tree) == Branch((Branch((Leaf(2),)),))
    assert settings_classes(Branch, PLANTS) == [Branch, Leaf]


def test_an_error_in_a_nested_table_concerns_the_selected_kind_only() -> None:
    reader = type_adapter(Branch, PLANTS)
    with pytest.raises(ValidationError, match=r"(?s)1 validation error.*parts\.0\.leaf\.szie"):
        reader.validate_python({"parts": [{"kind": "leaf", "size": 1, "szie": 2}]})
    with pytest.raises(ValidationError, match="'leaf', 'branch'"):
        reader.validate_python({"parts": [{"kind": "laef"}]})


def test_a_kind_whose_classes_are_unknown_is_refused_by_name() -> None:
    with pytest.raises(KeyError, match="no settings classes are known for kinds of plant"):
        type_adapter(Branch, {})
    with pytest.raises(KeyError, match="kinds of plant"):
        alternatives(Annotated[Any, ByKind("plant")], {"animal": ()})


def test_a_class_without_a_docstring_keeps_the_summary_of_its_base() -> None:
    class Clip(Described):
        """Limits scores to a range."""

    class Clamp(Clip):
        pass

    assert Clamp.summary == "Limits scores to a range."


def test_a_class_states_its_kind_once_and_refuses_others() -> None:
    @dataclass(frozen=True)
    class Clamp(NamedKind, kind="clamp"):
        """Limits scores to a range."""

    assert (Clamp.kind, Clamp.name, Clamp.title) == ("clamp", "clamp", "Clamp")
    assert Clamp.example() == Clamp(kind="clamp", name="clamp")
    with pytest.raises(ArgumentError, match=r"kind of .*Clamp must be one of 'clamp', got 'clip'"):
        Clamp(kind="clip")
