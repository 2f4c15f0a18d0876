"""The one training engine, for members and for the distilled student: rows and targets in, trained weights and scores out.

N rows of a view, B batch, C classes. It knows rows, not folds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foldstill.base_models import checkpoint as checkpoints
from foldstill.base_models.averaging import MovingAverage
from foldstill.base_models.checkpoint import Checkpoint
from foldstill.base_models.inputs import AnyInputs
from foldstill.base_models.joined_network import AnyNetwork
from foldstill.base_models.losses import Loss, loss_for, row_kl
from foldstill.base_models.recipes import Recipe
from foldstill.base_models.schedules import learning_rate
from foldstill.data.augment import AnyAugmentation, augment
from foldstill.data.augment_views import augment_views
from foldstill.data.augmentation import RowMix
from foldstill.data.dataset import one_of_each
from foldstill.data.simplex import Float
from foldstill.errors import MemberError
from foldstill.files import digest

Precision = Literal["auto", "float32", "bfloat16"]
Rows = NDArray[np.intp]

_PREDICT_ROWS = 256


@dataclass(frozen=True)
class Epoch:
    """One finished epoch, counted from 0."""

    epoch: int
    loss: float
    """Mean training loss."""
    lr: float
    """Rate of its last step."""
    inner_kl: float | None = None
    """KL on the inner split, where there is one."""


@dataclass(frozen=True)
class Batch:
    """What a target provider sees of a training batch: which rows, and the scaled, augmented inputs made of them."""

    rows_B: Tensor
    inputs: Any
    """A tensor; of several views a tuple of them."""
    mixes: tuple[RowMix, ...]
    view: int
    """The epoch, or which of the recurring epochs this one repeats."""

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


def fit(
    network: AnyNetwork,
    inputs: AnyInputs,
    target_NC: Float,
    weight_N: Float,
    rows: Rows,
    recipe: Recipe,
    *,
    seed: int,
    loss: Loss | None = None,
    targets: Targets | None = None,
    early_weight_N: Float | None = None,
    view_augment: Sequence[Sequence[AnyAugmentation]] = (),
    draw_N: Float | None = None,
    unit_N: NDArray[np.intp] | None = None,
    mix_within_N: NDArray[Any] | None = None,
    valid_rows: Rows | None = None,
    keep_scaling: bool = False,
    keep_best: bool = True,
    n_views: int | None = None,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train `network` in place on `rows` and give the history, one entry an epoch.

    `target_NC` (rows sum to one) and `weight_N` (mean about 1) cover all N rows of the inputs; only `rows` are read.
    `early_weight_N` are the weights of the recipe's unweighted epochs, ones when not given.
    `loss` and `targets` replace the recipe's loss and the table of targets. `view_augment` is what a network of several views
    has done to each of them before the recipe's augmentation is done to all. `draw_N` makes an epoch a weighted draw with
    replacement; with `unit_N` it takes one row of each unit (numbers), another in each epoch. Mixing partners stay within equal `mix_within_N` (whole numbers, such as folds). With `valid_rows`
    training stops early by `recipe.early_stopping`, judged on them, and ends with the weights of its best epoch if
    `keep_best`, else of its last. The input scaling is that of `rows` unless
    `keep_scaling`. After `n_views` epochs batches and augmentation come again as they were, for banks of teachers.

    With a checkpoint every epoch is saved, and a later call goes on from there to the same bytes. Raises MemberError
    for a loss that is not finite, naming epoch and step.
    """
    if len(rows) < 2:
        raise MemberError(f"training needs 2 rows or more, got {len(rows)}: lower min_votes, or use fewer folds")
    if (recipe.early_stopping is None) != (valid_rows is None):
        raise MemberError("early stopping and valid_rows go together: give both or neither")
    device = inputs.device
    _place(network, inputs)
    optimizer = _optimizer(network, recipe, device)
    history: list[Epoch] = []
    states: Mapping[str, Mapping[str, Tensor]] = {}
    found = checkpoints.load(checkpoint, network, optimizer, device) if checkpoint else None
    if found:
        states, history = found[0], [Epoch(**line) for line in found[1]]
    elif not keep_scaling:
        network.fit_scaling(inputs, rows)
    # Only now: the average starts from the scaling as well.
    average = MovingAverage(network, recipe.ema) if recipe.ema else None
    if average:
        average.load(states.get("average", {}))
    best = states.get("best", {})

    early_N = np.ones(len(target_NC)) if early_weight_N is None else early_weight_N
    target = torch.from_numpy(np.asarray(target_NC, dtype=np.float32)).to(device)
    trainer = _Trainer(
        network=network,
        inputs=inputs,
        recipe=recipe,
        optimizer=optimizer,
        average=average,
        loss=loss or loss_for(recipe.loss),
        targets=targets,
        view_augment=view_augment,
        seed=seed,
        n_views=n_views,
        rows=torch.from_numpy(np.asarray(rows, dtype=np.int64)).to(device),
        host_rows=rows,
        target_NC=target,
        weight_N=torch.from_numpy(np.asarray(weight_N, dtype=np.float32)).to(device),
        early_weight_N=torch.from_numpy(np.asarray(early_N, dtype=np.float32)).to(device),
        draw=None if draw_N is None else torch.from_numpy(np.asarray(draw_N, dtype=np.float64)[rows]).to(device),
        unit_N=unit_N,
        within_N=None if mix_within_N is None else torch.from_numpy(np.asarray(mix_within_N, np.int64)).to(device),
    )
    while len(history) < recipe.epochs and not _is_over(history, recipe):
        mean_loss, rate = trainer.epoch(history)
        inner = None
        if valid_rows is not None:
            inner = _inner_kl(network, average, inputs, target, valid_rows, recipe.precision)
            if inner <= min(_judged(history, recipe), default=math.inf):
                state = average.state if average else network.state_dict()
                best = {key: value.clone() for key, value in state.items()}
        history.append(Epoch(len(history), mean_loss, rate, inner))
        if checkpoint:
            extra = {"average": average.state if average else {}, "best": best}
            checkpoints.save(checkpoint, network, optimizer, extra, [asdict(e) for e in history])
        if on_epoch:
            on_epoch(history[-1])
    if best and keep_best:
        network.load_state_dict(best)
    elif average:
        network.load_state_dict(average.state)
    return history


