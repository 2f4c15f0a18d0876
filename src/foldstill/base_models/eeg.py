"""A compact network of channels: one small encoder reads each channel by itself, then the channels look at each other.

A channel is a signal, or a spectrogram of a chain or panel. B batch, E channels (nodes), T samples, D features of a node.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from foldstill.base_models.heads import Head
from foldstill.base_models.networks import Network
from foldstill.base_models.nodes import Exchange, SoftmaxPool
from foldstill.base_models.specs import EegMember
from foldstill.errors import MemberError


class Residual(nn.Module):
    """Two convolutions beside a shortcut; the length of signals, or height and width of images, is halved."""

    def __init__(self, width_in: int, width: int, kernel: int, drop_rate: float, *, images: bool) -> None:
        super().__init__()
        convolution = nn.Conv2d if images else nn.Conv1d
        norm = nn.BatchNorm2d if images else nn.BatchNorm1d
        mean = nn.AvgPool2d if images else nn.AvgPool1d
        self.body = nn.Sequential(
            convolution(width_in, width, kernel, stride=2, padding=kernel // 2, bias=False),
            norm(width),
            nn.ReLU(inplace=True),
            nn.Dropout(drop_rate),
            convolution(width, width, kernel, padding=kernel // 2, bias=False),
            norm(width),
        )
        self.shortcut = nn.Sequential(mean(2, ceil_mode=True), convolution(width_in, width, 1, bias=False), norm(width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class NodeEncoder(nn.Module):
    """Each channel to one vector, by itself and all with the same weights: (B, E, T) or (B, E, H, W) to (B, E, D)."""

    def __init__(self, spec: EegMember, *, images: bool) -> None:
        super().__init__()
        pairs = zip((1, *spec.widths), spec.widths, strict=False)
        self.convolutions = nn.Sequential(
            *(Residual(a, b, spec.kernel, spec.drop_rate, images=images) for a, b in pairs)
        )
        width = spec.widths[-1]
        # Signals in both directions: what is judged lies in their middle, not at their end. Images have no one direction.
        self.sequence: nn.Module = (
            nn.Linear(width, spec.features)
            if images
            else nn.GRU(width, spec.features // 2, batch_first=True, bidirectional=True)
        )
        self.pool = SoftmaxPool(spec.features)

    def forward(self, x: Tensor) -> Tensor:
        b, e = x.shape[:2]
        seen = self.convolutions(x.reshape(b * e, 1, *x.shape[2:])).flatten(2).transpose(1, 2)
        said = self.sequence(seen)
        pooled: Tensor = self.pool(said if isinstance(said, Tensor) else said[0])
        return pooled.view(b, e, -1)


class EegBody(nn.Module):
    """Scaled signals (B, E, T), or images (B, E, H, W), to logits (B, C)."""

    def __init__(self, spec: EegMember, in_channels: int, n_classes: int, *, images: bool) -> None:
        super().__init__()
        apart = sorted(set(spec.separate))
        self.shared = [e for e in range(in_channels) if e not in apart]
        self.apart = apart
        self.encoder = NodeEncoder(spec, images=images)
        self.encoder_apart = NodeEncoder(spec, images=images) if apart else None
        self.exchange = Exchange(in_channels, spec.features, spec.blocks, spec.heads, spec.drop_rate, spec.between)
        self.pool = SoftmaxPool(spec.features)
        self.head: nn.Module = Head(spec.features, n_classes, spec.temperature, spec.drop_rate)

    def get_classifier(self) -> nn.Module:
        """The last layer, under the name it has in timm's networks."""
        return self.head

    def reset_classifier(self, n_classes: int) -> None:
        """With 0 classes leave the pooled features as what it gives, as in timm's networks."""
        assert n_classes == 0, "an EEG network's head is made with it"
        self.head = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        nodes_BED = self.encoder(_channels(x, self.shared))
        if self.encoder_apart is not None:
            # These come last; positions are learnt, so the order means nothing to attention.
            nodes_BED = torch.cat([nodes_BED, self.encoder_apart(_channels(x, self.apart))], dim=1)
        logits: Tensor = self.head(self.pool(self.exchange(nodes_BED)))
        return logits


def _channels(x: Tensor, channels: Sequence[int]) -> Tensor:
    # Stacked, not indexed by a list: that would be copied to a GPU, which waits for it.
    return x if len(channels) == x.shape[1] else torch.stack([x[:, e] for e in channels], dim=1)


def eeg_network(spec: EegMember, in_channels: int, n_classes: int, size: Sequence[int] | None = None) -> Network:
    """A fresh network for signals (T,) or images (H, W) of this size, initialised from torch's global generator.

    Without a size it reads signals. Raises MemberError for what the encoder would halve to nothing, and for channels that
    are not there.
    """
    if size is not None and min(size) < 2 ** len(spec.widths):
        lengths = f"{size[0]} samples" if len(size) == 1 else f"images of {' x '.join(map(str, size))}"
        raise MemberError(
            f"member {spec.name!r} halves its input {len(spec.widths)} times, the view {spec.view!r} has {lengths}: "
            "give it fewer widths"
        )
    outside = [e for e in spec.separate if not 0 <= e < in_channels]
    if outside or len(set(spec.separate)) == in_channels:
        raise MemberError(
            f"member {spec.name!r}: separate names {list(spec.separate)}, the view {spec.view!r} has {in_channels} channels "
            "from 0: name some of them, not all"
        )
    images = size is not None and len(size) == 2
    return Network(EegBody(spec, in_channels, n_classes, images=images), in_channels)
