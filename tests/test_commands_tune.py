"""Tuning end to end: trials over folds, resumed, judged on held-out rows only, written as an experiment file."""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foldstill.commands.tune import tune
from foldstill.errors import ExperimentError
from foldstill.pipeline.experiment_file import read_experiment
from foldstill.workers import Progress, Work
from made_up import timm_table

FILE = """# What this file is for.
name = "x"
[data]
kind = "npz"
path = "train.npz"
images = "images"
votes = "votes"
classes = ["a", "b", "c"]
[folds]
n_folds = 3
[recipe]
epochs = 1
batch_size = 16
lr = 0.01     # found by hand
[[member]]
name = "cnn"
network = "test_resnet"
[[member]]
name = "other"
network = "test_vit"
[tune]
trials = 3
startup = 2
search = [
  { kind = "float", field = "recipe.lr", low = 0.001, high = 0.02, log = true },
  { kind = "choice", field = "member.cnn.recipe.schedule", values = ["cosine", "one_cycle"] },
]
"""


def write(folder: Path, text: str = FILE) -> Path:
    """The experiment and its data."""
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 3, 60)
    images = (rng.normal(60, 20, (60, 16, 16, 3)) + 60 * shown[:, None, None, None]).clip(0, 255).astype(np.uint8)
    votes = np.eye(3)[shown] * 4 + 1
    path = folder / "x.toml"
    path.write_text(text)
    np.savez(folder / "train.npz", images=images, votes=votes)
    return path


def trials(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_best_values_are_written_as_an_experiment_that_runs_elsewhere_unchanged(tmp_path: Path) -> None:
    path = write(tmp_path)
    reports: list[Progress] = []
    best = tune(path, tmp_path / "t", work=Work(1, report=reports.append))
    assert best.path == tmp_path / "x-tuned.toml"
    tuned, base = read_experiment(best.path), read_experiment(path)
    assert tuned.name == "x-tuned"
    assert tuned.tune is None
    assert tuned.member[1].recipe.lr == tuned.member[0].recipe.lr == best.values["recipe.lr"]
    assert tuned.member[0].recipe.schedule == best.values["member.cnn.recipe.schedule"]
    assert replace(tuned, name="x", member=base.member) == replace(base, tune=None)
    text = best.path.read_text()
    assert "# found by hand" in text
    assert "locked test rows" in text
    result = trials(tmp_path / "t")
    assert [t["trial"] for t in result] == ["0", "1", "2"]
    assert best.kl == min(float(t["kl"]) for t in result if t["state"] == "finished")
    assert (reports[-1].task, reports[-1].done, reports[-1].total) == ("trials", 3, 3)
    assert not list((tmp_path / "t").glob("trial-*"))

    # A second call has nothing left to do; a third goes on.
    assert tune(path, tmp_path / "t") == best
    assert tune(path, tmp_path / "t", trials=4).trials == 4
    assert trials(tmp_path / "t")[:3] == result


def test_locked_test_rows_choose_nothing(tmp_path: Path) -> None:
    result = []
    for name in ("as they are", "with other votes"):
        place = tmp_path / name
        place.mkdir()
        path = write(place)
        experiment = read_experiment(path)
        plan = experiment.folds.plan(experiment.data.load(place).labels, 0, place)
        # Votes decide which rows are locked, so both read the same plan.
        plan.write(place / "folds.parquet")
        path.write_text(FILE.replace("n_folds = 3", 'path = "folds.parquet"'))
        if name == "with other votes":
            with np.load(place / "train.npz") as held:
                images, votes = held["images"], held["votes"]
            votes[plan.test_rows] = votes[plan.test_rows][:, ::-1] + 3
            images[plan.test_rows] = 0
            np.savez(place / "train.npz", images=images, votes=votes)
        tune(path, place / "t", trials=1)
        result.append(trials(place / "t"))
    assert result[0] == result[1]


@pytest.mark.slow
def test_two_processes_share_the_trials(tmp_path: Path) -> None:
    best = tune(write(tmp_path), tmp_path / "t", work=Work(2))
    assert best.trials == 3
    assert len({t["recipe.lr"] for t in trials(tmp_path / "t")}) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("recipe.lr", "recipe.lrr"), "did you mean lr"),
        (("recipe.lr", "member.none.drop_rate"), "the list has no 'none'"),
        (("recipe.lr", "member.other.drop_rate"), "changes nothing of the member 'cnn'"),
        (("recipe.lr", "folds.test_share"), "other folds or seeds"),
        (("recipe.lr", "name.lr"), "must be a key of a table"),
        (("low = 0.001, high = 0.02, log = true", "low = -1.0, high = 1.0"), "lr must be positive"),
        (('"one_cycle"', '"sometimes"'), "schedule"),
        (("trials = 3", 'member = "none"'), "none of"),
        (("trials = 3", "folds = 4"), r"tune\.folds is 4"),
        ((FILE[FILE.index("[tune]") :], ""), r"no \[tune\] table"),
    ],
)
def test_a_search_that_cannot_work_is_refused_before_anything_is_trained(
    change: tuple[str, str], said: str, tmp_path: Path
) -> None:
    path = write(tmp_path, FILE.replace(*change))
    with pytest.raises(ExperimentError, match=said):
        tune(path, tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_views_that_are_prepared_once_are_searched_by_name(tmp_path: Path) -> None:
    text = f"""
name = "x"
[data]
kind = "hms"
folder = "hms"
views = [{{ kind = "mel" }}]
{timm_table("cnn", view="mel")}[tune]
search = [{{ kind = "int", field = "data.views.0.n_mels", low = 16, high = 64 }}]
"""
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(ExperimentError, match="search the member's `view`"):
        tune(path, tmp_path / "t")


def test_a_folder_with_trials_of_another_experiment_is_refused(tmp_path: Path) -> None:
    tune(write(tmp_path), tmp_path / "t", trials=1)
    with pytest.raises(ExperimentError, match=r"another experiment: .*batch_size was 16, is 8"):
        tune(write(tmp_path, FILE.replace("batch_size = 16", "batch_size = 8")), tmp_path / "t", trials=1)


def test_a_search_without_a_trainable_trial_says_why(tmp_path: Path) -> None:
    text = FILE.replace("batch_size = 16", 'batch_size = 16\noptimizer = "sgd"\nclip_norm = 0.0')
    text = text.replace("low = 0.001, high = 0.02", "low = 1e30, high = 1e31").replace("epochs = 1", "epochs = 3")
    with pytest.raises(ExperimentError, match=r"none of 1 trials could be trained.*the loss became"):
        tune(write(tmp_path, text), tmp_path / "t", trials=1)


def test_the_command_line_prints_the_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from foldstill.cli import main

    path = write(tmp_path)
    monkeypatch.setattr(
        sys, "argv", ["foldstill", "tune", str(path), "--folder", str(tmp_path / "t"), "--trials", "1", "-q"]
    )
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    result = capsys.readouterr().out
    assert "recipe.lr = " in result
    assert "x-tuned.toml" in result
