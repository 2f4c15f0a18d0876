"""A combination and all fold models of its members as one ONNX file."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from foldstill.base_models import EegMember, JoinedMember, LightGBMMember
from foldstill.base_models.joined_member import resolve
from foldstill.base_models.members import predict_members
from foldstill.commands.export_ensemble import combine, common_view, refuse_others
from foldstill.distill import OnnxStudent
from foldstill.errors import DistillError
from foldstill.pipeline import find_run
from foldstill.stacking import Combination
from foldstill.stacking.auto import AutoCombination
from foldstill.stacking.averages import Average, Geometric, Median
from foldstill.stacking.convex import Convex
from foldstill.stacking.log_pool import LogPool
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.testing import synthetic_table
from made_up import SMALL, call

if TYPE_CHECKING:
    from foldstill.compare import Comparison
    from foldstill.pipeline import Run

TABLE = synthetic_table()
COMBINATIONS: dict[str, Combination] = {
    "average": Average().fit(TABLE),
    "geometric": Geometric().fit(TABLE),
    "convex": Convex().fit(TABLE),
    "log_pool": LogPool().fit(TABLE),
    "recalibrated": Recalibrated(slope="per_class").fit(TABLE),
    "recalibrated log_pool": Recalibrated(of=LogPool()).fit(TABLE),
    "auto": AutoCombination("log_pool", 0, 0.5, LogPool().fit(TABLE), "half of it"),
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_torch_gives_the_numbers_of_the_combination(name: str) -> None:
    combination, proba_NMC = COMBINATIONS[name], TABLE.proba_NMC.copy()
    proba_NMC[0] = np.eye(proba_NMC.shape[2])[0]  # zeros, whose logarithm is floored
    refuse_others(combination, name)
    computed_NC = combine(combination, torch.from_numpy(proba_NMC.astype(np.float32))).numpy()
    np.testing.assert_allclose(computed_NC, combination(proba_NMC), atol=2e-6)


def test_other_combinations_are_refused() -> None:
    with pytest.raises(DistillError, match=r"my median is not linear, .*FixedCombination.*name another arm"):
        refuse_others(Recalibrated(of=Median()).fit(TABLE), "my median")


def test_members_must_be_networks_of_one_view() -> None:
    other = replace(SMALL, name="other")
    with pytest.raises(DistillError, match=r"holds networks, and \['trees'\] are none"):
        common_view((SMALL, LightGBMMember("trees")))
    with pytest.raises(DistillError, match=r"one view, and the members read \['image', 'signal'\]"):
        common_view((SMALL, EegMember("waves", view="signal")))
    with pytest.raises(DistillError, match=r"no joined members, got \['both'\]"):
        common_view(resolve((SMALL, other, JoinedMember("both", members=("small", "other")))))
    assert common_view((SMALL, other)) == "image"


def test_the_file_of_a_run_gives_the_scores_of_predict(
    smoke: "tuple[Run, Comparison]",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(smoke[0].dir.root, tmp_path / "smoke")
    assert call(monkeypatch, "export", folder, "--arm", "recalibrated", "--program") == 2
    assert "leave them out beside --arm" in " ".join(capsys.readouterr().err.split())
    assert call(monkeypatch, "export", folder, "--arm", "") == 2
    assert "the name of a combination is empty: name one of ['average'," in " ".join(capsys.readouterr().err.split())
    assert call(monkeypatch, "export", folder, "--arm", "recalibrated") == 0
    assert "recalibrated of 4 fold models" in capsys.readouterr().out
    run, path = find_run(folder), folder / "stacking" / "recalibrated" / "ensemble.onnx"
    rows_N, student = run.dataset.view("image"), OnnxStudent(path)
    scores = predict_members(run.dir.members, run.experiment.member, {"image": rows_N}, student.classes, "cpu")
    wanted_NC = run.combination("recalibrated").fitted.apply(scores)
    assert len(rows_N) == 240  # the command has checked the first 64
    np.testing.assert_allclose(student.predict(rows_N), wanted_NC, atol=1e-5)
    np.savez(tmp_path / "new.npz", image=rows_N[:5])
    files = ("--data", tmp_path / "new.npz", "--out", tmp_path / "p.csv")
    assert call(monkeypatch, "predict", "--run", folder, "--onnx", path, *files) == 0
