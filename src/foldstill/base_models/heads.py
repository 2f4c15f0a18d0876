"""The last layer: features to logits, optionally divided by a temperature that the network predicts. F features."""

from __future__ import annotations

import math

import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from foldstill.base_models.architecture import Temperature

_MIN_TEMPERATURE = 0.05
"""A temperature near 0 would make any logit infinite."""


class Head(nn.Module):
    """Dropout and a linear layer, (B, F) to logits (B, C); with `temperature` "row" or "class" divided by
    softplus(linear).

    Where the network is uncertain, it can flatten its prediction without changing which class it prefers. Temperatures
    start at 1.
    """

    def __init__(
        self, features: int, n_classes: int, temperature: Temperature = "none", drop_rate: float = 0.0
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(drop_rate)
        self.linear = nn.Linear(features, n_classes)
        self.temperature: nn.Linear | None = None
        if temperature != "none":
            self.temperature = nn.Linear(features, n_classes if temperature == "class" else 1)
            nn.init.zeros_(self.temperature.weight)
            # The inverse of softplus.
            nn.init.constant_(self.temperature.bias, math.log(math.expm1(1 - _MIN_TEMPERATURE)))

    def forward(self, x_BF: Tensor, start_BC: Tensor | float = 0.0) -> Tensor:
        """Logits of these features, added to `start_BC` before the temperature divides them."""
        x_BF = self.dropout(x_BF)
        logits: Tensor = self.linear(x_BF) + start_BC
        return logits if self.temperature is None else logits / (F.softplus(self.temperature(x_BF)) + _MIN_TEMPERATURE)
