"""All cases of the campaign."""

from fuzz_cases import Case
from fuzz_commands import command_cases
from fuzz_python import python_cases
from fuzz_settings import settings_cases
from fuzz_tables import table_cases


def all_cases() -> list[Case]:
    """Every case; no two of one kind have the same name."""
    cases = [*command_cases(), *table_cases(), *settings_cases(), *python_cases()]
    names = [(case.kind, case.name) for case in cases]
    assert len(set(names)) == len(names), sorted({name for name in names if names.count(name) > 1})[:5]
    return cases
