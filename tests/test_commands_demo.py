"""The demo, from no data to a verdict and a submission, with few patients and one epoch."""

import sys
from pathlib import Path

import pandas as pd
import pytest

from foldstill.commands.demo import demo_text, run_demo
from foldstill.compare import Comparison
from foldstill.errors import ExperimentError
from foldstill.hms import HmsData
from foldstill.pipeline.experiment_file import parse_experiment
from foldstill.workers import Work

pytestmark = pytest.mark.usefixtures("undrawn")

# Ten of them have votes: the fewest here with which every training set has every class.
PATIENTS = 14


def short() -> str:
    text = demo_text().replace("epochs = 12", "epochs = 1").replace("epochs = 24", "epochs = 1")
    text = text.replace("batch_size = 32", "batch_size = 8").replace("n_folds = 4", "n_folds = 2")
    text = text.replace("test_share = 0.5", "test_share = 0.3").replace("widths = [8, 16, 24]", "widths = [4, 8]")
    text = text.replace('teacher = "auto"', 'teacher = "recalibrated"').replace("seeds = 3", "seeds = 1")
    return text + "".join(f'\n[[stacking.combiner]]\nkind = "{kind}"\n' for kind in ("average", "recalibrated"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Comparison]:
    out = tmp_path_factory.mktemp("demo") / "run"
    comparison, run, truth_kl = run_demo(out, text=short(), patients=PATIENTS, work=Work(1))
    assert run.dir.report.exists()
    # Nothing has learned much after an epoch, and the probabilities from which votes are drawn are better than that.
    assert truth_kl is not None
    assert truth_kl < min(arm.kl for arm in comparison.arms)
    return out, comparison


def test_the_demo_goes_from_no_data_to_every_arm(demo: tuple[Path, Comparison]) -> None:
    out, comparison = demo
    assert {arm.name for arm in comparison.arms} == {
        *("spectrogram", "eeg-spectrogram", "eeg"),
        *("class prior", "average", "recalibrated", "student", "student without teacher"),
    }
    assert comparison.rows == "test"
    assert (out / "hms" / "train.csv").exists()
    assert (out / "hms-cache" / "manifest.json").exists()


def test_a_second_demo_makes_nothing_again(demo: tuple[Path, Comparison]) -> None:
    out, first = demo
    made = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.suffix in (".safetensors", ".npy", ".csv")}
    made = {p: t for p, t in made.items() if p.name != "comparison.csv"}
    again, _, _ = run_demo(out, text=short(), patients=PATIENTS, work=Work(1))
    assert {p: p.stat().st_mtime_ns for p in made} == made
    assert again["average"].kl == first["average"].kl


def test_the_demos_student_makes_a_submission(
    demo: tuple[Path, Comparison], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from foldstill.cli import main

    out, _ = demo
    line = ["predict", "--run", out, "--data", out / "hms", "--arm", "student", "--out", tmp_path / "submission.csv"]
    monkeypatch.setattr(sys, "argv", ["foldstill", *map(str, line)])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    made, sample = pd.read_csv(tmp_path / "submission.csv"), pd.read_csv(out / "hms" / "sample_submission.csv")
    assert made.eeg_id.tolist() == sample.eeg_id.tolist()
    assert made.iloc[:, 1:].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)


def test_the_demo_uses_the_competitions_format_and_refuses_other_data(tmp_path: Path) -> None:
    assert isinstance(parse_experiment(demo_text(), "the demo").data, HmsData)
    text = 'name = "x"\n[data]\nkind = "digits"\n[[member]]\nname = "a"\nnetwork = "test_resnet"\n'
    with pytest.raises(ExperimentError, match="foldstill run"):
        run_demo(tmp_path, text=text)
