"""A network that scales and resizes its own input, so that its weights are all it needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from numpy.typing import NDArray
from torch import Tensor, nn

from foldstill.base_models.feature_input import FeatureInput
from foldstill.base_models.inputs import AnyInputs, DeviceInputs
from foldstill.base_models.nodes import SoftmaxPool
from foldstill.data.feature_form import FeatureForm
from foldstill.errors import MemberError


class InputLayer(nn.Module):
    """Scales raw values to zero mean and unit variance per channel, then resizes them to what the network needs.

    The constants are buffers, filled from the training rows and saved with the weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, in_channels: int, resize: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.resize = resize
        self.register_buffer("mean", torch.zeros(in_channels))
        self.register_buffer("std", torch.ones(in_channels))

    def forward(self, raw: Tensor) -> Tensor:
        """(B, C, H, W) or (B, C, T) of any dtype to float32."""
        shape = (-1,) + (1,) * (raw.ndim - 2)
        return self._resized((raw.float() - self.mean.view(shape)).div_(self.std.view(shape)))

    def of_rows(self, rows: Tensor) -> Tensor:
        """The same of images with their channels last, (B, H, W, C), which it scales before it moves their channels.

        Constants are as long as a line of pixels: ONNX Runtime is slow where it repeats a few of them at every pixel.
        """
        width = rows.shape[2]
        scaled = (rows.flatten(2).float() - self.mean.repeat(width)) / self.std.repeat(width)
        return self._resized(scaled.view(rows.shape).permute(0, 3, 1, 2))

    def _resized(self, x: Tensor) -> Tensor:
        if self.resize is None or x.ndim != 4 or tuple(x.shape[2:]) == self.resize:
            return x
        smaller = self.resize[0] < x.shape[2] or self.resize[1] < x.shape[3]
        return F.interpolate(x, self.resize, mode="bilinear", align_corners=False, antialias=smaller)

    def unscale(self, x: Tensor) -> Tensor:
        """Scaled inputs as raw values again, at the size they were resized to: what another network can read."""
        shape = (-1,) + (1,) * (x.ndim - 2)
        return x * self.std.view(shape) + self.mean.view(shape)

    def fit(self, inputs: DeviceInputs, rows: NDArray[np.intp]) -> None:
        """Fit mean and standard deviation to these rows."""
        self.mean[:], self.std[:] = inputs.scaling(rows)

    def constants(self) -> dict[str, Any]:
        """What the layer does to a row, as JSON values."""
        resize = None if self.resize is None else list(self.resize)
        return {"mean": self.mean.tolist(), "std": self.std.tolist(), "resize": resize}


class Network(nn.Module):
    """`body(input(raw))`: raw values of a view in, logits (B, C) out."""

    def __init__(self, body: nn.Module, in_channels: int | FeatureForm, resize: tuple[int, int] | None = None) -> None:
        """`in_channels` are the channels of images or signals, or the columns of a feature table."""
        super().__init__()
        self.input: InputLayer | FeatureInput
        if isinstance(in_channels, FeatureForm):
            self.input = FeatureInput(in_channels)
        else:
            self.input = InputLayer(in_channels, resize)
        self.body = body
        self._frozen = False

    @property
    def classifier(self) -> nn.Module:
        """The last layer, which turns features into logits; raises MemberError for a network without such a layer."""
        body: Any = self.body
        last = body[-1] if isinstance(body, nn.Sequential) else getattr(body, "get_classifier", lambda: None)()
        if not isinstance(last, nn.Module) or not list(last.parameters()):
            raise MemberError(
                f"{type(body).__name__} has no last layer that could be trained alone or whose features could be read: "
                "leave that out, or give a module of your own a get_classifier() that returns its last layer"
            )
        return last

    def drop_classifier(self) -> None:
        """Let `body` give the pooled features (B, F) instead of logits; the weights that stay keep their names."""
        body: Any = self.body
        if isinstance(body, nn.Sequential):
            body[-1] = nn.Identity()
        else:
            body.reset_classifier(0)

    def features_and_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The features (B, F) that the classifier reads from a scaled view, and its logits (B, C)."""
        seen, logits = self._seen_and_logits(self.classifier, x)
        return seen.flatten(1), logits

    def nodes_and_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The nodes of a scaled view, (B, n, F), and logits: an EEG network has one node per channel, any other
        network one."""
        pool = getattr(self.body, "pool", None)
        if isinstance(pool, SoftmaxPool):
            return self._seen_and_logits(pool, x)
        features_BF, logits = self.features_and_logits(x)
        return features_BF[:, None], logits

    def _seen_and_logits(self, layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        """The input of a layer during the forward pass, and the logits."""
        seen: list[Tensor] = []
        hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            logits: Tensor = self.body(x)
        finally:
            hook.remove()
        return seen[0], logits

    def fit_scaling(self, inputs: AnyInputs, rows: NDArray[np.intp]) -> None:
        """Fit the input scaling to these rows."""
        assert isinstance(inputs, DeviceInputs), "one network, one view"
        self.input.fit(inputs, rows)

    def unscale(self, x: Tensor) -> Tensor:
        """Scaled inputs in raw units again."""
        return self.input.unscale(x)

    def rates(self) -> list[tuple[float, Iterable[nn.Parameter]]]:
        """Groups of parameters, each with its share of the learning rate: one group with the full rate."""
        return [(1.0, self.parameters())]

    def freeze(self, frozen: bool) -> None:
        """Train the classifier alone, with dropout and running statistics before it switched off; or train
        everything."""
        if frozen or self._frozen:
            self._frozen = frozen
            self.body.requires_grad_(not frozen)
            self.classifier.requires_grad_(True)

    def train(self, mode: bool = True) -> Network:
        super().train(mode)
        if self._frozen:
            self.body.eval()
            self.classifier.train(mode)
        return self

    def forward(self, raw: Tensor) -> Tensor:
        logits: Tensor = self.body(self.input(raw))
        return logits
