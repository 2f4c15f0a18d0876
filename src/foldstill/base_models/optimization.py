"""What follows the loss in a step: scaled gradients, clipping, the optimizer, and the average of the weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from foldstill.base_models.joined_network import AnyNetwork
from foldstill.base_models.precision import lower_precision
from foldstill.base_models.recipes import Recipe


class WarmedAverage:
    """Exponential moving average of weights and running statistics, in `module`.

    The decay warms up as (1 + step) / (10 + step), as in TensorFlow's ExponentialMovingAverage, so that a short
    training does not keep its random first weights; `step` counts from 0.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """The average starts as a copy of the network, whose tensors must stay the same objects."""
        self.module: Any = deepcopy(network).eval()
        self.decay = decay
        pairs = list(zip(self.module.state_dict().values(), network.state_dict().values(), strict=True))
        # Few kernels for all tensors: a network has hundreds, and so would be the calls of each step.
        self._averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self._copied = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights of the network after this step into the average; counts of batches are copied."""
        decay = min(self.decay, (1 + step) / (10 + step))
        if self._averaged:
            averages, values = zip(*self._averaged, strict=True)
            torch._foreach_lerp_(averages, values, weight=1.0 - decay)
        if self._copied:
            averages, values = zip(*self._copied, strict=True)
            torch._foreach_copy_(averages, values)


class Optimization:
    """The optimizer of a training, with the gradients it clips and, in float16, the scale of the loss."""

    def __init__(
        self, network: AnyNetwork, recipe: Recipe, device: torch.device, further: Iterable[nn.Parameter] = ()
    ) -> None:
        """`further` parameters are trained with the network; raises MemberError for a precision that it cannot have."""
        further = tuple(further)
        self.dtype = lower_precision(recipe.precision, device)
        """The type of most operations of a step; None for float32."""
        self.optimizer = _optimizer(network, recipe, device, further)
        self._clipped = [*network.parameters(), *further]
        self._clip_norm = recipe.clip_norm
        # Small gradients vanish in float16 unless the loss is scaled up (Micikevicius et al., 2018, section 3.2).
        self._scaler = torch.amp.GradScaler(device.type, enabled=self.dtype is torch.float16)

    def step(self, loss: Tensor, rate: float) -> None:
        """Change the weights by the gradient of a loss; a step whose gradient overflows float16 changes nothing."""
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self._scaler.scale(loss))
        if self._clip_norm:
            self._scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self._clipped, self._clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self._scaler.step(self.optimizer)
        self._scaler.update()

    def state_dict(self) -> dict[str, Tensor]:
        """State besides that of the optimizer: the scale of the loss in float16."""
        return {key: torch.tensor(value, dtype=torch.float64) for key, value in self._scaler.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the state of a checkpoint."""
        if state and self._scaler.is_enabled():
            kinds = {key: type(value) for key, value in self._scaler.state_dict().items()}
            self._scaler.load_state_dict({key: kinds[key](value.item()) for key, value in state.items()})


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
