"""HMS on the command line: from files or a seed to views, drawings and a submission."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foldstill.commands.hms import prepare_views
from foldstill.errors import ExperimentError
from foldstill.hms.montage import VOTE_COLUMNS
from foldstill.workers import Work
from made_up import call

SMALL = """
[[data.views]]
kind = "mel"
n_mels = 16
width = 32
"""
RUN = (
    """
name = "tiny"
[data]
kind = "synthetic_hms"
patients = 8
recordings = 2
"""
    + SMALL
    + """
[folds]
n_folds = 2
[recipe]
epochs = 1
batch_size = 4
[[member]]
name = "mel-cnn"
network = "test_efficientnet"
view = "mel"
"""
)


@pytest.fixture(scope="module")
def hms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic HMS of five patients; one EEG file is cut short."""
    out = tmp_path_factory.mktemp("cli") / "hms"
    with pytest.MonkeyPatch.context() as patch:
        code = call(
            patch, "synth-hms", out, "--patients", "5", "--recordings", "2", "--test-patients", "2", "--seed", "3"
        )
    assert code == 0
    first = sorted((out / "train_eegs").iterdir())[0]
    first.write_bytes(first.read_bytes()[:1000])
    return out


def of_file(folder: Path, hms: Path) -> Path:
    path = folder / "hms.toml"
    path.write_text(
        f'name = "x"\n[data]\nkind = "hms"\nfolder = "{hms}"\ncache = "cache"\n{SMALL}'
        '[[member]]\nname = "a"\nnetwork = "test_resnet"\nview = "mel"\n'
    )
    return path


