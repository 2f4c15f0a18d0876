"""The experiment files that `foldstill init` writes run as they stand, on data of the form that their comments name."""

import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from foldstill.cli.start import TemplateOf
from foldstill.hms.edf_writing import write_edf
from foldstill.hms.montage import EEG_CHANNELS
from foldstill.hms.synthetic import write_synthetic_hms
from foldstill.pipeline.experiment_file import read_experiment
from made_up import ON_CPU, call

QUICK = (
    *("recipe.epochs=1", "recipe.batch_size=16", "student.seeds=1", "folds.n_folds=2", "folds.test_share=0.25"),
    *("stacking.combiner=[{kind='average'}, {kind='convex'}]", "student.teacher=convex"),
)
"""Changes that keep a test short; what the template says about data, members and the student stays."""


def write_images(folder: Path, rng: np.random.Generator) -> None:
    labels = np.arange(40) % 2
    images = rng.integers(0, 128, (40, 16, 16, 3), dtype=np.uint8) + (127 * labels[:, None, None, None]).astype(
        np.uint8
    )
    np.savez(folder / "train.npz", images=images, labels=labels, patient=np.arange(40) // 2)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / "images" / ("cat", "dog")[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i}.png")
    files = sorted((folder / "images").glob("*/*.png"))
    columns = {"image": [path.read_bytes() for path in files], "label": [path.parent.name for path in files]}
    pd.DataFrame(columns).to_parquet(folder / "train.parquet")
    (folder / "shards").mkdir()
    with tarfile.open(folder / "shards" / "0.tar", "w") as shard:
        for path in files:
            (folder / "name.cls").write_text(path.parent.name, encoding="utf-8")
            shard.add(path, f"{path.stem}.png")
            shard.add(folder / "name.cls", f"{path.stem}.cls")


def write_table(folder: Path, rng: np.random.Generator) -> None:
    n = 120
    label = np.array(["a", "b"])[np.arange(n) % 2]
    frame = pd.DataFrame({"id": np.arange(n), "dose": (label == "b") + rng.normal(size=n), "age": rng.normal(size=n)})
    frame["ward"] = np.array(["x", "y", "z"])[np.arange(n) % 3]
    frame.assign(label=label).to_csv(folder / "train.csv", index=False)
    (folder / "preds").mkdir()
    for name, noise in (("gbm", 0.5), ("net", 1.0)):
        p = 1 / (1 + np.exp(-((label == "b") * 2.0 - 1 + noise * rng.normal(size=n))))
        scores = pd.DataFrame({"id": np.arange(n), "a": 1 - p, "b": p})
        scores.to_csv(folder / "preds" / f"{name}_oof.csv", index=False)


@pytest.mark.parametrize("kind", list(TemplateOf))
def test_every_template_is_read_and_names_its_own_command(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    assert call(monkeypatch, "init", path, "--kind", kind) == 0
    assert read_experiment(path).member
    text = path.read_text(encoding="utf-8")
    assert "foldstill run mine.toml" in text
    assert "FILE.toml" not in text
    assert call(monkeypatch, "init", path) == 2
    assert "exists already" in capsys.readouterr().err


def run_template(
    kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch, changes: Sequence[str], options: Sequence[str] = ()
) -> None:
    """Write a template and run it with some changes."""
    path = folder / "mine.toml"
    assert call(monkeypatch, "init", path, "--kind", kind) == 0
    sets = [part for change in changes for part in ("--set", change)]
    assert call(monkeypatch, "run", path, "--out", folder / "run", "--workers", "1", *options, "-q", *sets) == 0
    assert (folder / "run" / "report.html").exists()


@pytest.mark.parametrize("kind", ["images", "folder", "parquet_images", "webdataset"])
def test_templates_of_images_run(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    write_images(tmp_path, rng)
    small = ("member.efficientnet.network=test_efficientnet", "member.resnet.network=test_resnet")
    size = () if kind == "images" else ("data.size=16",)
    changes = (*QUICK, *small, *size, "student.network=test_resnet")
    run_template(kind, tmp_path, monkeypatch, changes, ON_CPU)


@pytest.mark.parametrize("kind", ["table", "predictions"])
def test_templates_of_tables_run(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    write_table(tmp_path, rng)
    few = ("member.extra_trees.options.n_estimators=5",) if kind == "table" else ()
    changes = [change for change in QUICK if not change.startswith("recipe")]
    run_template(kind, tmp_path, monkeypatch, (*changes, *few))


def test_the_template_of_several_labels_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    labels = rng.integers(0, 2, (32, 3)).astype(float)
    (tmp_path / "images").mkdir()
    for i, row in enumerate(labels):
        Image.fromarray((np.full((8, 8, 3), 60) * (1 + row)).astype(np.uint8)).save(tmp_path / "images" / f"{i}.png")
    labels[::5, 1] = np.nan
    frame = pd.DataFrame(labels, columns=["kidney", "liver", "spleen"])
    frame.assign(file=[f"{i}.png" for i in range(32)]).to_csv(tmp_path / "train.csv", index=False)
    path = tmp_path / "mine.toml"
    assert call(monkeypatch, "init", path, "--kind", "multi_label") == 0
    small = ("member.efficientnet.network=test_efficientnet", "member.resnet.network=test_resnet", "data.size=32")
    changes = [change for change in QUICK if not change.startswith("student") and "teacher" not in change]
    sets = [part for change in (*changes, *small) for part in ("--set", change)]
    assert call(monkeypatch, "run", path, "--out", tmp_path / "run", "--workers", "1", "-q", *ON_CPU, *sets) == 0
    assert (tmp_path / "run" / "heads" / "heads.html").exists()


@pytest.mark.slow
def test_the_template_of_eeg_runs_on_files_of_the_competition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch of small networks on a dozen patients."""
    write_synthetic_hms(tmp_path / "hms", patients=12, recordings=3)
    path = tmp_path / "mine.toml"
    assert call(monkeypatch, "init", path, "--kind", "eeg") == 0
    assert call(monkeypatch, "prepare", path, "-q") == 0
    small = ("member.eeg.widths=[4, 8]", "recipe.batch_size=8", "student.recipe.epochs=1")
    changes = [*(change for change in QUICK if not change.startswith("recipe.batch")), *small]
    sets = [part for change in changes for part in ("--set", change)]
    line = ("run", path, "--out", tmp_path / "run", "--workers", "1", "-q", *ON_CPU)
    assert call(monkeypatch, *line, *sets) == 0
    assert (tmp_path / "run" / "report.html").exists()


def test_the_template_of_eeg_recordings_reads_the_table_that_it_describes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """Its training is that of the other templates."""
    pytest.importorskip("mne", reason="pip install 'foldstill[eeg]'")
    (tmp_path / "recordings").mkdir()
    write_edf(tmp_path / "recordings" / "0.edf", EEG_CHANNELS, rng.normal(0, 20, (20, 5200)), 100)
    (tmp_path / "windows.csv").write_text("file,offset,label,patient\n0.edf,0,a,7\n0.edf,2,b,7\n", encoding="utf-8")
    path = tmp_path / "mine.toml"
    assert call(monkeypatch, "init", path, "--kind", "edf") == 0
    experiment = read_experiment(path)
    data = experiment.data.load(tmp_path)
    assert {view for member in experiment.member for view in member.views} == set(data.views)
    assert data.labels.groups.tolist() == ["7", "7"]
