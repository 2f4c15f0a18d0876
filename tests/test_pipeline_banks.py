"""Banks of teacher scores in a run: shared by students that are shown the same, and removed when nobody asks for
them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldstill.distill.view_teachers import LiveTeachers
from foldstill.pipeline import ExperimentFile, run_all, start_run
from made_up import bright_pictures, one_worker, timm_table

EXPERIMENT = f"""name = "banks"
[data]
kind = "npz"
path = "d.npz"
images = "images"
votes = "votes"
[folds]
n_folds = 2
test_share = 0.2
[recipe]
epochs = 1
batch_size = 16
augment = [{{ kind = "horizontal_flip" }}]
{timm_table("one", "test_efficientnet")}
[[stacking.combiner]]
kind = "average"
[student]
network = "test_efficientnet"
teacher = "average"
seeds = 1
without_teacher = false
views = "bank"
bank_views = 1
recipe = {{ epochs = 1 }}
[[ablation]]
name = "a quarter"
mix = {{ kind = "fixed", share = 0.25 }}
"""
SHIFTED = """[[ablation]]
name = "shifted"
recipe = { augment = [{ kind = "shift" }] }
"""


@pytest.mark.filterwarnings("ignore:finished work is made again")
def test_students_of_a_run_share_a_bank_and_one_that_nobody_asks_for_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bright_pictures()
    np.savez(tmp_path / "d.npz", images=data.view("image"), votes=data.labels.votes_NC.astype(int))
    asked = []
    ask = LiveTeachers.member_scores
    monkeypatch.setattr(LiveTeachers, "member_scores", lambda self, batch: asked.append(batch) or ask(self, batch))

    def banks_after(text: str, **work: Any) -> set[str]:
        run = start_run(ExperimentFile(text, tmp_path), tmp_path / "run", one_worker(**work))
        run_all(run)
        return {bank.name for bank in run.dir.teacher_banks.iterdir()}

    both = banks_after(EXPERIMENT)
    assert len(both) == 1
    assert len(asked) == 4  # batches of one epoch, which the second student reads from the bank of the first
    assert len(banks_after(EXPERIMENT + SHIFTED) - both) == 1
    assert len(asked) == 8
    assert banks_after(EXPERIMENT) == both
    assert len(asked) == 8
    # With force, everything is made again.
    assert banks_after(EXPERIMENT, force=True) == both
    assert len(asked) == 12
