"""A compact network for EEG: a small encoder reads each channel by itself, then the channels exchange information.

A channel is a signal, or the spectrogram of a chain or panel. B batch, E channels (nodes), T samples, D features of a
node.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from foldstill.base_models.heads import Head
from foldstill.base_models.nodes import Exchange, SoftmaxPool


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
    """Encodes each channel by itself, all with the same weights: (B, E, T) or (B, E, H, W) to (B, E, D)."""

    def __init__(self, widths: Sequence[int], kernel: int, features: int, drop_rate: float, *, images: bool) -> None:
        super().__init__()
        pairs = zip((1, *widths), widths, strict=False)
        self.convolutions = nn.Sequential(*(Residual(a, b, kernel, drop_rate, images=images) for a, b in pairs))
        # Signals are read in both directions: what is labelled lies in their middle. Images have no one direction.
        self.sequence: nn.Module = (
            nn.Linear(widths[-1], features)
            if images
            else nn.GRU(widths[-1], features // 2, batch_first=True, bidirectional=True)
        )
        self.pool = SoftmaxPool(features)

    def forward(self, x: Tensor) -> Tensor:
        b, e = x.shape[:2]
        steps = self.convolutions(x.reshape(b * e, 1, *x.shape[2:])).flatten(2).transpose(1, 2)
        encoded = self.sequence(steps)
        pooled: Tensor = self.pool(encoded if isinstance(encoded, Tensor) else encoded[0])
        return pooled.view(b, e, -1)


class EegBody(nn.Module):
    """Scaled signals (B, E, T), or images (B, E, H, W), to logits (B, C)."""

    def __init__(
        self,
        in_channels: int,
        separate: Sequence[int],
        encoders: tuple[NodeEncoder, NodeEncoder | None],
        exchange: Exchange,
        pool: SoftmaxPool,
        head: Head,
    ) -> None:
        """`encoders` are that of most channels and that of the `separate` ones, None where no channel is separate."""
        super().__init__()
        self.apart = sorted(set(separate))
        self.shared = [e for e in range(in_channels) if e not in self.apart]
        self.encoder, self.encoder_apart = encoders
        self.exchange = exchange
        self.pool = pool
        self.head: nn.Module = head

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
            # These come last; positions are learned, so the order does not matter to attention.
            nodes_BED = torch.cat([nodes_BED, self.encoder_apart(_channels(x, self.apart))], dim=1)
        logits: Tensor = self.head(self.pool(self.exchange(nodes_BED)))
        return logits


def _channels(x: Tensor, channels: Sequence[int]) -> Tensor:
    # Stacked, not indexed by a list: that would be copied to a GPU, which waits for it.
    return x if len(channels) == x.shape[1] else torch.stack([x[:, e] for e in channels], dim=1)
