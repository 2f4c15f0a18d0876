"""`foldstill verdict`: one command from prediction files to the answer, equal to the stages one by one."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foldstill.compare import Comparison
from foldstill.stacking import load
from made_up import call

CHOSEN = ("--combiner", "recalibrated", "convex", "auto")


@pytest.fixture
def files(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Held-out scores of three members over 60 groups of 5 rows, one file per member, and labels beside them."""
    truth = rng.dirichlet([1.0, 1.0, 1.0], 300)
    ids, classes = [f"r{i}" for i in range(300)], ["x", "y", "z"]
    for name, noise in {"a": 0.4, "b": 0.4, "c": 2.0}.items():
        logits = np.log(truth) + noise * rng.normal(size=(300, 3))
        proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        pd.DataFrame(proba, columns=classes).assign(id=ids).to_csv(tmp_path / f"{name}.csv", index=False)
    votes = pd.DataFrame(rng.multinomial(8, truth), columns=[f"{c}_vote" for c in classes])
    group = np.arange(300) // 5
    votes.assign(id=ids, patient=group, fold=group % 3).to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path


def arguments(files: Path, *more: str | Path) -> tuple[str | Path, ...]:
    paths = [files / f"{name}.csv" for name in "abc"]
    return ("verdict", *paths, "--labels", files / "labels.csv", "--group", "patient", "--out", files / "v", *more)


def test_one_command_gives_the_numbers_of_the_stages_one_by_one(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *arguments(files, *CHOSEN, "-q")) == 0
    screen = capsys.readouterr().out
    paths = [files / f"{name}.csv" for name in "abc"]
    table, stacked = files / "t.parquet", files / "s"
    labels = ("--labels", files / "labels.csv", "--group", "patient")
    assert call(monkeypatch, "oof", "import", *paths, *labels, "--out", table) == 0
    assert call(monkeypatch, "stack", table, *CHOSEN, "--out", stacked, "--workers", "1", "-q") == 0
    assert call(monkeypatch, "compare", stacked) == 0
    ours, theirs = Comparison.read(files / "v"), Comparison.read(stacked)
    assert ours.table() == theirs.table()
    assert ours.verdict == theirs.verdict
    assert (files / "v" / "report.html").exists()
    # One screen: the audit's warning, every arm, the verdict, and the command that uses the recommended arm.
    assert "A2 warn" in screen
    assert ours.verdict in " ".join(screen.split())
    assert all(name in screen for name in ("recalibrated", "convex", "auto", "average", "class prior"))
    assert f"foldstill apply {files / 'v' / 'stacking' / ours.judgement.recommended} NEW_SCORES" in screen
    assert len(screen.splitlines()) <= 40


def test_the_command_that_is_printed_applies_the_recommended_arm(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *arguments(files, *CHOSEN, "--json")) == 0
    printed = capsys.readouterr().out
    facts = json.loads(printed)
    program, *command, new = facts["command"].split()
    assert (program, new) == ("foldstill", "NEW_SCORES")
    tables = [files / f"{name}.csv" for name in "abc"]
    assert call(monkeypatch, *command, *tables, "--out", files / "new.csv") == 0
    assert len(pd.read_csv(files / "new.csv")) == 300


def test_json_holds_the_answer_which_compare_gives_again_and_progress_goes_to_stderr(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *arguments(files, *CHOSEN, "--json")) == 0
    printed = capsys.readouterr()
    facts, comparison = json.loads(printed.out), Comparison.read(files / "v")
    assert "cross-fit: done" in printed.err
    assert call(monkeypatch, "compare", files / "v", "--json") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    again = json.loads(printed.out)
    assert again.pop("durations") != facts.pop("durations")  # that of a second comparison is in it
    assert again == facts
    assert facts["verdict"] == comparison.verdict
    assert facts["answer"] == comparison.judgement.answer
    assert facts["recommended"] == comparison.judgement.recommended
    assert [one["arm"] for one in facts["arms"] if one["rows"] == "all"] == [arm.name for arm in comparison.arms]
    assert (facts["rows"], facts["groups"]) == (300, 60)
    assert [finding["id"] for finding in facts["audit"]] == ["A2"]


def test_the_same_command_again_keeps_its_combinations_and_another_table_is_refused(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *arguments(files, *CHOSEN, "-q")) == 0
    made = (files / "v" / "stacking" / "convex" / "combination.json").stat().st_mtime_ns
    assert call(monkeypatch, *arguments(files, *CHOSEN, "-q")) == 0
    assert (files / "v" / "stacking" / "convex" / "combination.json").stat().st_mtime_ns == made
    before = {path: path.stat().st_mtime_ns for path in (files / "v").rglob("*") if path.is_file()}
    capsys.readouterr()
    assert call(monkeypatch, *arguments(files, *CHOSEN, "-q", "--drop-members", "c")) == 2
    assert "--force" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (files / "v").rglob("*") if path.is_file()} == before
    assert call(monkeypatch, *arguments(files, *CHOSEN, "-q", "--force", "--drop-members", "c")) == 0
    assert "c" not in [arm.name for arm in Comparison.read(files / "v").arms]


