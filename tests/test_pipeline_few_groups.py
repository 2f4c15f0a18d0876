import re
from pathlib import Path

import numpy as np
import pytest

from foldstill.data.folds import FoldPlan, make_plan
from foldstill.data.labels import Labels
from foldstill.pipeline.few_groups import few_groups_note
from made_up import ON_CPU, TWO_VIEWS, call, write_two_views


def plan(n_groups: int, test_share: float) -> FoldPlan:
    labels = Labels.from_hard(np.arange(3 * n_groups) % 2, groups=np.arange(3 * n_groups) // 3)
    return make_plan(labels, n_folds=2, test_share=test_share, strategy="grouped", seed=0)


def test_few_locked_groups_are_announced_with_what_would_be_enough() -> None:
    note = few_groups_note(plan(100, 0.05))
    assert "rest on 5 locked groups" in note
    assert "set folds.test_share = 0.2 to lock about 20" in note
    assert "test_share = 0 to compare on all 100" in note
    share = float(re.search(r"test_share = (0\.\d+)", note)[1])
    assert few_groups_note(plan(100, share)) == ""


def test_a_cure_that_would_not_help_is_not_named() -> None:
    assert "test_share" not in few_groups_note(plan(12, 0.25))
    assert "there are 12 in all, so add data of other groups" in few_groups_note(plan(12, 0.25))
    assert few_groups_note(plan(12, 0.0)).startswith("The comparison will rest on 12 groups")
    assert "to lock about" not in few_groups_note(plan(30, 0.2))
    assert few_groups_note(plan(30, 0.0)) == ""


def test_training_says_it_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_two_views(tmp_path / "two-views.npz", n=24)
    text = f'name = "few"\n{TWO_VIEWS}[folds]\nn_folds = 2\ntest_share = 0.3\n[recipe]\nepochs = 1\nbatch_size = 8\n'
    (tmp_path / "few.toml").write_text(text + '[[member]]\nname = "picture"\nnetwork = "test_resnet"\n')
    assert call(monkeypatch, "train", tmp_path / "few.toml", "--out", tmp_path / "run", "--workers", "1", *ON_CPU) == 0
    printed = capsys.readouterr().out
    assert printed.index("locked groups") < printed.index("Members are in")
