"""Trained networks of several views, joined: their average, and one head on all their features that corrects it.

B batch, F features, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foldstill.base_models.architecture import InputShape, channels_and_size
from foldstill.base_models.heads import Head
from foldstill.base_models.inputs import AnyInputs
from foldstill.base_models.networks import Network
from foldstill.base_models.nodes import Exchange, SoftmaxPool
from foldstill.data.feature_form import FeatureForm


class JoinedNetwork(nn.Module):
    """`body(input(raws))`: raw values of each view in, logits (B, C) out. It offers the engine what a `Network` does.

    Its logits are the mean of its parts' log-probabilities plus the output of the head, which starts at 0: it starts as
    the geometric average of its parts, and training leaves the average only where that pays.
    """

    def __init__(
        self,
        parts: Sequence[Network],
        widths: Sequence[int],
        between: SideBySide | Attended,
        head: Head,
        backbone_rate: float,
    ) -> None:
        """`widths` are the numbers of features of the parts' nodes."""
        super().__init__()
        self.parts = nn.ModuleList(parts)
        # Networks differ in the size of their features; without norms the one with the largest values would dominate.
        self.norms = nn.ModuleList(nn.LayerNorm(features) for features in widths)
        self.between = between
        self.head = head
        nn.init.zeros_(self.head.linear.weight)
        nn.init.zeros_(self.head.linear.bias)
        self._by_node = isinstance(between, Attended)
        self._backbone_rate = backbone_rate
        self._frozen = False
        self.freeze(False)

    def adopt(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Load the trained weights of each part, including its input scaling."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)

    def fit_scaling(self, inputs: AnyInputs, rows: NDArray[np.intp]) -> None:
        """Does nothing: each part scales its view as it did when it was trained."""

    def freeze(self, frozen: bool) -> None:
        """Train the head alone; or train everything, if there is a backbone rate."""
        self._frozen = frozen or self._backbone_rate == 0
        self.parts.requires_grad_(not self._frozen)

    def rates(self) -> list[tuple[float, Iterable[nn.Parameter]]]:
        """Groups of parameters, each with its share of the learning rate."""
        head = [*self.norms.parameters(), *self.between.parameters(), *self.head.parameters()]
        return [(1.0, head), (self._backbone_rate, self.parts.parameters())]

    def train(self, mode: bool = True) -> JoinedNetwork:
        super().train(mode)
        if self._frozen:
            self.parts.eval()
        return self

    def input(self, raws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Scale and resize each view."""
        return tuple(part.input(raw) for part, raw in zip(self._networks, raws, strict=True))

    def unscale(self, views: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Scaled views in raw units again."""
        return tuple(part.unscale(view) for part, view in zip(self._networks, views, strict=True))

    def body(self, views: Sequence[Tensor]) -> Tensor:
        """Logits of scaled views."""
        nodes, log_proba = [], []
        for part, norm, view in zip(self._networks, self.norms, views, strict=True):
            nodes_BnF, logits_BC = _nodes_and_logits(part, view, by_node=self._by_node)
            nodes.append(norm(nodes_BnF))
            log_proba.append(logits_BC.log_softmax(dim=1))
        average_BC = torch.stack(log_proba).mean(dim=0)
        logits: Tensor = self.head(self.between(nodes), average_BC)
        return logits

    def forward(self, raws: Sequence[Tensor]) -> Tensor:
        return self.body(self.input(raws))

    @property
    def _networks(self) -> list[Network]:
        return list(self.parts)  # type: ignore[arg-type]


class SideBySide(nn.Module):
    """One feature vector per network, concatenated and passed through one layer: each (B, 1, F) to (B, hidden)."""

    def __init__(self, width: int, hidden: int, drop_rate: float) -> None:
        """`width` is the sum of all F; with `hidden` 0 there is no layer."""
        super().__init__()
        layers = [nn.Dropout(drop_rate), nn.Linear(width, hidden), nn.ReLU()] if hidden else []
        self.layers = nn.Sequential(*layers)

    def forward(self, nodes: Sequence[Tensor]) -> Tensor:
        hidden: Tensor = self.layers(torch.cat(list(nodes), dim=2).flatten(1))
        return hidden


class Attended(nn.Module):
    """Nodes of all networks, brought to one width, attend to each other and are pooled: each (B, n, F) to (B,
    hidden)."""

    def __init__(
        self, nodes: Sequence[tuple[int, int]], hidden: int, blocks: int, heads: int, drop_rate: float
    ) -> None:
        """`nodes` are, per network, the number of nodes and of their features."""
        super().__init__()
        self.widths = nn.ModuleList(nn.Linear(features, hidden) for _, features in nodes)
        self.exchange = Exchange(sum(n for n, _ in nodes), hidden, blocks, heads, drop_rate)
        self.pool = SoftmaxPool(hidden)

    def forward(self, nodes: Sequence[Tensor]) -> Tensor:
        alike = [widen(nodes_BnF) for widen, nodes_BnF in zip(self.widths, nodes, strict=True)]
        pooled: Tensor = self.pool(self.exchange(torch.cat(alike, dim=1)))
        return pooled


AnyNetwork = Network | JoinedNetwork
"""The networks that the engine can train."""


def _nodes_and_logits(network: Network, view: Tensor, *, by_node: bool) -> tuple[Tensor, Tensor]:
    """Nodes (B, n, F), or the features of the classifier as the only node, and logits (B, C)."""
    if by_node:
        return network.nodes_and_logits(view)
    features_BF, logits_BC = network.features_and_logits(view)
    return features_BF[:, None], logits_BC


@torch.no_grad()
def count_nodes(network: Network, shape: InputShape, *, by_node: bool) -> tuple[int, int]:
    """Number of nodes and of their features, found by a forward pass because networks name that number differently."""
    if isinstance(shape, FeatureForm):
        row = shape.shape
    else:
        channels, size = channels_and_size(shape)
        row = (channels, *size)
    scaled = network.eval().input(torch.zeros(1, *row))
    nodes_BnF, _ = _nodes_and_logits(network, scaled, by_node=by_node)
    network.train()
    return nodes_BnF.shape[1], nodes_BnF.shape[2]