def predict(
    network: AnyNetwork,
    inputs: AnyInputs,
    rows: Rows,
    *,
    precision: Precision = "auto",
    batch_size: int = _PREDICT_ROWS,
) -> NDArray[np.float32]:
    """Probabilities (rows, C) of the network in evaluation mode, float32, rows summing to one; nothing is augmented."""
    _place(network, inputs)
    proba: NDArray[np.float32] = _logits(network, inputs, rows, precision, batch_size).softmax(dim=1).cpu().numpy()
    return proba


def _place(network: AnyNetwork, inputs: AnyInputs) -> None:
    network.to(device=inputs.device)
    if inputs.is_image:
        # 1.2 to 1.4 times faster on a CPU, and what bfloat16 kernels of a GPU want.
        network.to(memory_format=torch.channels_last)


@torch.inference_mode()
def _logits(network: AnyNetwork, inputs: AnyInputs, rows: Rows, precision: Precision, batch_size: int) -> Tensor:
    was_training = network.training
    network.eval()
    index = torch.from_numpy(np.asarray(rows, dtype=np.int64)).to(inputs.device)
    # The last batch is padded: one shape for every batch keeps kernels and graphs the same.
    padded = torch.cat([index, index[-1:].expand(-len(index) % batch_size)])
    with _autocast(precision, inputs.device):
        logits = [network(raw).float() for raw in inputs.batches(torch.split(padded, batch_size))]
    network.train(was_training)
    return torch.cat(logits)[: len(index)]


def _inner_kl(
    network: AnyNetwork,
    average: MovingAverage | None,
    inputs: AnyInputs,
    target_NC: Tensor,
    rows: Rows,
    precision: Precision,
) -> float:
    """Mean KL on the inner split, of the weights that would predict."""
    live = {key: value.clone() for key, value in network.state_dict().items()}
    if average:
        network.load_state_dict(average.state)
    logits = _logits(network, inputs, rows, precision, _PREDICT_ROWS)
    network.load_state_dict(live)
    return float(row_kl(logits, target_NC[torch.from_numpy(rows).to(inputs.device)]).mean())


def _judged(history: list[Epoch], recipe: Recipe) -> list[float]:
    """KL on the inner split of the epochs that can be chosen: what was good in a warm-up is not compared with what follows."""
    return [e.inner_kl for e in history[recipe.warm_up_epochs :] if e.inner_kl is not None]


def _is_over(history: list[Epoch], recipe: Recipe) -> bool:
    """Whether early stopping has waited long enough."""
    kl = _judged(history, recipe)
    if recipe.early_stopping is None or not kl:
        return False
    return len(kl) - 1 - kl.index(min(kl)) >= recipe.early_stopping.patience


