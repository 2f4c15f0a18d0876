"""Members of images and members of feature tables over the same rows and folds, in one experiment."""

from pathlib import Path

import numpy as np
import pytest

from foldstill.compare.cost_plot import cost_plot
from foldstill.manifest import read_done
from foldstill.pipeline import ExperimentFile, Run, find_run, run_all, start_run
from made_up import call, one_worker

MODULES = """
from torch import nn


class Pictures(nn.Module):
    def __init__(self, shape, n_classes):
        super().__init__()
        layers = (nn.Conv2d(shape[2], 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.features = nn.Sequential(*layers)
        self.last = nn.Linear(8, n_classes)

    def get_classifier(self):
        return self.last

    def forward(self, x):
        return self.last(self.features(x))


def mlp(shape, n_classes):
    return nn.Sequential(nn.Linear(*shape, 16), nn.ReLU(), nn.Linear(16, n_classes))
"""

EXPERIMENT = """name = "mixed"
[data]
kind = "npz"
path = "d.npz"
images = "images"
features = "features"
votes = "votes"
group = "group"
[folds]
n_folds = 2
[recipe]
epochs = 4
batch_size = 16
lr = 0.01
[[member]]
kind = "torch"
name = "pictures"
module = "my_models.py:Pictures"
[[member]]
kind = "torch"
name = "numbers"
module = "my_models.py:mlp"
view = "features"
[[member]]
kind = "joined"
name = "both"
members = ["pictures", "numbers"]
hidden = 8
[[member]]
kind = "sklearn"
name = "trees"
estimator = "ExtraTreesClassifier"
options = { n_estimators = 10, min_samples_leaf = 5 }
[[member]]
kind = "lightgbm"
name = "boosted"
rounds = 10
rows_per_leaf = 3
patience = 0
[[stacking.combiner]]
kind = "average"
[[stacking.combiner]]
kind = "convex"
[student]
kind = "torch"
module = "my_models.py:Pictures"
teacher = "convex"
seeds = 1
unlabelled = "new.npz"
[[ablation]]
name = "of numbers"
kind = "lightgbm"
rounds = 10
rows_per_leaf = 3
seeds = 1
"""


def write_data(path: Path, n: int, seed: int) -> None:
    """Pictures whose brightness, and numbers of which one, tell the class; three rows per group."""
    rng = np.random.default_rng(seed)
    shown = rng.integers(0, 3, n)
    pictures = (rng.normal(60, 30, (n, 16, 16, 1)) + 50 * shown[:, None, None, None]).clip(0, 255).astype(np.uint8)
    features = rng.normal(0, 1, (n, 4))
    features[:, 2] = np.where(rng.random(n) < 0.1, np.nan, features[:, 2] + 1.5 * shown)
    votes = np.eye(3, dtype=int)[shown] * rng.integers(1, 8, n)[:, None] + rng.integers(0, 2, (n, 3))
    np.savez(path, images=pictures, features=features, votes=votes, group=np.arange(n) // 3)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "my_models.py").write_text(MODULES, encoding="utf-8")
    write_data(folder / "d.npz", 120, 0)
    write_data(folder / "new.npz", 30, 1)
    run_all(start_run(ExperimentFile(EXPERIMENT, folder), folder / "run", one_worker()))
    return find_run(folder / "run", work=one_worker())


def test_members_of_images_and_of_features_share_rows_folds_and_every_later_stage(run: Run) -> None:
    assert run.table.members == ("pictures", "numbers", "both", "trees", "boosted")
    assert len(run.table) == len(run.plan.oof_rows)
    arms = {arm.name: arm for arm in run.comparison.arms}
    assert {*run.table.members, "average", "convex", "student", "of numbers"} <= set(arms)
    assert max(arms[name].kl for name in ("numbers", "trees", "boosted", "average")) < 0.8


def test_unlabelled_rows_reach_the_student_in_its_own_view(run: Run) -> None:
    inputs = read_done(run.dir.student)["inputs"]
    assert inputs["shape"] == [16, 16, 1]


def test_the_cost_of_every_kind_is_in_one_picture_for_one_row_and_for_a_batch(run: Run) -> None:
    for arm in run.comparison.arms:
        if arm.cost is not None:
            assert arm.cost.batch == 32, arm.name
            assert None not in (arm.cost.latency_1_ms, arm.cost.latency_batch_ms, arm.cost.parameters), arm.name
    assert {arm.name for arm in run.comparison.arms if arm.cost} >= {*run.table.members, "average", "student"}
    figure = cost_plot(run.comparison)
    assert figure is not None
    assert "milliseconds for one batch" in figure.svg
    assert "multiply-accumulates" not in figure.svg  # trees have none, and a picture without them would mislead


def test_a_joined_model_needs_the_files_of_its_parts_no_more(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run.dir.root.parent
    assert (run.dir.members / "both" / "fold-0" / "module-numbers.py").read_text(encoding="utf-8") == MODULES
    (folder / "my_models.py").rename(folder / "gone.py")
    try:
        arguments = ("predict", "--run", run.dir.root, "--data", folder / "new.npz", "--arm", "both")
        assert call(monkeypatch, *arguments, "--out", folder / "both.parquet") == 0
    finally:
        (folder / "gone.py").rename(folder / "my_models.py")
