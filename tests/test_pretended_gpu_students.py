"""Students on a pretended GPU: their teachers and hints give what they give on a CPU, and no step waits for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from foldstill.base_models import FoldModels, Recipe, TimmMember, collect
from foldstill.base_models.losses import DIST, DKD, JSD, KL, MSE, Standardised
from foldstill.data.augment import HorizontalFlip
from foldstill.data.mixing import Mixup
from foldstill.distill import FixedMix, Lesson, StudentSettings, mixed_targets, train_student
from foldstill.distill.hints import hint_teacher
from foldstill.distill.settings import FeatureHint
from foldstill.distill.targets import average_teacher
from foldstill.distill.view_teachers import view_teachers
from foldstill.workers import Work
from made_up import noise_run
from pretended_device import UNSUPPORTED, Wait
from pretended_gpu import pretended_gpu, watched_steps

pytestmark = pytest.mark.skipif(bool(UNSUPPORTED), reason=UNSUPPORTED)

MEMBERS = [
    TimmMember(name=name, network="test_resnet", recipe=Recipe(epochs=1, batch_size=8)) for name in ("one", "two")
]
# Three epochs of one pass: a bank is recorded in the first and replayed in the others.
RECIPE = Recipe(epochs=3, batch_size=8, lr=3e-4, augment=(HorizontalFlip(), Mixup()), precision="float32")
SETTINGS = StudentSettings(network="test_resnet", recipe=RECIPE, mix=FixedMix(0.5), views="identity")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two members on two folds of 32 rows, and four locked test rows."""
    folder = tmp_path_factory.mktemp("run") / "members"
    dataset, plan = noise_run(MEMBERS, folder)
    table, _ = collect(folder, MEMBERS, dataset.labels, plan)
    return [FoldModels(member, folder) for member in MEMBERS], dataset, plan, table


def taught(run: Any, settings: StudentSettings, folder: Path, device: str) -> NDArray[np.float32]:
    """What a student that was trained on a device predicts."""
    models, dataset, plan, table = run
    soft = average_teacher(table)
    target, weight = mixed_targets(soft, table.labels, settings.mix)
    teachers = hint = banks = None
    if settings.views != "identity":
        teachers = view_teachers(models, dataset, plan, table, soft, settings.mix, view="image")
        banks = folder / "banks" if settings.views == "bank" else None
    if settings.features is not None:
        hint = hint_teacher(settings, models, plan)
    lesson = Lesson(plan.oof_rows, target, weight, teachers, banks, hint)
    student = train_student(settings, dataset, lesson, folder / "student", work=Work(device=device))
    return student.predict(dataset.view("image"), device=device)


def waits_where_it_learns_the_same(run: Any, settings: StudentSettings, folder: Path) -> list[Wait]:
    torch.manual_seed(0)
    # With two GPUs, students would be trained in processes, which do not pretend.
    with pretended_gpu(count=1) as record, watched_steps(record) as steps:
        cuda = taught(run, settings, folder / "cuda", "cuda")
    np.testing.assert_allclose(cuda, taught(run, settings, folder / "cpu", "cpu"), atol=2e-3)
    assert steps.number == 12
    return steps.waits


def test_live_teachers_and_hints_do_not_wait(run: Any, tmp_path: Path) -> None:
    settings = replace(SETTINGS, views="live", features=FeatureHint("two", weight=0.5))
    assert waits_where_it_learns_the_same(run, settings, tmp_path) == []


def test_a_bank_is_recorded_and_replayed_without_waiting(run: Any, tmp_path: Path) -> None:
    settings = replace(SETTINGS, views="bank", bank_views=1, recipe=replace(RECIPE, loss=DKD()))
    assert waits_where_it_learns_the_same(run, settings, tmp_path) == []
    assert [path.name for path in (tmp_path / "cuda" / "banks").glob("*/*")] == ["view-000.safetensors"]


@pytest.mark.parametrize(
    "loss", [KL(temperature=2.0), MSE(), Standardised(), DIST(), JSD()], ids=lambda loss: loss.kind
)
@pytest.mark.slow
def test_no_loss_waits(run: Any, tmp_path: Path, loss: Any) -> None:
    settings = replace(SETTINGS, recipe=replace(RECIPE, loss=loss))
    assert waits_where_it_learns_the_same(run, settings, tmp_path) == []
