"""`--json` of every command that answers: one object on stdout, with the keys that docs/json.md shows."""

import json
import math
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from foldstill.cli.json_answer import print_json
from made_up import call
from test_cli_help import COMMANDS

if TYPE_CHECKING:
    from foldstill.compare import Comparison
    from foldstill.pipeline import Run

pytestmark = pytest.mark.usefixtures("undrawn")

PAGE = Path(__file__).parents[1] / "docs" / "json.md"
EXAMPLES = {
    name: json.loads(example)
    for names, example in re.findall(
        r"^## (.*?)\n.*?^```json\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    for name in names.split(", ")
}
"""The example of each command."""


def same_keys(answer: Any, example: Any, place: str) -> None:
    """Both have the same keys at every depth; lists are alike when their first records are, and null is like all."""
    if isinstance(answer, dict) and isinstance(example, dict):
        assert list(answer) == list(example), place
        for key in answer:
            if key != "values":  # its keys are the fields that the experiment searches
                same_keys(answer[key], example[key], f"{place}.{key}")
    elif isinstance(answer, list) and isinstance(example, list) and answer and example:
        same_keys(answer[0], example[0], f"{place}[0]")
    elif answer is not None and example is not None:
        numbers = int | float
        alike = (isinstance(answer, numbers) and isinstance(example, numbers)) or type(answer) is type(example)
        assert alike, f"{place}: {answer!r} and {example!r}"


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """The answer of a command with `--json`, whose keys are those of its example."""

    def answer(name: str, *arguments: str | Path) -> Any:
        capsys.readouterr()
        assert call(monkeypatch, *name.split(), *arguments, "--json") == 0
        value = json.loads(capsys.readouterr().out)
        same_keys(value, EXAMPLES[name], name)
        return value

    return answer


def test_every_command_with_json_has_an_example() -> None:
    named = {name for name, one in COMMANDS.items() if any("--json" in option.opts for option in one.params)}
    assert named == set(EXAMPLES)


def test_numbers_that_are_not_finite_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": math.nan, "b": [math.inf, 1.5], "c": Path("x") / "y"})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5], "c": "x/y"}


def test_a_refused_command_prints_nothing_on_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "compare", tmp_path, "--json") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("foldstill:")


def test_answers_about_predictions(answers: Any, tmp_path: Path, rng: np.random.Generator) -> None:
    truth = rng.dirichlet(np.ones(3), 300)
    pred = np.stack([0.6 * truth + 0.4 * rng.dirichlet(np.ones(3), 300) for _ in range(2)], axis=1)
    group = np.arange(300) // 5
    for head in ("h1", "h2"):
        np.savez(tmp_path / f"{head}.npz", pred=pred, votes=rng.multinomial(8, truth), patient=group, fold=group % 3)
        table, stacked = tmp_path / f"{head}.parquet", tmp_path / head
        imported = answers("oof import", tmp_path / f"{head}.npz", "--group", "patient", "--out", table)
        assert (imported["rows"], imported["groups"], imported["folds"]) == (300, 60, 3)
        fitted = answers("stack", table, "--combiner", "convex", "--out", stacked, "--workers", "1", "-q")
        assert fitted["combinations"] == ["average", "convex"]
        assert [finding["id"] for finding in fitted["audit"]] == ["A2"]
        assert answers("compare", stacked)["command"].startswith("foldstill apply")
    assert answers("heads", tmp_path / "h1", tmp_path / "h2")["metric"] == "kl"
    assert not answers("oof audit", table)["failed_hard"]
    assert answers("apply", stacked / "convex", table, "--out", tmp_path / "new.csv")["rows"] == 300


def test_answers_about_a_run(answers: Any, smoke: "tuple[Run, Comparison]", tmp_path: Path) -> None:
    run = shutil.copytree(smoke[0].dir.root, tmp_path / "smoke")
    on_cpu = ("--device", "cpu", "-q", "--workers", "1")
    assert answers("train", run, *on_cpu)["members"] == ["resnet", "efficientnet"]
    assert answers("oof build", run)["test_rows"] == 75
    assert answers("distill", run, *on_cpu)["students"] == ["student", "student without teacher"]
    compared = answers("run", run, *on_cpu)
    assert compared["verdict"] == smoke[1].verdict
    assert compared["run"] == str(run)
    assert answers("sizes", run)["students"][0]["name"] == "nano"
    np.savez(tmp_path / "new.npz", image=smoke[0].dataset.view("image")[:5])
    options = ("--data", tmp_path / "new.npz", "--arm", "student", "--out", tmp_path / "p.csv", "--device", "cpu")
    assert answers("predict", "--run", run, *options)["rows"] == 5


def test_answers_of_an_export_a_search_and_this_machine(
    answers: Any, smoke: "tuple[Run, Comparison]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export and the search are stand-ins: both take longer than everything else here."""
    from foldstill.commands.tune import Tuned
    from foldstill.cost.measure import Latency
    from foldstill.distill.shipment import Shipment

    latency = Latency("student.onnx", 1, 0.1, 0.2, 1, "a processor")
    shipped = Shipment({"student.onnx": "not written: too large"}, (), (latency,))
    monkeypatch.setattr("foldstill.commands.export.export_stage", lambda *_, **__: shipped)
    run = shutil.copytree(smoke[0].dir.root, tmp_path / "smoke")
    [file] = answers("export", run)["files"]
    assert file == {"path": None, "description": "not written: too large"}
    found = Tuned(2, 0.5, {"recipe.lr": 0.01}, tmp_path / "x-tuned.toml", 3)
    monkeypatch.setattr("foldstill.commands.tune.tune", lambda *_, **__: found)
    assert answers("tune", tmp_path / "x.toml")["values"] == {"recipe.lr": 0.01}
    assert "CUDA" in [part["part"] for part in answers("doctor")["parts"]]
