"""A compact network for signals: one small encoder reads each channel by itself, then the channels look at each other.

B batch, E channels (nodes), T samples, D features of a node.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from foldstill.base_models.heads import Head
from foldstill.base_models.networks import Network
from foldstill.base_models.specs import EegMember
from foldstill.errors import MemberError


class Residual(nn.Module):
    """Two convolutions beside a shortcut; the length is halved."""

    def __init__(self, width_in: int, width: int, kernel: int, drop_rate: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(width_in, width, kernel, stride=2, padding=kernel // 2, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(inplace=True),
            nn.Dropout(drop_rate),
            nn.Conv1d(width, width, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm1d(width),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool1d(2, ceil_mode=True), nn.Conv1d(width_in, width, 1, bias=False), nn.BatchNorm1d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class SoftmaxPool(nn.Module):
    """The mean over the second axis, weighted by a softmax of learnt scores: (B, n, D) to (B, D)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.score = nn.Linear(features, 1)

    def forward(self, x_BnD: Tensor) -> Tensor:
        weight: Tensor = self.score(x_BnD).softmax(dim=1)
        return (x_BnD * weight).sum(dim=1)


class NodeEncoder(nn.Module):
    """Each channel to one vector, by itself and all with the same weights: (B, E, T) to (B, E, D)."""

    def __init__(self, widths: Sequence[int], kernel: int, features: int, drop_rate: float) -> None:
        super().__init__()
        pairs = zip((1, *widths), widths, strict=False)
        self.convolutions = nn.Sequential(*(Residual(a, b, kernel, drop_rate) for a, b in pairs))
        # Both directions: what is judged lies in the middle of the signal, not at its end.
        self.recurrent = nn.GRU(widths[-1], features // 2, batch_first=True, bidirectional=True)
        self.pool = SoftmaxPool(features)

    def forward(self, x_BET: Tensor) -> Tensor:
        b, e, t = x_BET.shape
        x = self.convolutions(x_BET.reshape(b * e, 1, t)).transpose(1, 2)
        pooled: Tensor = self.pool(self.recurrent(x)[0])
        return pooled.view(b, e, -1)


class EegBody(nn.Module):
    """Scaled signals (B, E, T) to logits (B, C)."""

    def __init__(self, spec: EegMember, in_channels: int, n_classes: int) -> None:
        from timm.models.vision_transformer import Block

        super().__init__()
        apart = sorted(set(spec.separate))
        self.shared = [e for e in range(in_channels) if e not in apart]
        self.apart = apart
        self.encoder = NodeEncoder(spec.widths, spec.kernel, spec.features, spec.drop_rate)
        self.encoder_apart = NodeEncoder(spec.widths, spec.kernel, spec.features, spec.drop_rate) if apart else None
        self.position = nn.Parameter(torch.randn(in_channels, spec.features) * 0.02)
        self.blocks = nn.Sequential(
            *(
                Block(spec.features, spec.heads, qkv_bias=True, proj_drop=spec.drop_rate, attn_drop=spec.drop_rate)
                for _ in range(spec.blocks)
            )
        )
        self.norm = nn.LayerNorm(spec.features)
        self.pool = SoftmaxPool(spec.features)
        self.head: nn.Module = Head(spec.features, n_classes, spec.temperature, spec.drop_rate)

    def get_classifier(self) -> nn.Module:
        """The last layer, under the name it has in timm's networks."""
        return self.head

    def reset_classifier(self, n_classes: int) -> None:
        """With 0 classes leave the pooled features as what it gives, as in timm's networks."""
        assert n_classes == 0, "an EEG network's head is made with it"
        self.head = nn.Identity()

    def forward(self, x_BET: Tensor) -> Tensor:
        nodes_BED = self.encoder(_channels(x_BET, self.shared))
        if self.encoder_apart is not None:
            # These come last; positions are learnt, so the order of nodes means nothing.
            nodes_BED = torch.cat([nodes_BED, self.encoder_apart(_channels(x_BET, self.apart))], dim=1)
        logits: Tensor = self.head(self.pool(self.norm(self.blocks(nodes_BED + self.position))))
        return logits


def _channels(x_BET: Tensor, channels: Sequence[int]) -> Tensor:
    # Stacked, not indexed by a list: that would be copied to a GPU, which waits for it.
    return x_BET if len(channels) == x_BET.shape[1] else torch.stack([x_BET[:, e] for e in channels], dim=1)


def eeg_network(spec: EegMember, in_channels: int, n_classes: int, size: Sequence[int] | None = None) -> Network:
    """A fresh network for signals of `size` (T,), initialised from torch's global generator.

    Raises MemberError for images, for signals that the encoder would halve to nothing, and for channels that are not there.
    """
    if size is not None and len(size) != 1:
        raise MemberError(
            f"member {spec.name!r} reads signals (N, channels, T), the view {spec.view!r} has images of "
            f"{' x '.join(map(str, size))}: give it a view such as raw_eeg"
        )
    if size is not None and size[0] < 2 ** len(spec.widths):
        raise MemberError(
            f"member {spec.name!r} halves its input {len(spec.widths)} times, the view {spec.view!r} has {size[0]} samples: "
            "give it fewer widths"
        )
    outside = [e for e in spec.separate if not 0 <= e < in_channels]
    if outside or len(set(spec.separate)) == in_channels:
        raise MemberError(
            f"member {spec.name!r}: separate names {list(spec.separate)}, the view {spec.view!r} has {in_channels} channels "
            "from 0: name some of them, not all"
        )
    return Network(EegBody(spec, in_channels, n_classes), in_channels)
