"""The training engine for all networks, members and students alike: it trains a network on rows and knows nothing of
folds.

N rows of a view, B batch, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from foldstill.base_models.checkpoint import read_checkpoint, write_checkpoint
from foldstill.base_models.inference import autocast, move_to, predict_logits
from foldstill.base_models.inputs import AnyInputs, open_inputs
from foldstill.base_models.joined_network import AnyNetwork
from foldstill.base_models.losses import row_kl
from foldstill.base_models.networks import Network
from foldstill.base_models.recipes import Recipe
from foldstill.base_models.rows import Phase, draw_rates
from foldstill.base_models.schedules import learning_rate
from foldstill.data.augment import AnyAugmentation, augment
from foldstill.data.augment_views import augment_views
from foldstill.data.augmentation import RowMix
from foldstill.data.batch import Batch, BatchTargets, OpenHint
from foldstill.data.dataset import one_of_each
from foldstill.data.features import array_of
from foldstill.data.training import FitContext, FitProgress, Rows, TrainingSet
from foldstill.errors import MemberError
from foldstill.files import digest


@dataclass(frozen=True)
class Epoch:
    """One finished epoch, counted from 0."""

    epoch: int
    loss: float
    """Mean training loss."""
    lr: float
    """Learning rate of the last step."""
    inner_kl: float | None = None
    """KL on the inner split, where there is one."""


class WarmedAverage(ModelEmaV3):  # type: ignore[misc]
    """Exponential moving average of weights and running statistics, in `module`.

    The decay warms up as (1 + step) / (10 + step), as in TensorFlow's ExponentialMovingAverage, so that a short
    training does not keep its random first weights; `step` counts from 0.
    """

    def get_decay(self, step: int | None = None) -> float:
        assert step is not None, "the decay depends on the step"
        return float(min(self.decay, (1 + step) / (10 + step)))


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
    folder, the state is saved after each epoch, and a later call continues from it to the same bytes.

    Raises MemberError for a loss that is not finite, with epoch and step.
    """
    recipe = phase.recipe
    if len(phase.rows) < 2:
        raise MemberError(f"training needs 2 rows or more, got {len(phase.rows)}: lower min_votes, or use fewer folds")
    if (recipe.early_stopping is None) != (phase.judges is None):
        raise MemberError("early stopping and rows that judge the epochs go together: set both or neither")
    trainer, history = _start(network, training_set, phase, context, view_augment)
    path = None if context.folder is None else context.folder / f"checkpoint-{phase.number}.safetensors"
    while len(history) < recipe.epochs and not _is_over(history, recipe):
        mean_loss, rate = trainer.epoch(history)
        inner = None
        if phase.judges is not None:
            inner = trainer.inner_kl(phase.judges)
            if inner <= min(_judged(history, recipe), default=math.inf):
                trainer.best = {key: value.clone() for key, value in trainer.predicting.state_dict().items()}
        history.append(Epoch(len(history), mean_loss, rate, inner))
        if path:
            lines = [asdict(epoch) for epoch in history]
            write_checkpoint(path, context.made_from, network, trainer.optimizer, trainer.states(), lines)
        context.report(FitProgress(len(history), recipe.epochs, mean_loss))
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
) -> tuple[_Trainer, list[Epoch]]:
    """A trainer before its first epoch, or as the checkpoint left it, and its history."""
    recipe, rows = phase.recipe, phase.rows
    inputs = open_inputs([array_of(view, name) for name, view in training_set.views.items()], context.device)
    device = inputs.device
    move_to(network, inputs)
    hint = None
    if training_set.hint is not None:
        hint = training_set.hint.open(network, context.seed, context.device)
    optimizer = _optimizer(network, recipe, device, [] if hint is None else hint.parameters())
    restored = None
    if context.folder is not None:
        path = context.folder / f"checkpoint-{phase.number}.safetensors"
        restored = read_checkpoint(path, context.made_from, network, optimizer, device)
    states, history = ({}, []) if restored is None else (restored[0], [Epoch(**line) for line in restored[1]])
    if restored is None and phase.number == 1:
        network.fit_scaling(inputs, rows)
    # Only now, because the average starts from the scaling as well.
    average = WarmedAverage(network, recipe.ema) if recipe.ema else None
    if average is not None and "average" in states:
        average.module.load_state_dict(states["average"])
    if hint is not None and "hint" in states:
        hint.load_state_dict(states["hint"])

    def put(values: Any, dtype: type[np.generic]) -> Tensor:
        return torch.from_numpy(np.asarray(values, dtype=dtype)).to(device)

    teacher, rates = training_set.teacher, draw_rates(training_set, rows, recipe.sampling)
    unit_N = None
    if recipe.sampling == "one_each":
        unit_N = np.unique(_units(training_set), return_inverse=True)[1]
    trainer = _Trainer(
        network=network,
        inputs=inputs,
        recipe=recipe,
        optimizer=optimizer,
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
        weight_N=put(training_set.row_weights(rows, recipe.row_weight, recipe.row_weight_maximum), np.float32),
        early_weight_N=put(training_set.row_weights(rows, "none"), np.float32),
        draw=None if rates is None else put(rates[rows], np.float64),
        unit_N=unit_N,
        within_N=None if training_set.fold_N is None else put(training_set.fold_N, np.int64),
    )
    if teacher is not None and teacher.passes is not None:
        trainer.passes, trainer.seed = teacher.passes.count, teacher.passes.seed
    return trainer, history


