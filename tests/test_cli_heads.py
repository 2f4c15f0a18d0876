"""All heads of a multi-label problem in one command, and their report."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foldstill.compare import Comparison, over_heads
from foldstill.errors import FoldstillError, FoldstillWarning
from foldstill.oof import ImportSettings, import_scores
from foldstill.pipeline.heads import head_settings
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


@pytest.mark.parametrize("form", ["own file", "votes", "every file", "npz"])
def test_rows_without_a_label_are_left_out_of_that_head_and_counted(files: Path, form: str) -> None:
    labels = pd.read_csv(files / "labels.csv")
    known_N = np.arange(200) % 4 > 0
    scores = {name: pd.read_csv(files / f"{name}.csv") for name in "ab"}
    settings = ImportSettings(labels=str(files / "labels.csv"), group="patient")
    paths = [files / "a.csv", files / "b.csv"]
    if form == "votes":
        labels["liver_0"], labels["liver_1"] = (1 - labels["liver"]) * known_N, labels["liver"] * known_N
        settings = replace(settings, votes="{head}_{class}", classes=("0", "1"))
    elif form == "every file":
        for name, frame in scores.items():
            both = frame.add_prefix("p_").rename(columns={"p_id": "id"}).merge(labels, on="id")
            both.assign(liver=both["liver"].where(known_N)).to_csv(files / f"{name}.csv", index=False)
        settings = ImportSettings(group="patient", scores="p_{head}")
    elif form == "npz":
        arrays = {key: labels[key].to_numpy() for key in ("fold", "patient")} | {"id": labels["id"].to_numpy(str)}
        proba = np.stack([scores[name]["liver"] for name in "ab"], axis=1)
        np.savez(files / "p.npz", liver_p=proba, liver=labels["liver"].where(known_N), members=["a", "b"], **arrays)
        settings, paths = ImportSettings(group="patient", pred="{head}_p", label="{head}"), [files / "p.npz"]
    labels.assign(liver=labels["liver"].where(known_N)).to_csv(files / "labels.csv", index=False)
    with pytest.warns(FoldstillWarning, match="50 of 200 rows have no label in .*liver.*; the other 150 are used"):
        table = import_scores(paths, head_settings(settings, "liver"))
    kept = labels[known_N]
    assert table.labels.ids.tolist() == kept["id"].tolist()
    assert table.labels.groups.tolist() == kept["patient"].astype(str).tolist()
    assert table.fold_N.tolist() == kept["fold"].tolist()
    assert table.labels.target_NC[:, 1].tolist() == kept["liver"].tolist()
    for m, frame in enumerate(scores.values()):
        np.testing.assert_allclose(table.proba_NMC[:, m, 1], frame["liver"][known_N], rtol=1e-6)
    if form == "own file":
        with pytest.raises(FoldstillError):
            import_scores(paths, replace(head_settings(settings, "liver"), skip_unlabelled=False))


def test_heads_of_files_are_judged_on_their_own_rows(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = pd.read_csv(files / "labels.csv")
    labels["liver"] = labels["liver"].where(np.arange(200) % 4 > 0)
    labels.to_csv(files / "labels.csv", index=False)
    assert call(monkeypatch, *heads(files, "--heads", *HEADS, "--out", files / "all", "-q")) == 0
    assert "50 of 200 rows have no label in 'liver' and are left out" in " ".join(capsys.readouterr().err.split())
    assert [Comparison.read(files / "all" / head).n_rows for head in HEADS] == [200, 150]
    labels.assign(liver=np.nan).to_csv(files / "labels.csv", index=False)
    assert call(monkeypatch, *heads(files, "--heads", *HEADS, "--out", files / "none", "-q")) == 2
    assert "has no label in any row of ['liver']" in " ".join(capsys.readouterr().err.split())
    assert not (files / "none").exists()
