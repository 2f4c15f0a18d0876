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
from foldstill.base_models.specs import JoinedMember, Shape, Trainable, channels_and_size


class JoinedNetwork(nn.Module):
    """`body(input(raws))`: raw values of each view in, logits (B, C) out; what the engine asks of a `Network`, for several views.

    Its logits are the mean of its parts' log-probabilities and what the head makes of their features, which begins at 0: it
    starts as the geometric average of its parts, and training moves it only to where that pays.
    """

    def __init__(self, spec: JoinedMember, parts: Sequence[Network], features: Sequence[int], n_classes: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        # Networks differ in the size of their features; without this the loudest would be heard alone.
        self.norms = nn.ModuleList(nn.LayerNorm(n) for n in features)
        between = [nn.Dropout(spec.drop_rate), nn.Linear(sum(features), spec.hidden), nn.ReLU()] if spec.hidden else []
        self.between = nn.Sequential(*between)
        self.head = Head(spec.hidden or sum(features), n_classes, spec.temperature, spec.drop_rate)
        nn.init.zeros_(self.head.linear.weight)
        nn.init.zeros_(self.head.linear.bias)
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
        features, log_proba = [], []
        for part, norm, view in zip(self._networks, self.norms, views, strict=True):
            features_BF, logits_BC = part.features_and_logits(view)
            features.append(norm(features_BF))
            log_proba.append(logits_BC.log_softmax(dim=1))
        average_BC = torch.stack(log_proba).mean(dim=0)
        logits: Tensor = self.head(self.between(torch.cat(features, dim=1)), average_BC)
        return logits

    def forward(self, raws: Sequence[Tensor]) -> Tensor:
        return self.body(self.input(raws))

    @property
    def _networks(self) -> list[Network]:
        return list(self.parts)  # type: ignore[arg-type]


AnyNetwork = Network | JoinedNetwork
"""What the engine can train."""


def joined_network(
    spec: JoinedMember, members: Sequence[Trainable], shapes: Sequence[Shape], n_classes: int
) -> JoinedNetwork:
    """A fresh network of these members for views of these shapes, initialised from torch's global generator."""
    parts, features = [], []
    for member, shape in zip(members, shapes, strict=True):
        # Their weights come from the fold they were trained in, so nothing is downloaded.
        network = member.without_download().build([shape], n_classes)
        assert isinstance(network, Network), "a part reads one view"
        parts.append(network)
        features.append(_features(network, shape))
    return JoinedNetwork(spec, parts, features, n_classes)


@torch.no_grad()
def _features(network: Network, shape: Shape) -> int:
    """How many features a network's classifier reads: asked, because networks name that number differently."""
    channels, size = channels_and_size(shape)
    features_BF, _ = network.eval().features_and_logits(network.input(torch.zeros(1, channels, *size)))
    network.train()
    return features_BF.shape[1]
