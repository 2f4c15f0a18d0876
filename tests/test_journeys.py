"""The journeys of `examples/journeys` run from files on disk, command by command as they stand there."""

import glob
import shlex
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from made_up import ON_CPU, call

JOURNEYS = Path(__file__).parents[1] / "examples" / "journeys"


def commands(name: str) -> list[list[str]]:
    """The commands of a script, as a shell splits them."""
    lines = (JOURNEYS / name).read_text(encoding="utf-8").splitlines()
    return [shlex.split(line)[1:] for line in lines if line and not line.startswith("#")]


def follow(name: str, monkeypatch: pytest.MonkeyPatch, **more: tuple[str, ...]) -> None:
    """Run every command of a script, with further options for some of them."""
    for words in commands(name):
        expanded = [path for word in words for path in (sorted(glob.glob(word)) if "*" in word else [word])]
        assert call(monkeypatch, *expanded, *more.get(words[0], ())) == 0, words


def brightness(labels_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images (N, 16, 16, 3) whose second class is brighter."""
    dark = rng.integers(0, 128, (len(labels_N), 16, 16, 3), dtype=np.uint8)
    return dark + (127 * labels_N).astype(np.uint8)[:, None, None, None]


def test_a_competitor_goes_from_csv_files_to_a_submission_in_two_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("preds").mkdir()
    classes = ["low", "middle", "high"]
    logits = {"oof": rng.normal(size=(120, 3)), "test": rng.normal(size=(20, 3))}
    ids = {part: [f"{part}{i}" for i in range(len(values))] for part, values in logits.items()}
    for part, values in logits.items():
        for model, noise in (("cnn", 0.5), ("gbm", 1.0)):
            scores = np.exp(values + noise * rng.normal(size=values.shape))
            frame = pd.DataFrame(scores / scores.sum(axis=1, keepdims=True), columns=classes, index=ids[part])
            frame.to_csv(f"preds/{part}_{model}.csv", index_label="id")
    label = [classes[i] for i in logits["oof"].argmax(axis=1)]
    pd.DataFrame({"id": ids["oof"], "patient": np.arange(120) // 2, "label": label}).to_csv("train.csv", index=False)
    sample = pd.DataFrame({"id": ids["test"][::-1]} | {f"{c}_prob": 1 / 3 for c in classes[::-1]})
    sample.to_csv("sample_submission.csv", index=False)
    assert len(commands("competitor.sh")) == 2
    follow("competitor.sh", monkeypatch, verdict=("-q", "--combiner", "recalibrated", "auto"))
    submission = pd.read_csv("submission.csv")
    assert list(submission.columns) == list(sample.columns)
    assert submission["id"].tolist() == sample["id"].tolist()
    np.testing.assert_allclose(submission.iloc[:, 1:].sum(axis=1), 1, atol=1e-9)
    wanted = logits["test"][::-1, ::-1].argmax(axis=1)
    assert (submission.iloc[:, 1:].to_numpy().argmax(axis=1) == wanted).mean() > 0.6


def test_an_engineer_goes_from_a_folder_to_onnx_and_predictions_in_four_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.chdir(tmp_path)
    labels = np.arange(40) % 2
    for i, (image, label) in enumerate(zip(brightness(labels, rng), labels, strict=True)):
        for folder in (Path("images", ("cat", "dog")[label]), Path("new-images")):
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{i:02}.png")
    quick = (
        *("data.size=16", "folds.n_folds=2", "folds.test_share=0.25", "recipe.epochs=4", "recipe.batch_size=8"),
        *("member.efficientnet.network=test_efficientnet", "member.resnet.network=test_resnet"),
        *("student.network=test_resnet", "student.seeds=1", "student.teacher=average"),
        "stacking.combiner=[{kind='average'}, {kind='convex'}]",
    )
    sets = tuple(part for change in quick for part in ("--set", change))
    assert len(commands("engineer.sh")) == 4
    follow("engineer.sh", monkeypatch, run=("--workers", "1", "-q", *ON_CPU, *sets), export=("--precision", "int8"))
    scores = pd.read_csv("predictions.csv", index_col="id")
    assert list(scores.columns) == ["cat", "dog"]
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert ((scores["dog"] > 0.5) == labels).mean() > 0.8


def test_a_researcher_goes_from_arrays_to_a_figure_and_a_student_in_five_statements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    n = 60
    labels = np.arange(n) % 2
    arrays = {
        name: np.stack([1 - p, p], axis=1)
        for name, noise in (("cnn", 0.5), ("vit", 1.0))
        for p in [1 / (1 + np.exp(-(4 * labels - 2 + noise * rng.normal(size=n))))]
    }
    images = brightness(labels, rng)
    more = {"y": labels, "patients": np.arange(n) // 2, "folds": np.arange(n) // 2 % 3, "images": images}
    more |= {"new_images": brightness(labels, rng), "new_votes": np.eye(2)[labels]}
    module = type(sys)("arrays")
    vars(module).update(arrays | more)
    monkeypatch.setitem(sys.modules, "arrays", module)
    text = (JOURNEYS / "researcher.py").read_text(encoding="utf-8")
    body = text[text.index("table =") :]
    assert len(body.strip().splitlines()) == 5
    # The named size takes minutes here; a smaller network takes the same way.
    small = 'fs.StudentSettings(network="test_resnet", recipe=fs.Recipe(epochs=1, batch_size=16))'
    values: dict[str, object] = {}
    exec(text.replace('"nano"', small), values)
    assert capsys.readouterr().out.startswith("KL 0.")
    values["figure"].savefig(tmp_path / "arms.png")  # type: ignore[attr-defined]
    assert (tmp_path / "arms.png").stat().st_size > 5000
    mpl.pyplot.close("all")
