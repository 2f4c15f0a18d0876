"""Modules of the user's own that experiments in this folder name. foldstill keeps a copy with every model."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def mlp(shape: tuple[int, ...], n_classes: int, width: int = 256, depth: int = 3, dropout: float = 0.0) -> nn.Module:
    """A multilayer perceptron on the encoded columns of a feature table."""
    layers: list[nn.Module] = []
    (before,) = shape
    for _ in range(depth):
        layers += [nn.Linear(before, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout)]
        before = width
    return nn.Sequential(*layers, nn.Linear(before, n_classes))


def residual(shape: tuple[int, ...], n_classes: int, widths: Sequence[int], stem: int) -> nn.Module:
    """A small ResNet for small images: its first convolution keeps the resolution, and each block halves it."""
    layers, before = [_convolution(shape[-1], stem, 3)], stem
    for width in widths:
        layers.append(_Residual(before, width))
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, n_classes))


def inverted(shape: tuple[int, ...], n_classes: int, widths: Sequence[int], stem: int, head: int) -> nn.Module:
    """A small MobileNetV2 (Sandler et al., 2018): two blocks per width, of which the first halves the resolution."""
    layers, before = [_convolution(shape[-1], stem, 3, stride=2)], stem
    for width in widths:
        layers += [_Inverted(before, width, stride=2), _Inverted(width, width, stride=1)]
        before = width
    layers.append(_convolution(before, head, 1))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(head, n_classes))


def _convolution(
    n_in: int, n_out: int, kernel: int, stride: int = 1, groups: int = 1, activation: bool = True
) -> nn.Sequential:
    layers = [nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(n_out)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if activation else []))


class _Residual(nn.Module):
    """Two convolutions at half the resolution, added to the averaged input."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(n_in, n_out, 3, stride=2), _convolution(n_out, n_out, 3, activation=False)
        )
        self.skip = nn.Sequential(nn.AvgPool2d(2), _convolution(n_in, n_out, 1, activation=False))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.skip(x) + self.body(x))


class _Inverted(nn.Module):
    """Widens the channels, filters each, and narrows them; its input is added where the shape stays."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        wide = 4 * n_in
        self.body = nn.Sequential(
            _convolution(n_in, wide, 1),
            _convolution(wide, wide, 3, stride, groups=wide),
            _convolution(wide, n_out, 1, activation=False),
        )
        self.adds = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.adds else self.body(x)
