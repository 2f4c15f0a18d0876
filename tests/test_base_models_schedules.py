import math
from itertools import pairwise

import pytest
import torch

from foldstill.base_models.recipes import Recipe
from foldstill.base_models.schedules import learning_rate

STEPS = 7
EPOCHS = 6


def rates(**recipe):
    settings = Recipe(epochs=EPOCHS, lr=0.1, **recipe)
    return [learning_rate(settings, step, STEPS) for step in range(EPOCHS * STEPS)]


def reference(make):
    """What torch's own scheduler gives, stepped after every optimizer step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = make(optimizer)
    values = []
    for _ in range(EPOCHS * STEPS):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


def test_one_cycle_equals_torch():
    theirs = reference(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, max_lr=0.1, total_steps=EPOCHS * STEPS, pct_start=0.25, cycle_momentum=False
        )
    )
    assert rates(schedule="one_cycle", warmup=0.25) == pytest.approx(theirs, abs=1e-12)


def test_one_cycle_that_begins_at_its_peak_and_ends_at_a_tenth_equals_torch():
    """The published schedule: pct_start 0, div_factor 25, final_div_factor 0.4."""
    theirs = reference(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o,
            max_lr=0.1,
            total_steps=EPOCHS * STEPS,
            pct_start=0.0,
            div_factor=25,
            final_div_factor=0.4,
            cycle_momentum=False,
        )
    )
    assert rates(schedule="one_cycle", warmup=0, lr_end=0.1) == pytest.approx(theirs, abs=1e-12)


def test_cosine_to_a_tenth_equals_torch():
    theirs = reference(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=EPOCHS * STEPS, eta_min=0.01))
    assert rates(schedule="cosine", warmup=0, lr_end=0.1) == pytest.approx(theirs, abs=1e-12)


def test_cosine_without_warmup_equals_torch():
    theirs = reference(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=EPOCHS * STEPS))
    assert rates(schedule="cosine", warmup=0) == pytest.approx(theirs, abs=1e-12)


def test_step_equals_torch():
    theirs = reference(lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=2 * STEPS, gamma=0.5))
    assert rates(schedule="step", warmup=0, step_epochs=2, step_factor=0.5) == pytest.approx(theirs, abs=1e-12)


def test_plateau_equals_torch():
    losses = [1.0, 0.9, 0.95, 0.94, 0.93, 0.91, 0.5, 0.6, 0.6, 0.6, 0.6, 0.4]
    recipe = Recipe(epochs=len(losses), lr=0.1, schedule="plateau", warmup=0, step_epochs=2, step_factor=0.5)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    for epoch, loss in enumerate(losses):
        assert learning_rate(recipe, epoch * STEPS, STEPS, losses[:epoch]) == optimizer.param_groups[0]["lr"]
        scheduler.step(loss)


def test_warmup_rises_in_a_straight_line_to_the_peak():
    values = rates(schedule="constant", warmup=0.5)
    half = EPOCHS * STEPS // 2
    assert values[half:] == [0.1] * half
    rises = {round(b - a, 12) for a, b in pairwise(values[: half + 1])}
    assert len(rises) == 1
    assert min(values) > 0


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "step", "constant", "plateau"])
@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (1, 3), (5, 2), (50, 2)])
def test_every_schedule_stays_between_zero_and_its_peak_however_short(schedule, epochs, steps):
    # a warmup of 0.1 of ten steps peaks on the first: the shortest rising part there is
    recipe = Recipe(epochs=epochs, lr=0.1, schedule=schedule, warmup=0.1)
    values = [learning_rate(recipe, step, steps, [1.0] * (step // steps)) for step in range(epochs * steps)]
    assert all(math.isfinite(v) and 0 < v <= 0.1 + 1e-12 for v in values)
