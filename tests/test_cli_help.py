"""What the command line says about itself, and the options that stand before every command."""

import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer

from foldstill.cli.app import LIST_OPTIONS, app
from foldstill.cli.terminal import repeat_options
from made_up import call


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = {" ".join(path): command for path, command in commands()}


def words(text: str) -> list[str]:
    """Words without the marks of Markdown, the frame of a help page and the ends of lines."""
    return text.replace("`", "").replace("│", " ").split()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_prints_every_word_that_was_written(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Markup once ate `[tune]` and `[default: ...]`, Markdown eats `<name>`."""
    monkeypatch.setenv("TERMINAL_WIDTH", "400")
    assert call(monkeypatch, *name.split(), "-h") == 0
    page = " ".join(words(capsys.readouterr().out))
    command = COMMANDS[name]
    for text in [command.help, *(one.help for one in command.params if one.help)]:
        for paragraph in re.split(r"\n\s*\n", text):
            assert " ".join(words(paragraph)) in page


WITH_DEVICE = [name for name, command in COMMANDS.items() if any("--device" in one.opts for one in command.params)]


def test_commands_that_compute_with_networks_take_a_device() -> None:
    assert sorted(WITH_DEVICE) == ["distill", "predict", "prepare", "run", "train", "tune"]


@pytest.mark.parametrize("name", WITH_DEVICE)
def test_a_device_that_is_not_there_is_refused_before_anything_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where all is finished and nothing would be computed. No file of the example is there."""
    [example] = re.findall(r"Example: foldstill (.*)", COMMANDS[name].help)
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *example.split(), "--device", "cuda:99") == 2
    message = " ".join(capsys.readouterr().err.split())
    assert re.fullmatch(r"foldstill: device 'cuda:99' (needs a GPU, and torch finds no|is not there: torch).*", message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_a_command_is_one_that_it_accepts(name: str) -> None:
    [example] = re.findall(r"Example: foldstill (.*)", COMMANDS[name].help)
    assert example.startswith(f"{name} ") or example == name
    arguments = repeat_options(example.removeprefix(name).split(), LIST_OPTIONS)
    # Options with a path that must exist are left out: nothing of the example exists here.
    for option in ("--labels",):
        if option in arguments:
            at = arguments.index(option)
            assert any(option in one.opts for one in COMMANDS[name].params)
            del arguments[at : at + 2]
    COMMANDS[name].make_context(name, arguments)


def test_the_version_is_that_of_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"foldstill {version('foldstill')}\n"


def test_a_log_keeps_command_errors_and_times_and_is_appended_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "my.log"
    assert call(monkeypatch, "--log", log, "init", tmp_path / "mine.toml") == 0
    assert call(monkeypatch, "--log", log, "run", tmp_path / "none.toml") == 2
    first, end, second, error, last = log.read_text(encoding="utf-8").splitlines()
    assert f"INFO foldstill --log {log} init" in first
    assert re.search(r"INFO exit code 0 after \d+\.\d s$", end)
    assert "INFO foldstill" in second
    assert "ERROR nothing is at" in error
    assert "exit code 2" in last


def test_a_log_is_never_written_into_a_file_of_another_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "train.csv"
    table.write_text("id\n1\n", encoding="utf-8")
    assert call(monkeypatch, "--log", table, "doctor") == 2
    assert "must be a file that ends in .log" in " ".join(capsys.readouterr().err.split())
    assert table.read_text(encoding="utf-8") == "id\n1\n"