def _units(training_set: TrainingSet) -> NDArray[Any]:
    if training_set.unit_N is None:
        raise MemberError(
            'sampling = "one_each" draws one row of each unit, and the rows of this data have no units: use it with '
            'HMS data of rows = "window"'
        )
    return training_set.unit_N


def _judged(history: list[Epoch], recipe: Recipe) -> list[float]:
    """KL on the inner split of the epochs that can be chosen; epochs of a warm-up are not compared with later ones."""
    return [e.inner_kl for e in history[recipe.warm_up_epochs :] if e.inner_kl is not None]


def _is_over(history: list[Epoch], recipe: Recipe) -> bool:
    """Whether early stopping has waited long enough."""
    kl = _judged(history, recipe)
    if recipe.early_stopping is None or not kl:
        return False
    return len(kl) - 1 - kl.index(min(kl)) >= recipe.early_stopping.patience


@dataclass
class _Trainer:
    """What the steps of all epochs share; tensors are on the device."""

    network: AnyNetwork
    inputs: AnyInputs
    recipe: Recipe
    optimizer: torch.optim.Optimizer
    average: WarmedAverage | None
    best: Mapping[str, Tensor]
    """Weights of the best epoch so far; empty without early stopping."""
    targets: BatchTargets | None
    hint: OpenHint | None
    view_augment: Sequence[Sequence[AnyAugmentation]]
    seed: int
    passes: int | None
    """Number of augmentation passes that recur."""
    rows: Tensor
    host_rows: Rows
    target_NC: Tensor
    weight_N: Tensor
    early_weight_N: Tensor
    draw: Tensor | None
    unit_N: NDArray[np.intp] | None
    within_N: Tensor | None

    @property
    def predicting(self) -> AnyNetwork:
        """The network whose weights would predict now."""
        network: AnyNetwork = self.network if self.average is None else self.average.module
        return network

    def states(self) -> dict[str, Mapping[str, Tensor]]:
        """What a checkpoint holds besides network and optimizer."""
        return {
            "average": {} if self.average is None else self.average.module.state_dict(),
            "best": self.best,
            "hint": {} if self.hint is None else self.hint.state_dict(),
        }

    def inner_kl(self, judges: Rows) -> float:
        """Mean KL on the inner split, of the weights that would predict."""
        logits = predict_logits(self.predicting, self.inputs, judges, self.recipe.precision)
        return float(row_kl(logits, self.target_NC[torch.from_numpy(judges).to(self.inputs.device)]).mean())

    def epoch(self, history: list[Epoch]) -> tuple[float, float]:
        """Mean loss and last learning rate of one more pass over the rows."""
        device, epoch = self.inputs.device, len(history)
        # Everything random in an epoch comes from here, so that a resumed training draws what an unbroken one draws.
        augmentation_pass = epoch % self.passes if self.passes else epoch
        seed = int(digest(self.seed, augmentation_pass), 16) % 2**63
        generator = torch.Generator(device).manual_seed(seed)
        batches = self._batches(generator, augmentation_pass)
        weight_N = self.early_weight_N if epoch < self.recipe.unweighted_epochs else self.weight_N
        judged = [e.loss if e.inner_kl is None else e.inner_kl for e in history]
        host_rows = torch.stack(batches).cpu().numpy()
        losses = torch.empty(len(batches), device=device)
        rate = 0.0
        self.network.train()
        # Dropout and stochastic depth draw from torch's global generators, which belong to the caller.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            for step, (rows_B, raw) in enumerate(zip(batches, self.inputs.batches(batches), strict=True)):
                total_step = epoch * len(batches) + step
                rate = learning_rate(self.recipe, total_step, len(batches), judged)
                batch = self._augmented((rows_B, host_rows[step]), raw, generator, augmentation_pass)
                losses[step] = self._step(batch, weight_N, rate)
                if self.average is not None:
                    self.average.update(self.network, total_step)
        # The host waits for the device at the start and at the end of an epoch only, and never during a step.
        values = losses.tolist()
        if self.targets is not None:
            self.targets.end_epoch()
        wrong = [step for step, value in enumerate(values) if not math.isfinite(value)]
        if wrong:
            raise MemberError(
                f"the loss became {values[wrong[0]]} in epoch {epoch + 1}, step {wrong[0] + 1} of {len(values)}: "
                "lower the learning rate, or clip the gradient"
            )
        return math.fsum(values) / len(values), rate

    def _batches(self, generator: torch.Generator, augmentation_pass: int) -> list[Tensor]:
        """Row indices of every batch, all of one size; the remaining rows are dropped."""
        rows = self.rows
        if self.unit_N is not None:
            rows = torch.from_numpy(one_of_each(self.unit_N, self.host_rows, epoch=augmentation_pass, seed=self.seed))
            rows = rows.to(self.rows.device)
        n, size = len(rows), min(self.recipe.batch_size, len(rows))
        if self.draw is None:
            order = torch.randperm(n, generator=generator, device=generator.device)
        else:
            order = torch.multinomial(self.draw, n, replacement=True, generator=generator)
        return list(torch.split(rows[order[: n // size * size]], size))

    def _step(self, batch: Batch, weight_N: Tensor, rate: float) -> Tensor:
        guess: Tensor | None = None
        with autocast(self.recipe.precision, self.inputs.device):
            if self.hint is None:
                logits = self.network.body(batch.inputs)
            else:
                assert isinstance(self.network, Network), "hints are for students, which read one view"
                features, logits = self.network.features_and_logits(batch.inputs)
                guess = self.hint(features)
        target_BC = self.targets(batch) if self.targets else batch.mixed(self.target_NC[batch.rows_B])
        weight_B = batch.mixed(weight_N[batch.rows_B])
        value = self.recipe.loss(logits.float(), target_BC, weight_B)
        if self.hint is not None and guess is not None:
            value = value + self.hint.loss(guess, batch, weight_B)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(value)
        if self.recipe.clip_norm:
            torch.nn.utils.clip_grad_norm_(
                [*self.network.parameters(), *([] if self.hint is None else self.hint.parameters())],
                self.recipe.clip_norm,
            )
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self.optimizer.step()
        return value.detach()

    @torch.no_grad()
    def _augmented(
        self, rows: tuple[Tensor, Rows], raw: Any, generator: torch.Generator, augmentation_pass: int
    ) -> Batch:
        """The batch of these rows, whose indices are on the device and on the host."""
        rows_B, host_rows_B = rows
        x: Any = self.network.input(raw)
        mixes: list[RowMix] = []
        if self.recipe.augment or any(self.view_augment):
            group_B = None if self.within_N is None else self.within_N[rows_B]
            drawn: Any = {"target_BC": self.target_NC[rows_B], "group_B": group_B, "epoch": augmentation_pass}
            if isinstance(x, Tensor):
                x, mixes = augment(x, self.recipe.augment, generator, **drawn)
            else:
                x, mixes = augment_views(x, self.view_augment, self.recipe.augment, generator, **drawn)
        x = _laid_out(x) if isinstance(x, Tensor) else tuple(map(_laid_out, x))
        return Batch(rows_B, host_rows_B, x, self.network.unscale, tuple(mixes), augmentation_pass)


def _laid_out(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def _optimizer(
    network: AnyNetwork, recipe: Recipe, device: torch.device, further: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """The recipe's optimizer; `further` parameters are trained like the first group of the network's."""
    groups: list[dict[str, Any]] = []
    for index, (share, parameters) in enumerate(network.rates()):
        trained = [p for p in (*parameters, *(further if index == 0 else ())) if p.requires_grad]
        groups += [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay, "share": share},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0, "share": share},
        ]
    groups = [group for group in groups if group["params"]]
    fused = device.type == "cuda"
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=0.9, nesterov=True, fused=fused)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=recipe.lr, betas=recipe.betas, fused=fused)
