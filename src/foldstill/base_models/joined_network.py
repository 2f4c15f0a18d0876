"""Trained networks of several views side by side: their average, and one head on the features of all that corrects it.

B batch, F features, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foldstill.base_models.heads import Head
from foldstill.base_models.inputs import AnyInputs
from foldstill.base_models.networks import Network
from foldstill.base_models.nodes import Exchange, SoftmaxPool
from foldstill.base_models.specs import JoinedMember, Shape, Trainable, channels_and_size


class JoinedNetwork(nn.Module):
    """`body(input(raws))`: raw values of each view in, logits (B, C) out; what the engine asks of a `Network`, for several views.

    Its logits are the mean of its parts' log-probabilities and what the head makes of their features, which begins at 0: it
    starts as the geometric average of its parts, and training moves it only to where that pays.
    """

    def __init__(
        self, spec: JoinedMember, parts: Sequence[Network], nodes: Sequence[tuple[int, int]], n_classes: int
    ) -> None:
        """`nodes` says of each part how many nodes of how many features it gives."""
        super().__init__()
        self.parts = nn.ModuleList(parts)
        # Networks differ in the size of their features; without this the loudest would be heard alone.
        self.norms = nn.ModuleList(nn.LayerNorm(features) for _, features in nodes)
        self.between = _Attended(spec, nodes) if spec.blocks else _SideBySide(spec, nodes)
        width = spec.hidden or sum(features for _, features in nodes)
        self.head = Head(width, n_classes, spec.temperature, spec.drop_rate)
        nn.init.zeros_(self.head.linear.weight)
        nn.init.zeros_(self.head.linear.bias)
        self._by_node = spec.blocks > 0
        self._backbone_rate = spec.backbone_rate
        self._frozen = False
        self.freeze(False)

    def adopt(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Take over the trained weights of each part, its input scaling included."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)

    def fit_scaling(self, inputs: AnyInputs, rows: NDArray[np.intp]) -> None:
        """Nothing: each part scales its view as it did when it was trained."""

    def freeze(self, frozen: bool) -> None:
        """Train the head alone; or, where there is a backbone rate, train all."""
        self._frozen = frozen or self._backbone_rate == 0
        self.parts.requires_grad_(not self._frozen)

    def rates(self) -> list[tuple[float, Iterable[nn.Parameter]]]:
        """What is trained at which share of the learning rate."""
        head = [*self.norms.parameters(), *self.between.parameters(), *self.head.parameters()]
        return [(1.0, head), (self._backbone_rate, self.parts.parameters())]

    def train(self, mode: bool = True) -> JoinedNetwork:
        super().train(mode)
        if self._frozen:
            self.parts.eval()
        return self

    def input(self, raws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Each view scaled and resized."""
        return tuple(part.input(raw) for part, raw in zip(self._networks, raws, strict=True))

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


class _SideBySide(nn.Module):
    """One feature vector a network, beside each other, through one layer: each (B, 1, F) to (B, hidden)."""

    def __init__(self, spec: JoinedMember, nodes: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        width = sum(features for _, features in nodes)
        layers = [nn.Dropout(spec.drop_rate), nn.Linear(width, spec.hidden), nn.ReLU()] if spec.hidden else []
        self.layers = nn.Sequential(*layers)

    def forward(self, nodes: Sequence[Tensor]) -> Tensor:
        hidden: Tensor = self.layers(torch.cat(list(nodes), dim=2).flatten(1))
        return hidden


class _Attended(nn.Module):
    """The nodes of all networks, brought to one width, look at each other and are pooled: each (B, n, F) to (B, hidden)."""

    def __init__(self, spec: JoinedMember, nodes: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.widths = nn.ModuleList(nn.Linear(features, spec.hidden) for _, features in nodes)
        self.exchange = Exchange(sum(n for n, _ in nodes), spec.hidden, spec.blocks, spec.heads, spec.drop_rate)
        self.pool = SoftmaxPool(spec.hidden)

    def forward(self, nodes: Sequence[Tensor]) -> Tensor:
        alike = [widen(nodes_BnF) for widen, nodes_BnF in zip(self.widths, nodes, strict=True)]
        pooled: Tensor = self.pool(self.exchange(torch.cat(alike, dim=1)))
        return pooled


AnyNetwork = Network | JoinedNetwork
"""What the engine can train."""


def joined_network(
    spec: JoinedMember, members: Sequence[Trainable], shapes: Sequence[Shape], n_classes: int
) -> JoinedNetwork:
    """A fresh network of these members for views of these shapes, initialised from torch's global generator."""
    parts, nodes = [], []
    for member, shape in zip(members, shapes, strict=True):
        # Their weights come from the fold they were trained in, so nothing is downloaded.
        network = member.without_download().build([shape], n_classes)
        assert isinstance(network, Network), "a part reads one view"
        parts.append(network)
        nodes.append(_nodes(network, shape, by_node=spec.blocks > 0))
    return JoinedNetwork(spec, parts, nodes, n_classes)


def _nodes_and_logits(network: Network, view: Tensor, *, by_node: bool) -> tuple[Tensor, Tensor]:
    """Nodes (B, n, F), or what the classifier reads as the only one, and logits (B, C)."""
    if by_node:
        return network.nodes_and_logits(view)
    features_BF, logits_BC = network.features_and_logits(view)
    return features_BF[:, None], logits_BC


@torch.no_grad()
def _nodes(network: Network, shape: Shape, *, by_node: bool) -> tuple[int, int]:
    """How many nodes of how many features a network gives: asked, because networks name that number differently."""
    channels, size = channels_and_size(shape)
    scaled = network.eval().input(torch.zeros(1, channels, *size))
    nodes_BnF, _ = _nodes_and_logits(network, scaled, by_node=by_node)
    network.train()
    return nodes_BnF.shape[1], nodes_BnF.shape[2]
