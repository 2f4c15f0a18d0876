"""Command lines with wrong options, wrong paths, damaged files and outputs that cannot be written."""

from collections.abc import Iterator

from fuzz_artefacts import damaged_artefacts
from fuzz_calls import BASE, SLOW, command_case
from fuzz_cases import Case
from fuzz_files import damaged_inputs, wrong_paths
from fuzz_options import unknown_arguments, wrong_values
from fuzz_outputs import outputs


def command_cases() -> Iterator[Case]:
    for command, (_, arguments) in BASE.items():
        if command not in SLOW:
            yield command_case(command, "as it should be", "valid calls", arguments, must_refuse=False)
    yield from unknown_arguments()
    yield from wrong_values()
    yield from wrong_paths()
    yield from damaged_inputs()
    yield from damaged_artefacts()
    yield from outputs()
