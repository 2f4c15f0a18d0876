"""The steps of a training: batches, augmentation, loss and weights, epoch by epoch, without a wait for the device.

N rows of a view, B batch, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foldstill.base_models import cuda_graph
from foldstill.base_models.inference import predict_logits
from foldstill.base_models.inputs import AnyInputs
from foldstill.base_models.joined_network import AnyNetwork
from foldstill.base_models.losses import heads_kl, row_kl
from foldstill.base_models.networks import Network
from foldstill.base_models.optimization import Optimization, WarmedAverage
from foldstill.base_models.precision import autocast, measured_kernels
from foldstill.base_models.recipes import Recipe
from foldstill.base_models.schedules import learning_rate
from foldstill.data.augment import AnyAugmentation, augment
from foldstill.data.augment_views import augment_views
from foldstill.data.augmentation import RowMix
from foldstill.data.batch import Batch, BatchTargets, OpenHint
from foldstill.data.dataset import one_of_each
from foldstill.data.training import Rows
from foldstill.digests import digest
from foldstill.errors import MemberError, lacks_memory


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


@dataclass
class Trainer:
    """What the steps of all epochs share; tensors are on the device."""

    network: AnyNetwork
    inputs: AnyInputs
    recipe: Recipe
    optimization: Optimization
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
    multi_label: bool
    weight_N: Tensor
    early_weight_N: Tensor
    draw: Tensor | None
    unit_N: NDArray[np.intp] | None
    within_N: Tensor | None
    captured: nn.Module | None = None
    """The network that replays CUDA graphs, if any."""

    @property
    def predicting(self) -> AnyNetwork:
        """The network whose weights would predict now."""
        return self.network if self.average is None else self.average.module

    def states(self) -> dict[str, Mapping[str, Tensor]]:
        """What a checkpoint holds besides network and optimizer."""
        return {
            "average": {} if self.average is None else self.average.module.state_dict(),
            "best": self.best,
            "optimization": self.optimization.state_dict(),
            "hint": {} if self.hint is None else self.hint.state_dict(),
        }

    def inner_kl(self, judges: Rows) -> float:
        """Mean KL on the inner split, of the weights that would predict."""
        logits = predict_logits(self.predicting, self.inputs, judges)
        target = self.target_NC[torch.from_numpy(judges).to(self.inputs.device)]
        if self.multi_label:
            return float(heads_kl(logits, target, torch.ones_like(target[:, 0])))
        return float(row_kl(logits, target).mean())

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
        forked = [] if device.type == "cpu" else [device]
        with (
            torch.random.fork_rng(forked, device_type=None if device.type == "cpu" else device.type),
            measured_kernels(on=True),
        ):
            torch.manual_seed(seed)
            for step, (rows_B, raw) in enumerate(zip(batches, self.inputs.batches(batches), strict=True)):
                total_step = epoch * len(batches) + step
                rate = learning_rate(self.recipe, total_step, len(batches), judged)
                batch = self._augmented((rows_B, host_rows[step]), raw, generator, augmentation_pass)
                self._capture(batch)
                losses[step] = self._step(batch, weight_N, rate)
                if self.average is not None:
                    self.average.update(total_step)
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

    def _capture(self, batch: Batch) -> None:
        """Capture the network in CUDA graphs before its first step, where the environment asks for it."""
        if self.captured is not None or self.hint is not None or not isinstance(self.network, Network):
            return
        if self.network.body.training and cuda_graph.is_wanted(self.inputs.device):
            cuda_graph.capture(self.network.body, batch.inputs, self.optimization.dtype)
            self.captured = self.network.body

    def release(self) -> None:
        """Leave the network as it was, apart from what it has learned."""
        if self.captured is not None:
            cuda_graph.release(self.captured)
            self.captured = None

    def fits(self, size: int) -> bool:
        """Whether a step on a batch of this size fits into memory; the network is of no use afterwards."""
        self.release()
        if self.inputs.device.type == "cuda":
            torch.cuda.empty_cache()
        rows_B = self.rows[:size]
        generator = torch.Generator(self.inputs.device)
        try:
            [raw] = self.inputs.batches([rows_B])
            self._step(self._augmented((rows_B, self.host_rows[:size]), raw, generator, 0), self.weight_N, 0.0)
        except RuntimeError as error:
            if not lacks_memory(error):
                raise
            return False
        return True

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
        with autocast(self.optimization.dtype, self.inputs.device):
            if self.hint is None:
                logits = self.network.body(batch.inputs)
            else:
                assert isinstance(self.network, Network), "hints are for students, which read one view"
                features, logits = self.network.features_and_logits(batch.inputs)
                guess = self.hint(features)
        target_BC = self._targets(batch)
        weight_B = batch.mixed(weight_N[batch.rows_B])
        loss = heads_kl if self.multi_label else self.recipe.loss
        value = loss(logits.float(), target_BC, weight_B)
        if self.hint is not None and guess is not None:
            with measured_kernels(on=False):
                value = value + self.hint.loss(guess, batch, weight_B)
        self.optimization.step(value, rate)
        return value.detach()

    def _targets(self, batch: Batch) -> Tensor:
        if self.targets is None:
            return batch.mixed(self.target_NC[batch.rows_B])
        with measured_kernels(on=False):
            return self.targets(batch)

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
