"""Small valid files of every kind that a command reads; a case copies those that it needs and damages them.

The files are made once per campaign, by foldstill itself where it writes such a file.
"""

import io
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd

CLASSES = ("cat", "dog", "owl")
N_ROWS = 60

EXPERIMENT = """
name = "tiny"
[data]
kind = "npz"
path = "data.npz"
images = "images"
votes = "votes"
group = "group"
id = "id"
[folds]
n_folds = 2
test_share = 0.3
[recipe]
epochs = 1
batch_size = 8
[[member]]
name = "a"
network = "test_vit"
[[stacking.combiner]]
kind = "average"
[[stacking.combiner]]
kind = "convex"
[student]
network = "test_vit"
teacher = "average"
seeds = 1
without_teacher = false
"""

TUNE = """
[tune]
trials = 1
folds = 1
[[tune.search]]
kind = "float"
field = "recipe.lr"
low = 1e-4
high = 1e-2
log = true
"""

HMS = """
name = "hms"
[data]
kind = "hms"
folder = "hms"
[[data.views]]
kind = "kaggle_spectrogram"
[[member]]
name = "a"
network = "test_vit"
view = "kaggle_spectrogram"
"""


def case_folder(scratch: Path) -> Path:
    """Folder of the case that runs. The world is made in it and then renamed, so that paths inside a run stay true."""
    return scratch / "case"


def make_world(scratch: Path) -> Path:
    """Write every file into a folder of `scratch`, and return it."""
    folder = case_folder(scratch)
    folder.mkdir()
    _write_files(folder)
    return folder.rename(scratch / "world")


def _write_files(folder: Path) -> None:
    rng = np.random.default_rng(0)
    truth = rng.dirichlet([1.0, 1.0, 1.0], N_ROWS)
    logits = np.log(truth)[:, None] + 0.4 * rng.normal(size=(N_ROWS, 2, 3))
    pred = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    votes = rng.multinomial(8, truth)
    ids = np.asarray([f"s{i:03d}" for i in range(N_ROWS)])
    patients = np.asarray([f"p{i // 2:02d}" for i in range(N_ROWS)])
    fold = np.arange(N_ROWS) // 2 % 3
    np.savez(
        folder / "scores.npz",
        pred=pred,
        votes=votes,
        id=ids,
        group=patients,
        fold=fold,
        members=["m0", "m1"],
        classes=CLASSES,
    )
    write_member_files(folder, pred, votes, ids, patients, fold)
    images = (rng.normal(60, 20, (N_ROWS, 32, 32, 1)) + 50 * truth.argmax(1)[:, None, None, None]).clip(0, 255)
    np.savez(folder / "data.npz", images=images.astype(np.uint8), votes=votes, group=patients, id=ids)
    np.savez(folder / "new.npz", images=images[:5].astype(np.uint8), id=ids[:5])
    _write_image_folder(folder, images[..., 0].astype(np.uint8), ids)
    (folder / "experiment.toml").write_text(EXPERIMENT)
    (folder / "tune.toml").write_text(EXPERIMENT + TUNE)
    (folder / "hms.toml").write_text(HMS)
    (folder / "notes.txt").write_text("notes of the user\n")
    for line in (
        "oof import scores.npz --out table.parquet",
        "stack table.parquet --out stacked --combiner average convex lightgbm -q --workers 1",
        "compare stacked",
        "stack table.parquet --out other --combiner average -q --workers 1",
        "compare other",
        "run experiment.toml --out run --workers 1 --device cpu -q",
        "synth-hms hms --patients 3 --recordings 1 -q",
        "prepare hms --cache cache --view kaggle_spectrogram --workers 1 -q",
    ):
        code, text = call(line.split(), folder)
        assert code == 0, f"foldstill {line}: exit {code}\n{text}"


def write_member_files(
    folder: Path, pred: np.ndarray, votes: np.ndarray, ids: np.ndarray, groups: np.ndarray, fold: np.ndarray
) -> None:
    """One file per member as CSV and parquet, with labels, folds and one wide file."""
    for m in range(pred.shape[1]):
        frame = pd.DataFrame({"id": ids} | {f"{c}_prediction": pred[:, m, i] for i, c in enumerate(CLASSES)})
        frame.to_csv(folder / f"m{m}.csv", index=False)
        frame.to_parquet(folder / f"m{m}.parquet", index=False)
    labels = pd.DataFrame({"id": ids, "group": groups} | {f"{c}_vote": votes[:, i] for i, c in enumerate(CLASSES)})
    labels.to_csv(folder / "labels.csv", index=False)
    labels.to_parquet(folder / "labels.parquet", index=False)
    pd.DataFrame({"id": ids, "fold": fold}).to_csv(folder / "folds.csv", index=False)


def _write_image_folder(folder: Path, images: np.ndarray, ids: np.ndarray) -> None:
    from PIL import Image

    (folder / "images").mkdir()
    for name, image in zip(ids[:24], images, strict=False):
        Image.fromarray(image).save(folder / "images" / f"{name}.png")
    frame = pd.DataFrame({"file": [f"{name}.png" for name in ids[:24]], "label": ["cat", "dog"] * 12})
    frame.to_csv(folder / "images.csv", index=False)
    text = EXPERIMENT.replace(
        'kind = "npz"\npath = "data.npz"', 'kind = "folder"\npath = "images"\ntable = "images.csv"'
    )
    text = text.replace('images = "images"\nvotes = "votes"\ngroup = "group"\nid = "id"', 'label = "label"\nsize = 32')
    (folder / "folder.toml").write_text(text)


def call(arguments: Sequence[str], folder: Path) -> tuple[int, str]:
    """Exit code and output of one command, in this process, with `folder` as the working folder.

    An exception that is not an exit is raised.
    """
    from foldstill.cli import main

    before, argv, text = Path.cwd(), sys.argv, io.StringIO()
    os.chdir(folder)
    sys.argv = ["foldstill", *arguments]
    try:
        with redirect_stdout(text), redirect_stderr(text):
            main()
    except SystemExit as end:
        return int(end.code or 0), text.getvalue()
    finally:
        os.chdir(before)
        sys.argv = argv
    return 0, text.getvalue()
