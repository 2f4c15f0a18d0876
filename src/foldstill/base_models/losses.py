"""Losses as callables: logits (B, C), target distributions (B, C) and row weights (B,) to one float32 number."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from foldstill.base_models.recipes import AnyLoss, CrossEntropyKL

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def row_kl(logits_BC: Tensor, target_BC: Tensor) -> Tensor:
    """KL(target || softmax(logits)) of each row in nats, float32 (B,)."""
    log_proba = F.log_softmax(logits_BC.float(), dim=1)
    return (torch.xlogy(target_BC, target_BC) - target_BC * log_proba).sum(dim=1)


def loss_for(settings: AnyLoss) -> Loss:
    """The loss of these settings: the weighted sum over rows divided by the number of rows.

    Weights have mean 1 over the training rows, so a batch of heavy rows counts more than one of light rows.
    """
    if isinstance(settings, CrossEntropyKL):
        return _ce_kl(settings.kl_weight)
    return _tempered_kl(settings.temperature)


def _tempered_kl(temperature: float) -> Loss:
    def loss(logits_BC: Tensor, target_BC: Tensor, weight_B: Tensor) -> Tensor:
        if temperature == 1:
            return (weight_B * row_kl(logits_BC, target_BC)).mean()
        soft = target_BC.pow(1 / temperature)
        soft = soft / soft.sum(dim=1, keepdim=True)
        # T^2 keeps the gradient's size about the same at every temperature.
        return temperature**2 * (weight_B * row_kl(logits_BC.float() / temperature, soft)).mean()

    return loss


def _ce_kl(kl_weight: float) -> Loss:
    def loss(logits_BC: Tensor, target_BC: Tensor, weight_B: Tensor) -> Tensor:
        hard = F.cross_entropy(logits_BC.float(), target_BC.argmax(dim=1), reduction="none")
        return (weight_B * (hard + kl_weight * row_kl(logits_BC, target_BC))).mean()

    return loss
