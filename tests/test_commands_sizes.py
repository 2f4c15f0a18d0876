"""What students cost, counted before anything is trained."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import foldstill
from foldstill.commands.sizes import list_sizes
from foldstill.cost.measure import count_activations
from foldstill.distill import StudentSettings
from foldstill.distill.settings import SIZES
from foldstill.errors import DistillError

SMOKE = Path(__file__).parents[1] / "experiments" / "smoke.toml"


def test_the_named_sizes_grow_in_parameters_and_work_on_the_input_at_hand():
    sizes = foldstill.student_sizes(np.zeros((1, 32, 48, 4), np.uint8), 6)
    assert list(sizes) == ["nano", "small", "base", "quality"]
    costs = list(sizes.values())
    for what in ("parameters", "macs"):
        values = [getattr(cost, what) for cost in costs]
        assert values == sorted(values)
    larger = foldstill.student_sizes(np.zeros((1, 64, 96, 4), np.uint8), 6)
    assert all(larger[name].macs > 2 * sizes[name].macs for name in sizes)
    assert all(larger[name].parameters == sizes[name].parameters for name in sizes)


def test_the_students_own_image_size_holds_for_all_sizes():
    resized = StudentSettings(image_size=64)
    sizes = foldstill.student_sizes(np.zeros((1, 32, 32, 3), np.uint8), 10, resized)
    as_given = foldstill.student_sizes(np.zeros((1, 64, 64, 3), np.uint8), 10)
    assert {n: c.macs for n, c in sizes.items()} == {n: c.macs for n, c in as_given.items()}


def test_signals_have_the_size_that_reads_them():
    assert list(foldstill.student_sizes(np.zeros((1, 4, 400), np.float32), 6)) == ["eeg"]


def test_an_experiments_sizes_are_shares_of_all_its_fold_models_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = list_sizes(SMOKE)
    assert list(sizes.students) == ["nano", "small", "base", "quality", "student (test_resnet)"]
    assert sizes.n_models == 4
    own = sizes.students["student (test_resnet)"]
    # Two of the four fold models are the student's own network.
    assert own.macs < sizes.ensemble.macs / 2
    assert "of those of the 4 fold models" in sizes.line("student (test_resnet)")
    assert list(tmp_path.iterdir()) == []


MODULE = """import math

from torch import nn


def net(shape, n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), n_classes))
"""
OWN = 'kind = "torch"\nmodule = "net.py:net"\n'
TABLE = """name = "x"
[data]
kind = "table"
path = "d.csv"
label = "y"
[[member]]
kind = "lightgbm"
name = "boosted"
[student]
"""


def test_a_module_of_the_users_own_stands_beside_the_named_sizes(tmp_path):
    (tmp_path / "net.py").write_text(MODULE)
    before, student, after = SMOKE.read_text().partition("[student]\n")
    (tmp_path / "own.toml").write_text(before + student + after.replace('network = "test_resnet"\n', OWN))
    assert list(list_sizes(tmp_path / "own.toml").students) == [*SIZES, "student (net.py:net)"]


def test_a_feature_table_has_the_sizes_of_its_networks_alone(tmp_path):
    frame = pd.DataFrame({"a": np.arange(60.0), "y": np.arange(60) % 3})
    frame.to_csv(tmp_path / "d.csv", index=False)
    (tmp_path / "net.py").write_text(MODULE)
    (tmp_path / "own.toml").write_text(f'{TABLE}{OWN}view = "features"\n')
    sizes = list_sizes(tmp_path / "own.toml")
    assert list(sizes.students) == ["student (net.py:net)"]
    assert sizes.ensemble is None
    (tmp_path / "boosted.toml").write_text(f'{TABLE}kind = "lightgbm"\nview = "features"\n')
    with pytest.raises(DistillError, match="is known when they are trained"):
        list_sizes(tmp_path / "boosted.toml")


def test_memory_is_that_of_the_tensors_alive_at_one_time():
    network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.Flatten())
    # The row of 64 floats, and 256 before and after the ReLU; the second convolution makes fewer.
    assert count_activations(network, torch.zeros(1, 1, 8, 8)) == 4 * (64 + 256 + 256)
    in_place = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1), nn.Flatten())
    assert count_activations(in_place, torch.zeros(1, 1, 8, 8)) == 4 * (64 + 256 + 128)


def test_weights_and_views_of_them_are_not_counted():
    network = nn.Linear(1000, 10)
    assert count_activations(network, torch.zeros(1, 1000)) == 4 * (1000 + 10)
