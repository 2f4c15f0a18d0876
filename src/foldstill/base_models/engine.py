"""The one training engine, for members and for the distilled student: rows and targets in, trained weights and scores out.

N rows of a view, B batch, C classes. It knows rows, not folds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foldstill.base_models import checkpoint as checkpoints
from foldstill.base_models.averaging import MovingAverage
from foldstill.base_models.checkpoint import Checkpoint
from foldstill.base_models.inputs import DeviceInputs
from foldstill.base_models.losses import Loss, loss_for, row_kl
from foldstill.base_models.networks import Network
from foldstill.base_models.schedules import learning_rate
from foldstill.base_models.specs import Recipe
from foldstill.data.augment import Mix, augment
from foldstill.data.simplex import Float
from foldstill.errors import MemberError
from foldstill.files import digest

_PREDICT_ROWS = 256
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Epoch:
    """One finished epoch: mean training loss, rate of its last step, KL on the inner split (NaN without one)."""

    epoch: int
    loss: float
    lr: float
    inner_kl: float = math.nan


@dataclass(frozen=True)
class Batch:
    """What a target provider sees of a training batch: which rows, and the scaled, augmented inputs made of them."""

    rows_B: Tensor
    inputs: Tensor
    mixes: tuple[Mix, ...]
    epoch: int

    def mixed(self, value_B: Tensor) -> Tensor:
        """Values a row, (B,) or (B, C), brought through the mixes the inputs went through."""
        for mix in self.mixes:
            value_B = mix.rates(value_B)
        return value_B


class Targets(Protocol):
    """Gives the target of a training batch when it depends on the augmented view, as live or banked teachers do."""

    def __call__(self, batch: Batch) -> Tensor:
        """Distributions (B, C), float32, on the device of the batch."""
        ...


@dataclass(frozen=True)
class _TableTargets:
    """One fixed target a row, mixed as the inputs are."""

    target_NC: Tensor

    def __call__(self, batch: Batch) -> Tensor:
        return batch.mixed(self.target_NC[batch.rows_B])


def fit(
    network: Network,
    inputs: DeviceInputs,
    target_NC: Float,
    weight_N: Float,
    rows: Rows,
    recipe: Recipe,
    *,
    seed: int,
    loss: Loss | None = None,
    targets: Targets | None = None,
    draw_N: Float | None = None,
    mix_within_N: NDArray[np.integer] | None = None,
    valid_rows: Rows | None = None,
    keep_scaling: bool = False,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train `network` in place on `rows` and give the history, one entry an epoch.

    `target_NC` (rows sum to one) and `weight_N` (mean about 1) cover all N rows of the inputs; only `rows` are read.
    `targets` replaces the table where a target depends on the augmented batch. `draw_N` makes an epoch a weighted draw
    with replacement. Mixing partners stay within equal `mix_within_N`. With `valid_rows` training stops early by
    `recipe.early_stopping`, judged on them. The input scaling is that of `rows` unless `keep_scaling`.

    With a checkpoint every epoch is saved, and a later call goes on from there to the same bytes. Raises MemberError
    for a loss that is not finite, naming epoch and step.
    """
    device = inputs.device
    if len(rows) < 2:
        raise MemberError(f"training needs 2 rows or more, got {len(rows)}: lower min_votes, or use fewer folds")
    if (recipe.early_stopping is None) != (valid_rows is None):
        raise MemberError("early stopping and valid_rows go together: give both or neither")
    _to_device(network, device, channels_last=inputs.is_image)
    if not keep_scaling:
        mean, std = inputs.scaling(rows)
        network.input.mean.copy_(mean)
        network.input.std.copy_(std)
    optimizer = _optimizer(network, recipe, device)
    average = MovingAverage(network, recipe.ema) if recipe.ema else None
    history: list[Epoch] = []
    best: dict[str, Tensor] = {}
    if checkpoint and (found := checkpoints.load(checkpoint, network, optimizer, device)):
        states, lines = found
        history = [
            Epoch(**{**line, "inner_kl": math.nan if line["inner_kl"] is None else line["inner_kl"]}) for line in lines
        ]
        best = states.get("best", {})
        if average:
            for key, value in states["average"].items():
                average.state[key].copy_(value)

    trainer = _Trainer(
        network, inputs, recipe, optimizer, average, loss or loss_for(recipe.loss), seed,
        rows_N=torch.from_numpy(np.asarray(rows, dtype=np.int64)).to(device),
        target_NC=torch.from_numpy(np.asarray(target_NC, dtype=np.float32)).to(device),
        weight_N=torch.from_numpy(np.asarray(weight_N, dtype=np.float32)).to(device),
        draw=None if draw_N is None else torch.from_numpy(np.asarray(draw_N, dtype=np.float64)[rows]).to(device),
        within_N=None if mix_within_N is None else torch.from_numpy(np.asarray(mix_within_N, dtype=np.int64)).to(device),
        targets=targets,
    )  # fmt: skip
    while len(history) < recipe.epochs and not _is_stopped(history, recipe):
        mean_loss, rate = trainer.epoch(len(history), history)
        inner = math.nan
        if valid_rows is not None:
            inner = _inner_kl(network, average, inputs, trainer.target_NC, valid_rows, recipe)
            if inner <= min((e.inner_kl for e in history), default=math.inf):
                best = {
                    key: value.clone() for key, value in (average.state if average else network.state_dict()).items()
                }
        history.append(Epoch(len(history), mean_loss, rate, inner))
        if checkpoint:
            extra = {"average": average.state if average else {}, "best": best}
            lines = [{**asdict(e), "inner_kl": None if math.isnan(e.inner_kl) else e.inner_kl} for e in history]
            checkpoints.save(checkpoint, network, optimizer, extra, lines)
        if on_epoch:
            on_epoch(history[-1])
    if best or average:
        network.load_state_dict(best or average.state)  # type: ignore[union-attr]
    return history


