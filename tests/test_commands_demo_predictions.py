"""The demo of predictions, from no data to a verdict."""

from pathlib import Path

import pytest

from foldstill.commands.demo_predictions import run_predictions_demo
from made_up import call


def test_the_demo_of_predictions_finds_a_gain_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison, run, truth_kl = run_predictions_demo(tmp_path / "demo")
    best = comparison["log_pool"]
    assert best.difference is not None
    assert best.difference.high < 0
    # No combination is better than the probabilities from which the votes were drawn.
    assert truth_kl < best.kl < comparison["average"].kl
    assert run.dir.report.exists()
    # The files stay as they are, and the command line prints the same verdict.
    labels = tmp_path / "demo" / "files" / "train.csv"
    before = labels.stat().st_mtime_ns
    assert call(monkeypatch, "demo", "--kind", "predictions", "--out", tmp_path / "demo", "-q") == 0
    assert labels.stat().st_mtime_ns == before
    assert f"whose own KL is {truth_kl:.4f}" in capsys.readouterr().out
