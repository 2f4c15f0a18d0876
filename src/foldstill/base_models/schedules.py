"""The learning rate of every step as a function of the recipe, so that a training can resume anywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence

from foldstill.base_models.recipes import Recipe

_ONE_CYCLE_START = 1 / 25
_ONE_CYCLE_END = 1e-4 / 25
_PLATEAU_THRESHOLD = 1e-4
"""A smaller relative decrease of the loss counts as no progress (the default of torch's ReduceLROnPlateau)."""


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int, losses: Sequence[float] = ()) -> float:
    """Learning rate of step 0, 1, ... of a training.

    `losses` are those of the finished epochs; only plateau uses them. One-cycle rises and falls along cosines
    (Smith and Topin, 2018; rates as in torch's OneCycleLR), cosine falls to its end (Loshchilov and Hutter, 2017, eq. 5
    with one period).
    """
    total = recipe.epochs * steps_per_epoch
    rising = recipe.warmup * total
    if recipe.schedule == "one_cycle":
        peak = rising - 1
        if step <= peak:
            return recipe.lr * _cosine(_ONE_CYCLE_START, 1.0, step / peak if peak > 0 else 1.0)
        end = _ONE_CYCLE_END if recipe.lr_end is None else recipe.lr_end
        return recipe.lr * _cosine(1.0, end, (step - peak) / (total - 1 - peak) if total - 1 > peak else 1.0)
    if step < rising:
        return recipe.lr * (step + 1) / (rising + 1)
    if recipe.schedule == "cosine":
        return recipe.lr * _cosine(1.0, recipe.lr_end or 0.0, (step - rising) / (total - rising))
    if recipe.schedule == "step":
        return recipe.lr * recipe.step_factor ** (step // steps_per_epoch // recipe.step_epochs)
    if recipe.schedule == "plateau":
        return recipe.lr * recipe.step_factor ** _drops(losses, recipe.step_epochs)
    return recipe.lr


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _drops(losses: Sequence[float], patience: int) -> int:
    best, waited, drops = math.inf, 0, 0
    for loss in losses:
        if loss < best * (1 - _PLATEAU_THRESHOLD):
            best, waited = loss, 0
        else:
            waited += 1
        if waited > patience:
            drops, waited = drops + 1, 0
    return drops
