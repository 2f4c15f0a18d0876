"""Modules of the user's own that experiments in this folder name. foldstill keeps a copy with every model."""

from torch import nn


def mlp(shape: tuple[int, ...], n_classes: int, width: int = 256, depth: int = 3, dropout: float = 0.0) -> nn.Module:
    """A multilayer perceptron on the encoded columns of a feature table."""
    layers: list[nn.Module] = []
    (before,) = shape
    for _ in range(depth):
        layers += [nn.Linear(before, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout)]
        before = width
    return nn.Sequential(*layers, nn.Linear(before, n_classes))
