"""examples/eeg_from_edf.py goes from a recording to a picture and a prediction, on real EEG where it is there."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.signal import resample

from foldstill.hms.edf import open_eeg
from foldstill.hms.edf_source import EdfData
from foldstill.hms.edf_writing import write_edf
from foldstill.hms.montage import EEG_CHANNELS
from foldstill.hms.views_raw import RawEeg
from made_up import ON_CPU, call

SCRIPT = Path(__file__).parents[1] / "examples" / "eeg_from_edf.py"
RUN = """
name = "tiny"
[data]
kind = "edf"
path = "eeg"
step_s = 5
[[data.views]]
kind = "mel"
n_mels = 16
width = 32
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


def write_real(real: Path, folder: Path) -> tuple[list[Path], np.ndarray, list[str]]:
    """Two runs of 64 channels at 160 Hz, with trials of 4 s as annotations; and the signals of the first."""
    with np.load(real / "eegmmidb_s001" / "eegmmidb_s001.npz", allow_pickle=False) as file:
        trials_NET, label_N, run_N, names = file["X"].astype(float), file["y"], file["run"], file["ch"].tolist()
    paths, first_ET = [], np.empty(0)
    for run in (3, 4):
        rows = np.flatnonzero(run_N == run)
        signal_ET = np.concatenate(list(trials_NET[rows]), axis=1)
        marks = [(4.0 * i, 4.0, "task" if label_N[row] else "rest") for i, row in enumerate(rows)]
        paths.append(folder / f"S001R{run:02d}.edf")
        write_edf(paths[-1], [f"{name}." for name in names], signal_ET, 160, marks)
        first_ET = first_ET if len(paths) > 1 else signal_ET
    return paths, first_ET, names


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four recordings of noise, an experiment file whose labels are their annotations, and its run."""
    pytest.importorskip("mne", reason="pip install 'foldstill[eeg]'")
    folder = tmp_path_factory.mktemp("trained")
    (folder / "eeg").mkdir()
    marks = [(26.0 + 2 * n, 1.0, "ab"[n % 2]) for n in range(6)]
    for seed in range(4):
        signal_ET = np.random.default_rng(seed).normal(0, 20, (len(EEG_CHANNELS), 65 * 128))
        write_edf(folder / "eeg" / f"{seed}.edf", EEG_CHANNELS, signal_ET, 128, marks)
    (folder / "run.toml").write_text(RUN)
    with pytest.MonkeyPatch.context() as patch:
        assert call(patch, "train", folder / "run.toml", "--out", folder / "run", "--workers", "1", *ON_CPU) == 0
        assert call(patch, "oof", "build", folder / "run") == 0
    return folder


def run_script(monkeypatch: pytest.MonkeyPatch, recording: Path, run: Path, out: Path) -> pd.DataFrame:
    """The scores that the script writes; its commands run in this process, which has torch already."""

    def here(command: list[str], check: bool) -> None:
        assert call(monkeypatch, *command[3:]) == 0

    monkeypatch.setattr(subprocess, "run", here)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, (recording, run, out)), "--arm", "mel-cnn"])
    ran = runpy.run_path(str(SCRIPT))
    assert len(ran["COMMANDS"]) == 2
    assert (out / "mel.png").read_bytes().startswith(b"\x89PNG")
    return pd.read_csv(out / "scores.csv")


def test_a_recording_becomes_a_picture_and_a_prediction(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = run_script(monkeypatch, trained / "eeg" / "3.edf", trained / "run", tmp_path)
    assert scores["id"].tolist() == ["3.edf@0", "3.edf@5", "3.edf@10", "3.edf@15"]
    assert list(scores.columns) == ["id", "a", "b"]
    np.testing.assert_allclose(scores[["a", "b"]].sum(axis=1), 1, atol=1e-5)
    experiment, out = trained / "run.toml", tmp_path / "x.png"
    assert call(monkeypatch, "show", "view", experiment, "mel", "--sample", "1.edf@3.5", "--out", out) == 0
    assert call(monkeypatch, "prepare", experiment, "-q") == 0
    assert "need no preparation" in capsys.readouterr().out


def test_real_eeg_becomes_a_picture_and_a_prediction(
    real: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, signal_ET, names = write_real(real, tmp_path)
    scores = run_script(monkeypatch, paths[0], trained / "run", tmp_path / "out")
    assert scores["id"].tolist() == [f"S001R03.edf@{second}" for second in range(0, 71, 5)]
    # The signals are those of the array, resampled by a Fourier transform of the whole recording instead.
    whole_ET = resample(signal_ET, signal_ET.shape[1] * 200 // 160, axis=1)
    record = open_eeg(paths[0]).record(40)
    for electrode, name in (("Fp1", "Fp1"), ("T3", "T7"), ("T6", "P8"), ("Cz", "Cz")):
        got = record.eeg()[EEG_CHANNELS.index(electrode)]
        wanted = whole_ET[names.index(name), 40 * 200 : 90 * 200]
        assert np.corrcoef(got, wanted)[0, 1] > 0.999
        assert np.abs(got - wanted).std() < 0.05 * wanted.std()
    with pytest.warns(UserWarning, match=r"missing electrodes; first: EKG|reach outside"):
        data = EdfData(path=".", views=(RawEeg(seconds=4, bin_size=40),)).load(tmp_path)
    assert data.labels.votes_NC.sum(axis=0).tolist() == [30, 30]
    assert set(data.labels.groups.tolist()) == {"S001R03.edf", "S001R04.edf"}
