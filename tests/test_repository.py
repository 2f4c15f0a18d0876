"""The files around the package, which run on other machines: they must parse, and agree with pyproject.toml."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
"""Packages that conda-forge calls by another name."""


def read(path: str | Path) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_every_yaml_file_parses() -> None:
    paths = [*ROOT.glob(".github/**/*.yml"), *ROOT.glob("*.yaml"), *ROOT.glob("conda/*.yaml"), ROOT / "CITATION.cff"]
    assert len(paths) >= 7
    assert all(read(path) for path in paths)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_write_nothing_that_it_does_not_name(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["runs-on"]
        for step in job["steps"]:
            assert "run" in step or re.fullmatch(r"[\w.-]+/[\w.-]+@[\w./-]+", step["uses"])


def test_the_tests_run_on_every_python_that_is_supported() -> None:
    matrix = read(".github/workflows/tests.yml")["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python"][0] == PROJECT["requires-python"].removeprefix(">=")
    assert matrix["python"] == ["3.11", "3.12", "3.13"]
    assert matrix["os"] == ["ubuntu-latest", "macos-latest"]


def test_the_versions_are_one_version() -> None:
    assert read("CITATION.cff")["version"] == PROJECT["version"]
    assert read("conda/recipe.yaml")["package"]["version"] == PROJECT["version"]


def test_conda_requires_what_pip_requires() -> None:
    wanted = {f"python {PROJECT['requires-python']}"}
    for one in PROJECT["dependencies"]:
        name, bound = re.fullmatch(r"([\w-]+)(>=.+)", one).groups()  # type: ignore[union-attr]
        wanted.add(f"{CONDA_NAMES.get(name, name)} {bound}")
    assert set(read("conda/recipe.yaml")["requirements"]["run"]) == wanted


def test_the_image_copies_files_that_are_there_and_not_ignored() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = {name for line in re.findall(r"^COPY (.*) \S+$", text, flags=re.MULTILINE) for name in line.split()}
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == kept
    assert all((ROOT / name).exists() for name in copied)
    extras = re.findall(r"EXTRAS=([\w,]+)", text)
    assert {name for line in extras for name in line.split(",")} <= set(PROJECT["optional-dependencies"])


def test_hooks_run_tools_of_the_development_environment() -> None:
    [repo] = read(".pre-commit-config.yaml")["repos"]
    tools = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in repo["hooks"]}
    names = {re.split(r"[>\[]", one)[0] for one in PROJECT["optional-dependencies"]["dev"]}
    assert {name.replace("lint-imports", "import-linter") for name in tools} <= names