def test_prepare_makes_the_views_of_an_experiment_and_tells_what_was_wrong(
    hms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from foldstill.pipeline.experiment_file import read_experiment

    path = of_file(tmp_path, hms)
    assert call(monkeypatch, "prepare", path, "--workers", "1") == 0
    output = capsys.readouterr()
    assert "prepare: done" in output.err
    assert "cut short" in output.out
    assert "left out" in output.out
    with pytest.warns(UserWarning, match="could not be read and are left out"):
        data = read_experiment(path).data.load(tmp_path)
    assert data.view("mel").shape[1:] == (16, 32, 4)
    before = (tmp_path / "cache" / "mel.npy").stat().st_mtime_ns
    assert call(monkeypatch, "prepare", path, "--workers", "1", "-q") == 0
    assert (tmp_path / "cache" / "mel.npy").stat().st_mtime_ns == before


@pytest.mark.parametrize("width", [60, 80])
def test_problems_of_files_fit_a_narrow_terminal_and_say_what_is_left_out(width: int, tmp_path: Path) -> None:
    from rich.console import Console

    from foldstill.commands.hms import problems_table
    from foldstill.hms.cache import Cache
    from foldstill.hms.files import Problem
    from foldstill.hms.prepare import Prepared

    long = "train_eegs/2277392603.parquet[x] cannot be read: it is cut short or not a parquet file; copy it again"
    problems = (
        Problem("1000913311.parquet", "missing values", "0.42% of values, longest run 2000 of 10000"),
        Problem("2277392603.parquet", "shorter than its label offset", "recording 2277392603 has 48 s", fatal=True),
        Problem("sample 7-4", "left out", long, fatal=True),
    )
    # Without markup, as the command line prints it.
    console = Console(width=width, record=True, file=io.StringIO(), markup=False)
    console.print(problems_table(Prepared(Cache(tmp_path), problems, 9, (3,))))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert text.count("left out") == 2
    assert all(part in text for part in ("[x]", "missing values", "longest run"))
    assert "\\[" not in text
    assert len(next(line for line in text.splitlines() if "detail" in line).split()) == 3


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_prepare_uses_a_gpu_only_where_there_is_one(
    device: str, hms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code = call(monkeypatch, "prepare", of_file(tmp_path, hms), "--workers", "1", "--device", device, "-q")
    if device == "auto":
        assert code == 0
        assert json.loads((tmp_path / "cache" / "mel.json").read_text())["computed_by"] == ["numpy"]
    else:
        assert code == 2
        assert "torch finds no CUDA device: use device auto or cpu" in capsys.readouterr().err


def test_strict_stops_at_the_first_problem(
    hms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "prepare", of_file(tmp_path, hms), "--workers", "1", "--strict", "-q") == 2
    assert "prepare without strict" in capsys.readouterr().err


def test_prepare_takes_a_folder_and_views_by_kind(hms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "c"
    assert call(monkeypatch, "prepare", hms, "--cache", cache, "--view", "mel", "raw_eeg", "--workers", "1", "-q") == 0
    assert sorted(p.name for p in cache.glob("*.npy")) == ["mel.npy", "raw_eeg.npy"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("prepare", "{file}", "--rows", "window"), "leave the options out"),
        (("prepare", "{run}", "--strict"), "--strict and --device are for HMS files"),
        (("prepare", "{hms}", "--view", "mell"), "no view of kind 'mell'"),
        (("prepare", "nowhere"), "not an HMS folder"),
        (("show", "view", "{run}", "kaggle"), "no view 'kaggle'"),
        (("show", "view", "{hms}", "mel", "--sample", "7"), "no sample '7'"),
        (("show", "view", "{hms}", "mel", "--at", "7"), "--at is a time in an EEG file"),
        (("synth-hms", "{hms}"), "already holds HMS files"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    arguments: tuple[str, ...],
    message: str,
    hms: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run.toml"
    run.write_text(RUN)
    places = {"file": of_file(tmp_path, hms), "run": run, "hms": hms}
    assert call(monkeypatch, *(a.format(**places) for a in arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("foldstill:")
    assert message in error


def test_a_gpu_that_would_compute_no_view_is_refused(hms: Path, tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"device 'cuda' would have no effect: none of the views \(raw_eeg\)"):
        prepare_views(hms, cache=tmp_path / "cache", views=("raw_eeg",), work=Work(device="cuda"))
    assert not list(tmp_path.iterdir())


def recording(path: Path) -> Path:
    from foldstill.hms.edf_writing import write_edf
    from foldstill.hms.montage import EEG_CHANNELS

    pytest.importorskip("mne", reason="pip install 'foldstill[eeg]'")
    signal_ET = np.random.default_rng(0).normal(0, 20, (len(EEG_CHANNELS), 75 * 100))
    write_edf(path, EEG_CHANNELS, signal_ET, 100, [(26.0 + 2 * n, 1.0, "ab"[n % 2]) for n in range(12)])
    return path


@pytest.mark.parametrize("view", ["mel", "eeg"])
def test_views_of_an_edf_file_are_drawn_without_an_experiment(
    view: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recording(tmp_path / "a.edf")
    drawn = []
    for at in ("20", "0"):
        assert call(monkeypatch, "show", "view", path, view, "--at", at, "--out", tmp_path / "drawn.png") == 0
        drawn.append((tmp_path / "drawn.png").read_bytes())
    assert drawn[0] != drawn[1]
    assert all(content.startswith(b"\x89PNG") for content in drawn)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("mel", "--at", "900"), "a.edf has 75 s, a window at 900 to 950 s has its middle outside"),
        (("kaggle_spectrogram",), "reads spectrogram files of the HMS competition"),
        (("mel", "--sample", "7"), "has no effect on the EEG file"),
        (("mel", "--set", "seed=1"), "--set changes an experiment file"),
    ],
)
def test_a_mistake_with_an_edf_file_is_one_sentence_and_writes_nothing(
    options: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, out = recording(tmp_path / "a.edf"), tmp_path / "x.png"
    assert call(monkeypatch, "show", "view", path, *options, "--out", out) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


@pytest.mark.parametrize("view", ["mel", "eeg"])
def test_views_are_drawn_of_synthetic_patients(view: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = tmp_path / "run.toml", tmp_path / "drawn.png"
    path.write_text(RUN)
    assert call(monkeypatch, "show", "view", path, view, "--out", out) == 0
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on synthetic HMS whose members are trained."""
    folder = tmp_path_factory.mktemp("trained")
    path, run = folder / "run.toml", folder / "run"
    path.write_text(RUN)
    with pytest.MonkeyPatch.context() as patch:
        assert call(patch, "train", path, "--out", run, "--workers", "1", "-q") == 0
        assert call(patch, "oof", "build", run) == 0
    return run


def test_a_run_on_hms_scores_a_recording_of_a_clinic(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = recording(tmp_path / "a.edf"), tmp_path / "scores.csv"
    assert call(monkeypatch, "predict", "--run", trained, "--data", path, "--arm", "mel-cnn", "--out", out) == 0
    scores = pd.read_csv(out)
    assert scores.iloc[:, 0].tolist() == ["a.edf@0", "a.edf@10", "a.edf@20"]
    np.testing.assert_allclose(scores.iloc[:, 1:].sum(axis=1), 1, atol=1e-5)


def test_a_submission_follows_the_sample(
    hms: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained
    sample = pd.read_csv(hms / "sample_submission.csv").iloc[::-1]
    sample.to_csv(tmp_path / "sample.csv", index=False)
    made = {}
    for name, options in (("submission.csv", ()), ("mine.csv", ("--like", tmp_path / "sample.csv"))):
        out = tmp_path / name
        assert (
            call(monkeypatch, "predict", "--run", run, "--data", hms, "--arm", "mel-cnn", "--out", out, *options) == 0
        )
        made[name] = pd.read_csv(out)
    assert list(made["submission.csv"].columns) == ["eeg_id", *VOTE_COLUMNS]
    np.testing.assert_allclose(made["submission.csv"][list(VOTE_COLUMNS)].sum(axis=1), 1, atol=1e-12)
    assert made["mine.csv"].eeg_id.tolist() == sample.eeg_id.tolist()
    # A file of that name in another form would be handed in by mistake.
    (tmp_path / "without").mkdir()
    line = (
        "predict",
        "--run",
        run,
        "--data",
        tmp_path / "without",
        "--arm",
        "mel-cnn",
        "--out",
        tmp_path / "submission.csv",
    )
    assert call(monkeypatch, *line) == 2
    again = made["mine.csv"].iloc[::-1].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, made["submission.csv"])
    out = tmp_path / "x.parquet"
    code = call(
        monkeypatch,
        "predict",
        "--run",
        run,
        "--data",
        hms,
        "--arm",
        "mel-cnn",
        "--out",
        out,
        "--like",
        tmp_path / "none",
    )
    assert code == 2
