"""A small run from its file to its verdict."""

import itertools
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import golden_access as access
from golden_files import RANKED, Golden
from made_up import ON_CPU, TWO_VIEWS, call, eeg_table, write_two_views

RUN = f"""
name = "small"
thin_votes = 8
{TWO_VIEWS}classes = ["low", "middle", "high"]
[folds]
n_folds = 2
test_share = 0.3
[recipe]
epochs = 2
batch_size = 16
ema = 0.0
optimizer = "sgd"
lr = 0.05
[[member]]
name = "picture"
network = "test_resnet"
options = {{ channels = [8, 8, 8, 16], stem_width = 8 }}
{eeg_table("signal")}
{eeg_table("other signal", widths=[4], features=4, heads=1, blocks=0)}
{eeg_table("other picture", "image", widths=[4], kernel=3, features=4, heads=1, blocks=0)}
[stacking]
combiner = [
    {{ kind = "average" }},
    {{ kind = "best_member" }},
    {{ kind = "recalibrated" }},
    {{ kind = "convex" }},
    {{ kind = "log_pool" }},
    {{ kind = "mlp", epochs = 2, bags = 1, folds = 2, hidden = [4] }},
    {{ kind = "lightgbm", rounds = 3, folds = 2, rows_per_leaf = 5 }},
    {{ kind = "auto", folds = 3, ladder = [{{ kind = "recalibrated" }}, {{ kind = "convex" }}] }},
]
[student]
network = "test_resnet"
options = {{ channels = [8, 8, 8, 8], stem_width = 8 }}
teacher = "recalibrated"
seeds = 2
uncertainty = true
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the data and the experiment lie."""
    folder = tmp_path_factory.mktemp("golden")
    write_two_views(folder / "two-views.npz", n=144)
    (folder / "small.toml").write_text(RUN)
    return folder


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        assert call(patch, "run", place / "small.toml", "--out", place / "run", "--workers", "1", *ON_CPU) == 0
    return place / "run"


def test_every_arm_scores_as_it_did(run: Path, golden: Golden) -> None:
    comparison = access.comparison_of(run)
    arms = comparison.pop("arms")
    settings = tomllib.loads(RUN)
    wanted = {"class prior", "student", "student without teacher"} | {one["name"] for one in settings["member"]}
    wanted |= {one["kind"] for one in settings["stacking"]["combiner"]}
    assert arms.keys() == wanted
    ranks = {name: {key: arm["scores"].pop(key) for key in ("aurc", "auroc", "prr")} for name, arm in arms.items()}
    golden("run_verdict", comparison)
    golden("run_arms", arms)
    golden("run_arms_ranks", ranks, RANKED)


def test_the_files_of_a_run_are_those_it_left(run: Path, golden: Golden) -> None:
    """By their names, and by digests or keys where these are the same on every machine."""
    fold_N, plan = access.folds_of_run(run)
    sheet = (run / "comparison.csv").read_text(encoding="utf-8").splitlines()
    result = {
        "files": {
            str(folder): " ".join(Path(name).name for name in names)
            for folder, names in itertools.groupby(files_of(run), key=lambda name: Path(name).parent.as_posix())
        },
        "fold_of_each_row": " ".join(map(str, fold_N.tolist())),
        "fold_plan_digest": plan,
        "labels_digest": {name: access.truth_of(run / f"{name}.parquet").digest for name in ("oof", "test")},
        "columns_of_the_table": access.columns_of(run / "oof.parquet"),
        "columns_of_test_scores": access.columns_of(run / "test.parquet"),
        "columns_of_comparison_csv": sheet[0].split(","),
        "keys_of_comparison_json": sorted(json.loads((run / "comparison.json").read_text(encoding="utf-8"))),
        "headings_of_the_report": re.findall(r"<h2[^>]*>([^<]*)", (run / "report.html").read_text(encoding="utf-8")),
    }
    golden("run_files", result)


def test_new_rows_are_scored_as_they_were(
    place: Path, run: Path, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_two_views(place / "new.npz", n=6, seed=1)
    line = ("predict", "--run", run, "--data", place / "new.npz", "--device", "cpu")
    result = {}
    for arm in ("picture", "auto", "lightgbm", "mlp", "student", "student without teacher"):
        assert call(monkeypatch, *line, "--arm", arm, "--out", place / "new.parquet") == 0
        result[arm] = access.scores_of(place / "new.parquet").proba_NMC[:2, 0]
    golden("run_predictions", result)


def test_the_seeds_of_a_student_are_scored_one_by_one_or_averaged(
    place: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_two_views(place / "new.npz", n=6, seed=1)
    line = ("predict", "--run", run, "--data", place / "new.npz", "--device", "cpu", "--out", place / "seeds.parquet")

    def scores(*options: str) -> tuple[str, np.ndarray]:
        assert call(monkeypatch, *line, *options) == 0
        table = access.scores_of(place / "seeds.parquet")
        return table.members[0], table.proba_NMC[:, 0]

    first, second = scores("--arm", "student", "--seed", "0"), scores("--arm", "student", "--seed", "1")
    mean = scores("--arm", "student-mean")
    assert (first[0], second[0], mean[0]) == ("student-seed-0", "student-seed-1", "student-mean")
    assert np.abs(first[1] - second[1]).max() > 1e-4
    np.testing.assert_allclose(mean[1], (first[1] + second[1]) / 2, atol=1e-6)
    name, default = scores("--arm", "student")
    assert name == first[0]
    np.testing.assert_array_equal(default, first[1])

    for options, wanted in (
        (("--arm", "student", "--seed", "2"), "has no seed 2"),
        (("--arm", "student-mean", "--seed", "1"), "average over all seeds"),
        (("--arm", "auto", "--seed", "1"), "only students have seeds"),
    ):
        assert call(monkeypatch, *line, *options) == 2
        assert wanted in " ".join(capsys.readouterr().err.split())


def files_of(folder: Path) -> list[str]:
    """Every file below a folder, folder by folder."""
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return [name.as_posix() for name in sorted(names, key=lambda name: (name.parent.as_posix(), name.name))]
