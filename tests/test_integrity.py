"""A changed byte in any file that a finished run left is refused before it is used, and the message names the file."""

from __future__ import annotations

import numpy as np
import pytest

from made_up import ON_CPU, call

EXPERIMENT = """
name = "tiny"
[data]
kind = "digits"
rows = 240
size = 16
[folds]
n_folds = 2
test_share = 0.3
[recipe]
epochs = 1
batch_size = 64
[[member]]
name = "a"
network = "test_resnet"
[[member]]
name = "b"
network = "test_resnet"
[[stacking.combiner]]
kind = "average"
[[stacking.combiner]]
kind = "convex"
[[stacking.combiner]]
kind = "lightgbm"
rounds = 3
folds = 2
rows_per_leaf = 5
[student]
network = "test_resnet"
teacher = "average"
views = "bank"
bank_views = 1
seeds = 1
without_teacher = false
"""
PREDICT = ("predict", "--run", "run", "--data", "new.npz", "--out", "p.csv", "--device", "cpu")
REFUSED_BY = {
    "run/members/a/fold-1/weights.safetensors": (*PREDICT, "--arm", "a"),
    "run/members/a/fold-1/done.json": (*PREDICT, "--arm", "a"),
    "run/members/a/fold-1/oof.parquet": ("oof", "build", "run"),
    "run/members/a/fold-1/test.parquet": ("oof", "build", "run"),
    "run/members/a/fold-1/history.csv": ("train", "run", *ON_CPU),
    "run/members/a/cost.json": ("compare", "run"),
    "run/folds.parquet": ("train", "run", *ON_CPU),
    "run/oof.parquet": ("stack", "run", "-q"),
    "run/test.parquet": ("compare", "run"),
    "run/stacking/average/combination.json": ("apply", "run/stacking/average", "run/test.parquet"),
    "run/stacking/average/combination.npz": ("apply", "run/average", "run/test.parquet"),
    "run/stacking/average/test.parquet": ("compare", "run"),
    "run/stacking/average/oof.parquet": ("stack", "run", "-q"),
    "run/stacking/average/done.json": ("compare", "run"),
    "run/stacking/convex/weights.json": ("compare", "run"),
    "run/stacking/lightgbm/bag0.residual.model.txt": ("apply", "run/lightgbm", "run/test.parquet"),
    "run/student/weights.safetensors": (*PREDICT, "--arm", "student"),
    "run/student/done.json": (*PREDICT, "--arm", "student"),
    "run/student/test.parquet": ("compare", "run"),
    "run/student/cost.json": ("compare", "run"),
    "run/student/targets.json": ("compare", "run"),
    "run/student/bank/view-000.safetensors": ("distill", "run", *ON_CPU, "--jobs", "1"),
    "run/student/student.onnx": (*PREDICT, "--onnx", "run/student/student.onnx"),
    "run/comparison.json": ("export", "run"),
    "run/comparison-rows.parquet": ("export", "run"),
}
"""Every kind of file that a command reads from a run, and the command."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("integrity")
    (folder / "tiny.toml").write_text(EXPERIMENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert call(patch, "run", "tiny.toml", "--out", "run", *ON_CPU, "--jobs", "1") == 0
        assert call(patch, "export", "run") == 0
    rows = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 1)).astype(np.uint8)
    np.savez(folder / "new.npz", image=rows)
    return folder


@pytest.mark.parametrize("name", REFUSED_BY)
def test_a_changed_byte_is_refused_by_the_name_of_its_file(run, name, monkeypatch, capsys):
    monkeypatch.chdir(run)
    path = run / name
    if "/bank/" in name:
        # Only a student that is still to be trained reads its bank.
        (run / "run/student/done.json").rename(run / "done.json")
    before = path.read_bytes()
    try:
        for position in np.random.default_rng(0).integers(0, len(before), 4):
            path.write_bytes(before[:position] + bytes([before[position] ^ 4]) + before[position + 1 :])
            assert call(monkeypatch, *REFUSED_BY[name]) == 2, f"byte {position} of {len(before)}"
            assert path.name in capsys.readouterr().err.replace("\n", "")
        for cut in (0, len(before) // 2):
            path.write_bytes(before[:cut])
            assert call(monkeypatch, *REFUSED_BY[name]) == 2, f"cut to {cut} of {len(before)} bytes"
            assert path.name in capsys.readouterr().err.replace("\n", "")
    finally:
        path.write_bytes(before)
        if "/bank/" in name:
            (run / "done.json").rename(run / "run/student/done.json")


def test_what_was_restored_is_read_again(run, monkeypatch):
    monkeypatch.chdir(run)
    assert call(monkeypatch, "compare", "run") == 0
    assert call(monkeypatch, *PREDICT, "--arm", "student") == 0