@dataclass
class _Trainer:
    """What the steps of all epochs share; tensors live on the device."""

    network: AnyNetwork
    inputs: AnyInputs
    recipe: Recipe
    optimizer: torch.optim.Optimizer
    average: MovingAverage | None
    loss: Loss
    targets: Targets | None
    view_augment: Sequence[Sequence[AnyAugmentation]]
    seed: int
    n_views: int | None
    rows: Tensor
    host_rows: Rows
    target_NC: Tensor
    weight_N: Tensor
    early_weight_N: Tensor
    draw: Tensor | None
    unit_N: NDArray[np.intp] | None
    within_N: Tensor | None

    def epoch(self, history: list[Epoch]) -> tuple[float, float]:
        """Mean loss and last learning rate of one more pass over the rows."""
        device, epoch = self.inputs.device, len(history)
        # Everything random in an epoch comes from here, so that a resumed training draws what an unbroken one draws.
        view = epoch % self.n_views if self.n_views else epoch
        seed = int(digest(self.seed, view), 16) % 2**63
        generator = torch.Generator(device).manual_seed(seed)
        batches = self._batches(generator, view)
        weight_N = self.early_weight_N if epoch < self.recipe.unweighted_epochs else self.weight_N
        judged = [e.loss if e.inner_kl is None else e.inner_kl for e in history]
        losses = torch.empty(len(batches), device=device)
        rate = 0.0
        self.network.train()
        # Dropout and stochastic depth draw from torch's global generators, which belong to the caller.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            for step, (rows_B, raw) in enumerate(zip(batches, self.inputs.batches(batches), strict=True)):
                total_step = epoch * len(batches) + step
                rate = learning_rate(self.recipe, total_step, len(batches), judged)
                losses[step] = self._step(rows_B, raw, generator, view, weight_N, rate)
                if self.average:
                    self.average.update(total_step)
        # The only moment of an epoch at which the host waits for the device.
        values = losses.tolist()
        wrong = [step for step, value in enumerate(values) if not math.isfinite(value)]
        if wrong:
            raise MemberError(
                f"the loss became {values[wrong[0]]} in epoch {epoch + 1}, step {wrong[0] + 1} of {len(values)}: "
                "lower the learning rate, or clip the gradient"
            )
        return math.fsum(values) / len(values), rate

    def _batches(self, generator: torch.Generator, view: int) -> list[Tensor]:
        """Row indices of every batch, all of one size; what is left over is dropped."""
        rows = self.rows
        if self.unit_N is not None:
            rows = torch.from_numpy(one_of_each(self.unit_N, self.host_rows, epoch=view, seed=self.seed))
            rows = rows.to(self.rows.device)
        n, size = len(rows), min(self.recipe.batch_size, len(rows))
        if self.draw is None:
            order = torch.randperm(n, generator=generator, device=generator.device)
        else:
            order = torch.multinomial(self.draw, n, replacement=True, generator=generator)
        return list(torch.split(rows[order[: n // size * size]], size))

    def _step(
        self, rows_B: Tensor, raw: Any, generator: torch.Generator, view: int, weight_N: Tensor, rate: float
    ) -> Tensor:
        batch = self._augmented(rows_B, raw, generator, view)
        with _autocast(self.recipe.precision, self.inputs.device):
            logits = self.network.body(batch.inputs)
        target_BC = self.targets(batch) if self.targets else batch.mixed(self.target_NC[rows_B])
        value = self.loss(logits.float(), target_BC, batch.mixed(weight_N[rows_B]))
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(value)
        if self.recipe.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self.optimizer.step()
        return value.detach()

    @torch.no_grad()
    def _augmented(self, rows_B: Tensor, raw: Any, generator: torch.Generator, view: int) -> Batch:
        x: Any = self.network.input(raw)
        mixes: list[RowMix] = []
        if self.recipe.augment or any(self.view_augment):
            group_B = None if self.within_N is None else self.within_N[rows_B]
            target_BC, settings = self.target_NC[rows_B], self.recipe.augment
            if isinstance(x, Tensor):
                x, mixes = augment(x, settings, generator, target_BC=target_BC, group_B=group_B, epoch=view)
            else:
                x, mixes = augment_views(
                    x, self.view_augment, settings, generator, target_BC=target_BC, group_B=group_B, epoch=view
                )
        x = _laid_out(x) if isinstance(x, Tensor) else tuple(map(_laid_out, x))
        return Batch(rows_B, x, tuple(mixes), view)


def _laid_out(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def _optimizer(network: AnyNetwork, recipe: Recipe, device: torch.device) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = []
    for share, parameters in network.rates():
        trained = [p for p in parameters if p.requires_grad]
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


def _autocast(precision: Precision, device: torch.device) -> torch.autocast:
    on = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=on)
