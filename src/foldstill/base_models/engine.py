"""The training engine for all networks, members and students alike: it trains a network on rows and knows nothing of
folds. N rows of a view, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foldstill.base_models.checkpoint import read_checkpoint, write_checkpoint
from foldstill.base_models.inference import move_to
from foldstill.base_models.inputs import open_inputs
from foldstill.base_models.joined_network import AnyNetwork
from foldstill.base_models.optimization import Optimization, WarmedAverage
from foldstill.base_models.recipes import Recipe
from foldstill.base_models.rows import Phase, draw_rates
from foldstill.base_models.trainer import Epoch, Trainer
from foldstill.data.augment import AnyAugmentation
from foldstill.data.features import array_of
from foldstill.data.training import FitContext, FitProgress, TrainingSet
from foldstill.errors import MemberError, lacks_memory

CHECKPOINT_S = 30.0
"""Seconds between two checkpoints; the end of a stage has one as well."""


def fit_network(
    network: AnyNetwork,
    training_set: TrainingSet,
    phase: Phase,
    context: FitContext,
    view_augment: Sequence[Sequence[AnyAugmentation]] = (),
) -> list[Epoch]:
    """Train `network` in place and return the history, one entry per epoch.

    Only rows of the phase are read. The input scaling is fitted to them in the first phase. `view_augment` is applied
    to each view of a network of several views, before the recipe's own augmentation is applied to all views. With a
    folder, the state is saved after the first epoch that ends `CHECKPOINT_S` after the last checkpoint, and at the end.
    A later call continues from it, on a CPU to the same bytes.

    Raises MemberError for a loss that is not finite, with epoch and step, and for a batch that does not fit into the
    memory of a GPU, with the size that fits.
    """
    recipe = phase.recipe
    if len(phase.rows) < 2:
        raise MemberError(f"training needs 2 rows or more, got {len(phase.rows)}: lower min_votes, or use fewer folds")
    if (recipe.early_stopping is None) != (phase.judges is None):
        raise MemberError("early stopping and rows that judge the epochs go together: set both or neither")
    trainer, history = _start(network, training_set, phase, context, view_augment)
    path = _checkpoint(context, phase)
    saved_s = monotonic()
    while not _is_over(history, recipe):
        mean_loss, rate = _epoch_that_fits(trainer, history)
        inner = None
        if phase.judges is not None:
            inner = trainer.inner_kl(phase.judges)
            if inner <= min(_judged(history, recipe), default=math.inf):
                trainer.best = {key: value.clone() for key, value in trainer.predicting.state_dict().items()}
        history.append(Epoch(len(history), mean_loss, rate, inner))
        if path and (_is_over(history, recipe) or monotonic() - saved_s >= CHECKPOINT_S):
            lines = [asdict(epoch) for epoch in history]
            write_checkpoint(path, context.made_from, network, trainer.optimization.optimizer, trainer.states(), lines)
            saved_s = monotonic()
        context.report(FitProgress(len(history), recipe.epochs, mean_loss))
    trainer.release()
    if trainer.best and phase.keep_best:
        network.load_state_dict(trainer.best)
    elif trainer.average:
        network.load_state_dict(trainer.average.module.state_dict())
    return history


def _start(
    network: AnyNetwork,
    training_set: TrainingSet,
    phase: Phase,
    context: FitContext,
    view_augment: Sequence[Sequence[AnyAugmentation]],
) -> tuple[Trainer, list[Epoch]]:
    """A trainer before its first epoch, or as the checkpoint left it, and its history."""
    recipe, rows = phase.recipe, phase.rows
    inputs = open_inputs([array_of(view, name) for name, view in training_set.views.items()], context.device)
    device = inputs.device
    move_to(network, inputs)
    hint = None
    if training_set.hint is not None:
        hint = training_set.hint.open(network, context.seed, context.device)
    optimization = Optimization(network, recipe, device, () if hint is None else hint.parameters())
    path, restored = _checkpoint(context, phase), None
    if path is not None:
        restored = read_checkpoint(path, context.made_from, network, optimization.optimizer, device)
    states, history = ({}, []) if restored is None else (restored[0], [Epoch(**line) for line in restored[1]])
    if restored is None and phase.number == 1:
        network.fit_scaling(inputs, rows)
    # Only now, because the average starts from the scaling as well.
    average = WarmedAverage(network, recipe.ema) if recipe.ema else None
    if average is not None and "average" in states:
        average.module.load_state_dict(states["average"])
    optimization.load_state_dict(states.get("optimization", {}))
    if hint is not None and "hint" in states:
        hint.load_state_dict(states["hint"])

    def put(values: Any, dtype: type[np.generic]) -> Tensor:
        return torch.from_numpy(np.asarray(values, dtype=dtype)).to(device)

    teacher, rates = training_set.teacher, draw_rates(training_set, rows, recipe.sampling)
    trainer = Trainer(
        network=network,
        inputs=inputs,
        recipe=recipe,
        optimization=optimization,
        average=average,
        best=dict(states.get("best", {})),
        targets=None if teacher is None else teacher.open(context.device),
        hint=hint,
        view_augment=view_augment,
        seed=context.seed if context.batch_seed is None else context.batch_seed,
        passes=None,
        rows=put(rows, np.int64),
        host_rows=rows,
        target_NC=put(training_set.target_NC, np.float32),
        multi_label=training_set.multi_label,
        weight_N=put(training_set.row_weights(rows, recipe.row_weight, recipe.row_weight_maximum), np.float32),
        early_weight_N=put(training_set.row_weights(rows, "none"), np.float32),
        draw=None if rates is None else put(rates[rows], np.float32 if device.type == "mps" else np.float64),
        unit_N=_units(training_set) if recipe.sampling == "one_each" else None,
        within_N=None if training_set.fold_N is None else put(training_set.fold_N, np.int64),
    )
    if teacher is not None and teacher.passes is not None:
        trainer.passes, trainer.seed = teacher.passes.count, teacher.passes.seed
    return trainer, history


def _checkpoint(context: FitContext, phase: Phase) -> Path | None:
    return None if context.folder is None else context.folder / f"checkpoint-{phase.number}.safetensors"


def _units(training_set: TrainingSet) -> NDArray[np.intp]:
    """Number of the unit of each row."""
    if training_set.unit_N is None:
        raise MemberError(
            'sampling = "one_each" draws one row of each unit, and the rows of this data have no units: use it with '
            'HMS data of rows = "window"'
        )
    unit_N: NDArray[np.intp] = np.unique(training_set.unit_N, return_inverse=True)[1]
    return unit_N


def _epoch_that_fits(trainer: Trainer, history: list[Epoch]) -> tuple[float, float]:
    """The next epoch; raises MemberError where a batch needs more memory than a GPU has."""
    device, n_rows = trainer.inputs.device, min(trainer.recipe.batch_size, len(trainer.rows))
    size = n_rows
    try:
        return trainer.epoch(history)
    except RuntimeError as error:
        if device.type == "cpu" or not lacks_memory(error):
            raise
    # Out of the `except`, whose error holds the tensors of the step.
    while (size := size // 2) >= 2:
        if trainer.fits(size):
            cure = f"set batch_size to {size}, which fits"
            break
    else:
        cure = "batches of 2 do not fit either, so use a smaller network, smaller inputs, or device cpu"
    raise MemberError(f"batches of {n_rows} rows need more memory than {device} has: {cure}")


def _judged(history: list[Epoch], recipe: Recipe) -> list[float]:
    """KL on the inner split of the epochs that can be chosen; epochs of a warm-up are not compared with later ones."""
    return [e.inner_kl for e in history[recipe.warm_up_epochs :] if e.inner_kl is not None]


def _is_over(history: list[Epoch], recipe: Recipe) -> bool:
    """Whether the last epoch is done, or early stopping has waited long enough."""
    kl = _judged(history, recipe)
    if recipe.early_stopping is None or not kl:
        return len(history) >= recipe.epochs
    return len(history) >= recipe.epochs or len(kl) - 1 - kl.index(min(kl)) >= recipe.early_stopping.patience
