"""Nodes that exchange information: vectors of channels, or of networks, to one vector. B batch, n nodes, D features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foldstill.base_models.architecture import Between


class SoftmaxPool(nn.Module):
    """The mean over the second axis, weighted by a softmax of learned scores: (B, n, D) to (B, D)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.score = nn.Linear(features, 1)

    def forward(self, x_BnD: Tensor) -> Tensor:
        weight: Tensor = self.score(x_BnD).softmax(dim=1)
        return (x_BnD * weight).sum(dim=1)


class Recurrent(nn.Module):
    """Adds the output of a bidirectional recurrent network over the order of the nodes."""

    def __init__(self, features: int, layers: int, drop_rate: float) -> None:
        super().__init__()
        self.recurrent = nn.GRU(
            features,
            features // 2,
            num_layers=layers,
            batch_first=True,
            bidirectional=True,
            dropout=drop_rate if layers > 1 else 0.0,
        )

    def forward(self, x_BnD: Tensor) -> Tensor:
        change: Tensor = self.recurrent(x_BnD)[0]
        return x_BnD + change


class Exchange(nn.Module):
    """Exchange between nodes (B, n, D): a learned position per node, then attention blocks or a recurrent network."""

    def __init__(
        self, nodes: int, features: int, blocks: int, heads: int, drop_rate: float, between: Between = "attention"
    ) -> None:
        from timm.models.vision_transformer import Block

        super().__init__()
        self.position = nn.Parameter(torch.randn(nodes, features) * 0.02)
        layers: list[nn.Module] = []
        if between == "attention":
            layers = [
                Block(features, heads, qkv_bias=True, proj_drop=drop_rate, attn_drop=drop_rate) for _ in range(blocks)
            ]
        elif blocks:
            layers = [Recurrent(features, blocks, drop_rate)]
        self.layers = nn.Sequential(*layers, nn.LayerNorm(features))

    def forward(self, x_BnD: Tensor) -> Tensor:
        nodes: Tensor = self.layers(x_BnD + self.position)
        return nodes
