"""Files of a synthetic HMS, every kind of prepared view of them, and a submission for their test split."""

import csv
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import golden_access as access
from golden_files import Golden
from made_up import ON_CPU, call, eeg_table, timm_table

DATA = """[data]
kind = "hms"
folder = "hms"
cache = "cache"
"""
VIEWS = f"""
name = "hms"
{DATA}views = [
    {{ kind = "kaggle_spectrogram", height = 16, width = 32 }},
    {{ kind = "kaggle_spectrogram", name = "whole file", crop = "whole", width = 32, height = 16, trim_bins = 2, interpolation = "cubic", layout = "channels", normalise = "instance" }},
    {{ kind = "mel", n_mels = 16, width = 32 }},
    {{ kind = "mel", name = "mel by panel", n_mels = 16, width = 32, layout = "stack", normalise = "panel" }},
    {{ kind = "stft", hop = 400, bins = 16 }},
    {{ kind = "scipy_spectrogram", height = 16, width = 32 }},
    {{ kind = "scalogram", height = 8, width = 32 }},
    {{ kind = "raw_eeg", bin_size = 40 }},
    {{ kind = "denoised", of = {{ kind = "raw_eeg", bin_size = 40 }} }},
    {{ kind = "panel_statistics", of = {{ kind = "kaggle_spectrogram", height = 16, width = 32 }}, statistics = ["min", "max", "mean", "range", "p20"] }},
    {{ kind = "panel_stack", of = [{{ kind = "kaggle_spectrogram" }}, {{ kind = "mel", n_mels = 32, width = 64 }}], height = 16, width = 32 }},
]
{timm_table("unused", view="mel")}"""
RUN = f"""
name = "run"
{DATA}views = [{{ kind = "mel", n_mels = 16, width = 32 }}, {{ kind = "raw_eeg", bin_size = 40 }}]
[folds]
n_folds = 2
test_share = 0.0
[recipe]
epochs = 2
batch_size = 4
{timm_table("spectrogram", view="mel")}{eeg_table("signals", "raw_eeg")}[[member.recipe.augment]]
kind = "hemisphere_swap"
permutation = [12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3, 16, 17, 18]
[[member.recipe.augment]]
kind = "chain_reversal"
chains = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]
[stacking]
combiner = [{{ kind = "average" }}, {{ kind = "recalibrated" }}]
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files of seven patients, their views, and an experiment on two of these."""
    folder = tmp_path_factory.mktemp("golden")
    (folder / "views.toml").write_text(VIEWS)
    (folder / "run.toml").write_text(RUN)
    patients = ("--patients", "7", "--recordings", "2", "--test-patients", "1", "--seed", "6")
    with pytest.MonkeyPatch.context() as patch:
        assert call(patch, "synth-hms", folder / "hms", *patients, "-q") == 0
        assert call(patch, "prepare", folder / "views.toml", "--workers", "1", *ON_CPU) == 0
    return folder


def told_of(view_NX: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Shape, type, mean and spread, the mean of the first half along each axis, and a sum weighted by position."""
    values = view_NX.astype(np.float64)
    halves = [values.take(range(n // 2), axis=axis).mean() for axis, n in enumerate(values.shape) if n > 1]
    places = np.cos(1e-3 * np.arange(values.size) ** 2.0).reshape(values.shape)
    return {
        "shape": list(view_NX.shape),
        "type": view_NX.dtype.name,
        "mean": values.mean(),
        "std": values.std(),
        "first_halves": [float(half) for half in halves],
        "sum_by_place": (values * places).sum() / np.sqrt(values.size),
        "std_of_rows": [float(row.std()) for row in values[:3]],
    }


def test_every_kind_of_view_is_prepared_as_it_was(prepared: Path, golden: Golden) -> None:
    assert {view["kind"] for view in tomllib.loads(VIEWS)["data"]["views"]} == access.hms_view_kinds()
    views, _ = access.prepared(prepared / "cache")
    golden("hms_views", {name: told_of(view) for name, view in views.items()})


def test_files_from_a_seed_have_the_rows_they_had(prepared: Path, golden: Golden) -> None:
    _, rows = access.prepared(prepared / "cache")
    with (prepared / "hms" / "train.csv").open(newline="") as lines:
        labels = list(csv.DictReader(lines))
    test = (prepared / "hms" / "test.csv").read_text().splitlines()
    result = {
        "files": {
            part.name: len(list(part.iterdir())) for part in sorted((prepared / "hms").iterdir()) if part.is_dir()
        },
        "columns": list(labels[0]),
        "labels": len(labels),
        "test": test,
        "samples": {id: [int(vote) for vote in votes] for id, votes in zip(rows["ids"], rows["votes"], strict=True)},
        "readable": rows["readable"],
    }
    golden("hms_rows", result)


def test_a_submission_says_what_it_said(prepared: Path, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment, run, out = prepared / "run.toml", prepared / "run", prepared / "submission.csv"
    assert call(monkeypatch, "train", experiment, "--out", run, "--workers", "1", *ON_CPU) == 0
    assert call(monkeypatch, "oof", "build", run) == 0
    assert call(monkeypatch, "stack", run, "--workers", "1", "-q") == 0
    line = ("predict", "--run", run, "--data", prepared / "hms", "--device", "cpu", "--out", out, "--force")
    result = {}
    for arm in ("spectrogram", "signals", "recalibrated"):
        assert call(monkeypatch, *line, "--arm", arm) == 0
        with out.open(newline="") as lines:
            header, *rows = csv.reader(lines)
        result[arm] = {"columns": header, "rows": {row[0]: [float(share) for share in row[1:]] for row in rows}}
    golden("submission", result)
