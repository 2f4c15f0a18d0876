"""All heads of a multi-label problem in one command, and their report."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foldstill.compare import Comparison, over_heads
from made_up import call

HEADS = ("kidney", "liver")
pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def files(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Held-out probabilities of two members for two heads, 40 groups of 5 rows, and labels beside them."""
    logits = 1.5 * rng.normal(size=(200, 2))
    ids = [f"r{i}" for i in range(200)]
    for name, noise in {"a": 0.5, "b": 1.5}.items():
        proba = 1 / (1 + np.exp(-logits - noise * rng.normal(size=logits.shape)))
        pd.DataFrame(proba, columns=list(HEADS)).assign(id=ids).to_csv(tmp_path / f"{name}.csv", index=False)
    labels = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(int)
    group = np.arange(200) // 5
    frame = pd.DataFrame(labels, columns=list(HEADS)).assign(id=ids, patient=group, fold=group % 3)
    frame.to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path


def heads(files: Path, *more: str | Path) -> tuple[str | Path, ...]:
    given = ("--labels", files / "labels.csv", "--group", "patient", "--combiner", "recalibrated")
    return ("heads", files / "a.csv", files / "b.csv", *given, *more)


def test_one_command_compares_every_head_and_writes_a_report(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = files / "all"
    assert call(monkeypatch, *heads(files, "--heads", *HEADS, "--out", out, "--metric", "auroc", "-q", "--json")) == 0
    answer = json.loads(capsys.readouterr().out)
    one_by_one = ("verdict", files / "a.csv", files / "b.csv", "--labels", files / "labels.csv", "--group", "patient")
    for head in HEADS:
        chosen = ("--label", head, "--scores", head, "--out", files / head, "--metric", "auroc")
        assert call(monkeypatch, *one_by_one, *chosen, "--combiner", "recalibrated", "-q") == 0
        assert Comparison.read(out / head).table() == Comparison.read(files / head).table()
    summary = over_heads({head: Comparison.read(out / head) for head in HEADS})
    assert (answer["verdict"], answer["metric"]) == (summary.verdict, "auroc")
    assert answer["report"] == str(out / "heads.html")
    page = (out / "heads.html").read_text(encoding="utf-8")
    assert summary.verdict in page
    assert re.findall(r'<a href="([^"]*report\.html)">', page) == [f"{head}/report.html" for head in HEADS]
    assert all((out / head / "report.html").exists() for head in HEADS)
    assert page.count("<html") == page.count("</html>") == 1


def test_folders_of_compared_heads_get_a_report_where_one_is_asked_for(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *heads(files, "--heads", *HEADS, "--out", files / "all", "-q")) == 0
    runs = [files / "all" / head for head in HEADS]
    (files / "all" / "heads.html").unlink()
    assert call(monkeypatch, "heads", *runs) == 0
    assert not (files / "all" / "heads.html").exists()
    capsys.readouterr()
    assert call(monkeypatch, "heads", *runs, "--out", files / "elsewhere") == 0
    assert "heads.html" in capsys.readouterr().out
    # The reports of the heads lie elsewhere, so there is nothing to link to.
    assert "report.html" not in (files / "elsewhere" / "heads.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--heads", "kidney"), r"--heads must name two or more different heads, got \['kidney'\]"),
        (("--heads", "kidney", "kidney"), "two or more different heads"),
        (("--heads", "kidney", "spleen"), "spleen"),
        (("--heads", "kidney", "../liver"), "cannot name a folder"),
        ((), "labels, group would have no effect"),
    ],
)
def test_heads_that_cannot_be_read_are_one_sentence_and_leave_no_folder(
    files: Path,
    more: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(monkeypatch, *heads(files, *more, "--out", files / "all")) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (files / "all").exists()
