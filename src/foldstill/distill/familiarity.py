"""How familiar rows are to a student: Mahalanobis distances from the rows that it was trained on, in a few of its
layers.

The features before the classifier were made to tell classes apart, and foreign rows can look like a class there. They
differ in the statistics of earlier layers. After *A Simple Unified Framework for Detecting Out-of-Distribution Samples
and Adversarial Attacks* (Lee et al., 2018), with one Gaussian for all classes. N rows, F features.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import Float

if TYPE_CHECKING:
    from torch import Tensor

    from foldstill.distill.student import Student

SHRINKAGE = 0.1
"""Share of the identity mixed into the correlations, so that few rows can estimate those of many features."""
SMALLEST = 1e-3
"""Added to mean squared distances before their logarithm: a training row may lie at the centre."""


@dataclass(frozen=True)
class Gaussian:
    """Features of training rows: their means, their standard deviations, and the inverse of their correlations."""

    centre_F: NDArray[np.float32]
    scale_F: NDArray[np.float32]
    inverse_FF: NDArray[np.float32]

    @classmethod
    def fit(cls, features_NF: Float) -> "Gaussian":
        """Estimate it from these rows, with shrinkage towards features that do not correlate."""
        centre, scale = features_NF.mean(axis=0, dtype=np.float64), features_NF.std(axis=0, dtype=np.float64)
        scale = np.where(scale > 0, scale, 1.0)
        standard = (features_NF - centre) / scale
        correlation = standard.T @ standard / len(standard)
        inverse = np.linalg.inv((1 - SHRINKAGE) * correlation + SHRINKAGE * np.eye(len(centre)))
        return cls(centre.astype(np.float32), scale.astype(np.float32), inverse.astype(np.float32))

    def log_distance(self, features_NF: Float) -> NDArray[np.float64]:
        """Logarithm of the squared distance from the centre per feature, (N,); about 0 for rows like those of
        training."""
        standard = (features_NF - self.centre_F) / self.scale_F
        squared = np.einsum("nf,nf->n", standard @ self.inverse_FF, standard, dtype=np.float64)
        log_distance: NDArray[np.float64] = np.log(np.maximum(squared, 0.0) / standard.shape[1] + SMALLEST)
        return log_distance


def early_layers(student: "Student", rows_N: NDArray[Any]) -> tuple[str, ...]:
    """Names of the first and the middle convolution of the student's network, in the order in which they are used.

    Empty for a network without convolutions.
    """
    import torch

    network = student.network.cpu().eval()
    used: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: used.append(name))
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Conv1d | torch.nn.Conv2d)
    ]
    try:
        with torch.inference_mode():
            network(_as_input(rows_N[:2]))
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(dict.fromkeys([used[0], used[len(used) // 2]])) if used else ()


def student_features(
    student: "Student", rows_N: NDArray[Any], layers: tuple[str, ...] = (), *, batch: int = 256
) -> tuple[NDArray[np.float32], ...]:
    """The input of the student's classifier, (N, F), then the pooled output of each layer, (N, twice its channels).

    Raises MemberError for a network without a single classifier.
    """
    import torch

    network = student.network.cpu().eval()
    parts: list[list[NDArray[np.float32]]] = [[] for _ in range(1 + len(layers))]
    size = 0

    def keep_input(_: Any, inputs: tuple["Tensor", ...]) -> None:
        parts[0].append(inputs[0].numpy())

    hooks = [network.classifier.register_forward_pre_hook(keep_input)]
    for name, part in zip(layers, parts[1:], strict=True):
        layer = network.get_submodule(name)
        hooks.append(layer.register_forward_hook(lambda _, __, output, part=part: part.append(_pooled(output, size))))
    try:
        with torch.inference_mode():
            for start in range(0, len(rows_N), batch):
                inputs = _as_input(rows_N[start : start + batch])
                size = len(inputs)
                network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(np.concatenate(part) for part in parts)


def _as_input(rows_N: NDArray[Any]) -> "Tensor":
    """Rows as the network takes them: images with their channels first."""
    import torch

    rows = torch.from_numpy(np.array(rows_N))
    return rows.permute(0, 3, 1, 2) if rows.ndim == 4 else rows


def _pooled(output: "Tensor", n: int) -> NDArray[np.float32]:
    """Mean and standard deviation per channel of a layer's output for n rows.

    A network that reads the channels of its input one by one gives n times as many outputs, those of a row together.
    """
    import torch

    channels = output.reshape(n, -1, *output.shape[1:]).transpose(1, 2).flatten(2)
    pooled: NDArray[np.float32] = torch.cat([channels.mean(2), channels.std(2, correction=0)], 1).numpy()
    return pooled
