"""The exponential moving average of a network's weights: what predicts when a recipe asks for it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class MovingAverage:
    """Averaged weights and running statistics of `network`, one update a step.

    The decay warms up as (1 + step) / (10 + step), as in TensorFlow's ExponentialMovingAverage, so that a short training
    does not keep its random first weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self._live = network.state_dict()
        self.state: dict[str, Tensor] = {key: value.clone() for key, value in self._live.items()}
        floats = [key for key, value in self._live.items() if value.is_floating_point()]
        self._pairs = [self.state[key] for key in floats], [self._live[key] for key in floats]
        self._others = [key for key in self._live if key not in set(floats)]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the live weights; `step` counts from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._pairs[0], self._pairs[1], 1 - decay)
        for key in self._others:
            self.state[key].copy_(self._live[key])

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a saved average."""
        for key, value in state.items():
            self.state[key].copy_(value)