def test_wrong_input_is_one_sentence_and_leaves_no_folder(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *arguments(files, "--combiner", "voting")) == 2
    assert "voting" in capsys.readouterr().err
    assert call(monkeypatch, *arguments(files, "--pred", "nothing")) == 2
    assert not (files / "v").exists()


@pytest.mark.parametrize("command", ["verdict", "stack", "compare"])
def test_without_the_mlp_nothing_that_trains_is_imported(files: Path, command: str) -> None:
    of_command = {
        "verdict": [arguments(files, "-q", "--combiner", "lightgbm", "auto")],
        "stack": [
            arguments(files, "-q", "--combiner", "average"),
            ["stack", files / "v/oof.parquet", "--combiner", "auto"],
        ],
        "compare": [arguments(files, "-q", "--combiner", "average"), ["compare", files / "v"]],
    }
    code = """
import sys
from foldstill.cli import main
sys.argv = ["foldstill", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
assert not {"torch", "sklearn", "scipy.stats"} & set(sys.modules)
assert not {"foldstill.base_models", "foldstill.distill.settings", "foldstill.hms"} & set(sys.modules)
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for each in of_command[command]:
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, each)],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env=environment,
        )
        assert done.returncode == 0, done.stderr[-3000:]


def test_auto_decides_for_the_stratum_that_is_named(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = pd.read_csv(files / "labels.csv")
    labels.assign(site=np.where(labels["patient"] % 2, "north", "south")).to_csv(files / "labels.csv", index=False)
    chosen = arguments(files, "--stratum", "site", "--combiner", "auto", "-q")
    assert call(monkeypatch, *chosen, "--judged-on", "north") == 0
    fitted = load(files / "v" / "stacking" / "auto")
    assert fitted.combiner.judged_on == "north"
    assert "with rows of north" in fitted.explanation
    table, stacked = files / "v" / "oof.parquet", files / "s"
    options = ("--combiner", "auto", "--out", stacked, "--workers", "1", "-q")
    assert call(monkeypatch, "stack", table, "--judged-on", "north", *options) == 0
    assert load(stacked / "stacking" / "auto").explanation == fitted.explanation
    capsys.readouterr()
    for more, message in (
        (("--judged-on", "west"), r"--judged-on must name a stratum of the table, got 'west', the table has"),
        (("--judged-on", "north", "--combiner", "convex"), "auto is not among the combiners"),
    ):
        assert call(monkeypatch, "stack", table, "--out", files / "none", "-q", *more) == 2
        assert re.search(message, " ".join(capsys.readouterr().err.split()))
        assert not (files / "none").exists()


def test_printed_commands_run_as_they_stand_and_the_audit_stands_beside_the_verdict(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a blank in the folder, a member whose name looks like markup, and one that is a copy of the labels."""
    votes = pd.read_csv(files / "labels.csv").filter(like="_vote").to_numpy()
    hard = np.eye(3)[votes.argmax(axis=1)]
    frame = pd.DataFrame(hard, columns=["x", "y", "z"]).assign(id=[f"r{i}" for i in range(300)])
    frame.to_csv(files / "copy[tune].csv", index=False)
    frame.assign(label=np.asarray(["x", "y", "z"])[votes.argmax(axis=1)])[["id", "label"]].assign(
        patient=np.arange(300) // 5, fold=np.arange(300) // 5 % 3
    ).to_csv(files / "hard.csv", index=False)
    paths, out = [files / "a.csv", files / "b.csv", files / "copy[tune].csv"], files / "my answer"
    line = ("verdict", *paths, "--labels", files / "hard.csv", "--group", "patient", "--out", out)
    assert call(monkeypatch, *line, "--combiner", "convex", "-q") == 0
    screen = capsys.readouterr().out
    after = screen[screen.index("beats plain averaging") :]
    assert "A5 warn: Hardly any label is missed by copy[tune]" in " ".join(after.split())
    [command] = [text.partition(": ")[2] for text in screen.splitlines() if text.startswith("To use")]
    assert shlex.split(command)[:3] == ["foldstill", "apply", str(out / "stacking" / "convex")]
    assert call(monkeypatch, "stack", out, "--combiner", "convex", "--workers", "1", "-q") == 0
    [following] = re.findall(r"Next: (.*)", capsys.readouterr().out)
    assert call(monkeypatch, *shlex.split(following)[1:]) == 0


def test_a_verdict_that_is_interrupted_ends_in_one_sentence(files: Path) -> None:
    command = [sys.executable, "-m", "foldstill", *map(str, arguments(files, "--combiner", "mlp", "-q"))]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not (files / "v" / "oof.parquet").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors.strip()) == (130, "", "interrupted; finished work is kept")