def _is_stopped(history: list[Epoch], recipe: Recipe) -> bool:
    if recipe.early_stopping is None or not history:
        return False
    best = min(range(len(history)), key=lambda i: history[i].inner_kl)
    return len(history) - 1 - best >= recipe.early_stopping.patience


@dataclass
class _Trainer:
    """What the steps of all epochs share; tensors live on the device."""

    network: Network
    inputs: DeviceInputs
    recipe: Recipe
    optimizer: torch.optim.Optimizer
    average: MovingAverage | None
    loss: Loss
    seed: int
    rows_N: Tensor
    target_NC: Tensor
    weight_N: Tensor
    draw: Tensor | None
    within_N: Tensor | None
    targets: Targets | None

    def epoch(self, epoch: int, history: list[Epoch]) -> tuple[float, float]:
        """Mean loss and last learning rate of one pass over the rows."""
        device, recipe = self.inputs.device, self.recipe
        seed = int(digest(self.seed, epoch), 16) % 2**63
        generator = torch.Generator(device).manual_seed(seed)
        batches = self._batches(generator)
        losses = torch.empty(len(batches), device=device)
        past = [e.loss if math.isnan(e.inner_kl) else e.inner_kl for e in history]
        targets = self.targets or _TableTargets(self.target_NC)
        first = epoch * len(batches)
        rate = 0.0
        self.network.train()
        # Dropout and stochastic depth draw from torch's global generators, which belong to the caller.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            for step, (rows_B, raw) in enumerate(zip(batches, self.inputs.batches(batches), strict=True)):
                rate = learning_rate(recipe, first + step, len(batches), past)
                for group in self.optimizer.param_groups:
                    group["lr"] = rate
                batch = self._augmented(rows_B, raw, generator, epoch)
                with _autocast(recipe, device):
                    logits = self.network.body(batch.inputs)
                value = self.loss(logits.float(), targets(batch), batch.mixed(self.weight_N[rows_B]))
                self.optimizer.zero_grad(set_to_none=True)
                value.backward()
                if recipe.clip_norm:
                    torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip_norm)
                self.optimizer.step()
                if self.average:
                    self.average.update(first + step)
                losses[step] = value.detach()
        # The only moment of an epoch at which the host waits for the device.
        values = losses.tolist()
        wrong = [step for step, value in enumerate(values) if not math.isfinite(value)]
        if wrong:
            raise MemberError(
                f"the loss became {values[wrong[0]]} in epoch {epoch + 1}, step {wrong[0] + 1} of {len(values)}: "
                "lower the learning rate, or clip the gradient"
            )
        return math.fsum(values) / len(values), rate

    def _batches(self, generator: torch.Generator) -> list[Tensor]:
        """Row indices of every batch, all of one size; what is left over is dropped."""
        n, size = len(self.rows_N), min(self.recipe.batch_size, len(self.rows_N))
        if self.draw is None:
            order = torch.randperm(n, generator=generator, device=generator.device)
        else:
            order = torch.multinomial(self.draw, n, replacement=True, generator=generator)
        return list(self.rows_N[order[: n // size * size]].split(size))

    @torch.no_grad()
    def _augmented(self, rows_B: Tensor, raw: Tensor, generator: torch.Generator, epoch: int) -> Batch:
        x = self.network.input(raw)
        mixes: list[Mix] = []
        if self.recipe.augment:
            group_B = None if self.within_N is None else self.within_N[rows_B]
            x, mixes = augment(
                x, self.recipe.augment, generator, target_BC=self.target_NC[rows_B], group_B=group_B, epoch=epoch
            )
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return Batch(rows_B, x, tuple(mixes), epoch)


def predict(
    network: Network, inputs: DeviceInputs, rows: Rows, *, precision: str = "auto", batch_size: int = _PREDICT_ROWS
) -> NDArray[np.float32]:
    """Probabilities (rows, C) of the network in evaluation mode, float32, rows summing to one; nothing is augmented."""
    return np.concatenate(
        [p.softmax(dim=1).cpu().numpy() for p in _logits(network, inputs, rows, precision, batch_size)]
    )


def _logits(network: Network, inputs: DeviceInputs, rows: Rows, precision: str, batch_size: int) -> Iterator[Tensor]:
    _to_device(network, inputs.device, channels_last=inputs.is_image)
    was_training = network.training
    network.eval()
    index = torch.from_numpy(np.asarray(rows, dtype=np.int64)).to(inputs.device)
    # The last batch is padded: one shape for every batch keeps kernels and graphs the same.
    padded = torch.cat([index, index[-1:].expand(-len(index) % batch_size)])
    left = len(index)
    try:
        with torch.inference_mode(), _autocast(Recipe(precision=precision), inputs.device):  # type: ignore[arg-type]
            for raw in inputs.batches(padded.split(batch_size)):
                yield network(raw).float()[:left]
                left -= batch_size
    finally:
        network.train(was_training)


def _inner_kl(
    network: Network, average: MovingAverage | None, inputs: DeviceInputs, target_NC: Tensor, rows: Rows, recipe: Recipe
) -> float:
    """Mean KL of the weights that would predict, on the inner split."""
    live = {key: value.clone() for key, value in network.state_dict().items()} if average else None
    if average:
        network.load_state_dict(average.state)
    logits = torch.cat(list(_logits(network, inputs, rows, recipe.precision, _PREDICT_ROWS)))
    if live:
        network.load_state_dict(live)
    return float(row_kl(logits, target_NC[torch.from_numpy(rows).to(inputs.device)]).mean())


def _to_device(network: Network, device: torch.device, *, channels_last: bool) -> None:
    network.to(device=device)
    if channels_last:
        network.to(memory_format=torch.channels_last)


def _optimizer(network: Network, recipe: Recipe, device: torch.device) -> torch.optim.Optimizer:
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    fused = device.type == "cuda"
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=0.9, nesterov=True, fused=fused)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=recipe.lr, fused=fused)


def _autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    on = recipe.precision == "bfloat16" or (recipe.precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=on)
