"""The short campaign: a seeded sample of every kind of wrong input, a few of them also as real processes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fuzz_cases import Case, Outcome, content, figures, run_case, share_named, without_training
from fuzz_kinds import all_cases
from fuzz_world import case_folder, make_world

pytestmark = pytest.mark.usefixtures("undrawn")

SAMPLE = {"valid calls": 100, "Python arguments": 300, "odd tables": 40, "wrong options": 25}
"""Number of cases per kind; a call in Python is a hundred times faster than a command."""
USUAL_SAMPLE = 12
SEED = 0
WANTED_SHARE = 0.97


def sampled(cases: list[Case]) -> list[Case]:
    """Some cases of every kind, the same ones for the same seed."""
    rng = np.random.default_rng(SEED)
    chosen = []
    for kind in dict.fromkeys(case.kind for case in cases):
        some = [case for case in cases if case.kind == kind]
        n = min(len(some), SAMPLE.get(kind, USUAL_SAMPLE))
        chosen += [some[i] for i in sorted(rng.choice(len(some), n, replace=False))]
    return chosen


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    make_world(folder)
    return folder


@pytest.fixture(scope="module")
def outcomes(scratch: Path) -> list[Outcome]:
    with without_training():
        return [run_case(case, scratch / "world", case_folder(scratch)) for case in sampled(all_cases())]


def test_the_long_campaign_has_more_than_a_thousand_inputs_of_every_command() -> None:
    cases = all_cases()
    assert len(cases) > 1000
    assert len({(case.kind, case.name) for case in cases}) == len(cases)


def test_valid_calls_are_accepted(outcomes: list[Outcome]) -> None:
    """Otherwise a damaged copy of such a call would be refused for another reason than its damage."""
    valid = [one for one in outcomes if one.case.kind == "valid calls"]
    assert len(valid) > 30
    assert [(one.case.name, one.message) for one in valid if one.verdict != "accepted"] == []


def test_no_wrong_input_ends_in_a_traceback_is_accepted_or_leaves_half_an_output(outcomes: list[Outcome]) -> None:
    faults = [
        f"{one.verdict}: {one.case.kind}: {one.case.name}: {one.message[:300]}" for one in outcomes if one.is_fault
    ]
    assert not faults, "\n".join([*faults, figures(outcomes)])


def test_nearly_every_refusal_names_the_place(outcomes: list[Outcome]) -> None:
    unnamed = [f"{one.case.name}: {one.message[:300]}" for one in outcomes if not one.place_named]
    assert share_named(outcomes) >= WANTED_SHARE, "\n".join(unnamed)


def test_a_real_process_ends_as_the_call_in_this_process_does(scratch: Path, outcomes: list[Outcome]) -> None:
    """In-process calls share modules, working folder and warnings; two sampled cases show that this changes nothing."""
    refused = [one for one in outcomes if one.verdict == "refused" and not callable(one.case.run)]
    for one in refused[:: max(1, len(refused) // 2)][:2]:
        folder = case_folder(scratch)
        run_case(one.case, scratch / "world", folder)
        before = content(folder)
        done = subprocess.run(
            [sys.executable, "-m", "foldstill", *one.case.run],  # type: ignore[misc]
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (2, 3), done.stderr
        assert "Traceback" not in done.stderr
        assert content(folder) == before
