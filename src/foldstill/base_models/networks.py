"""A network that takes a view as it lies in memory: it scales and resizes its own input, so its weights are all it needs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from numpy.typing import NDArray
from torch import Tensor, nn

from foldstill.base_models.heads import Head
from foldstill.base_models.inputs import AnyInputs, DeviceInputs
from foldstill.base_models.nodes import SoftmaxPool
from foldstill.base_models.specs import TimmMember
from foldstill.errors import MemberError


class InputLayer(nn.Module):
    """Raw values to zero mean and unit variance a channel, then to the size the network wants.

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
        x = (raw.float() - self.mean.view(shape)).div_(self.std.view(shape))
        if self.resize is None or x.ndim != 4 or tuple(x.shape[2:]) == self.resize:
            return x
        smaller = self.resize[0] < x.shape[2] or self.resize[1] < x.shape[3]
        return F.interpolate(x, self.resize, mode="bilinear", align_corners=False, antialias=smaller)

    def unscaled(self, x: Tensor) -> Tensor:
        """Scaled inputs as raw values again, at the size they were brought to: what another network can be shown."""
        shape = (-1,) + (1,) * (x.ndim - 2)
        return x * self.std.view(shape) + self.mean.view(shape)


class Network(nn.Module):
    """`body(input(raw))`: raw values of a view in, logits (B, C) out."""

    def __init__(self, body: nn.Module, in_channels: int, resize: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.input = InputLayer(in_channels, resize)
        self.body = body
        self._frozen = False

    @property
    def classifier(self) -> nn.Module:
        """The last layer, which turns features into logits; raises MemberError for a network that has no such one layer."""
        body: Any = self.body
        last = body[-1] if isinstance(body, nn.Sequential) else getattr(body, "get_classifier", lambda: None)()
        if not isinstance(last, nn.Module) or not list(last.parameters()):
            raise MemberError(
                f"{type(body).__name__} has no one classifier to train alone or read the features of: leave that out"
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
        """What the classifier reads of a scaled view, (B, F), and what it makes of it, (B, C)."""
        seen, logits = self._seen_and_logits(self.classifier, x)
        return seen.flatten(1), logits

    def nodes_and_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The nodes of a scaled view, (B, n, F), and logits: an EEG network has one a channel, any other is one itself."""
        pool = getattr(self.body, "pool", None)
        if isinstance(pool, SoftmaxPool):
            return self._seen_and_logits(pool, x)
        features_BF, logits = self.features_and_logits(x)
        return features_BF[:, None], logits

    def _seen_and_logits(self, layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        """What a layer is given on the way, and logits."""
        seen: list[Tensor] = []
        hook = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        try:
            logits: Tensor = self.body(x)
        finally:
            hook.remove()
        return seen[0], logits

    def fit_scaling(self, inputs: AnyInputs, rows: NDArray[np.intp]) -> None:
        """Scale inputs as these rows want it from now on."""
        assert isinstance(inputs, DeviceInputs), "one network, one view"
        self.input.mean[:], self.input.std[:] = inputs.scaling(rows)

    def rates(self) -> list[tuple[float, Iterable[nn.Parameter]]]:
        """What is trained at which share of the learning rate: everything at all of it."""
        return [(1.0, self.parameters())]

    def freeze(self, frozen: bool) -> None:
        """Train the classifier alone, dropout and running statistics of everything before it switched off; or train all."""
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


def network_for(spec: TimmMember, in_channels: int, n_classes: int, size: Sequence[int] | None = None) -> Network:
    """A fresh timm network in the shape the spec asks for, initialised from torch's global generator.

    `size` is (H, W) of the view; networks with a fixed input size need it, or `image_size`. Raises MemberError for a
    name timm does not know, an option or a size the network refuses, and for weights that cannot be had.
    """
    import timm

    if not timm.is_model(spec.network):
        near = difflib.get_close_matches(spec.network, timm.list_models(), n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}" if near else "see timm.list_models()"
        raise MemberError(f"member {spec.name!r}: timm has no network {spec.network!r}: {hint}?")
    wanted = spec.resize or (tuple(size) if size else None)
    options = dict(spec.options)
    if wanted and timm.models.get_pretrained_cfg_value(spec.network, "fixed_input_size"):
        options.setdefault("img_size", list(wanted))
    if spec.drop_path_rate:
        options["drop_path_rate"] = spec.drop_path_rate
    try:
        body = timm.create_model(
            spec.network,
            pretrained=spec.pretrained,
            in_chans=in_channels,
            # 0 leaves the pooled features, dropped out already, for a head of our own.
            num_classes=n_classes if spec.temperature == "none" else 0,
            drop_rate=spec.drop_rate,
            **options,
        )
    except Exception as error:
        raise MemberError(f"member {spec.name!r}: {_why(spec, error)}") from error
    if spec.stem_stride is not None:
        _set_stem_stride(spec, body)
    if spec.temperature != "none":
        body = nn.Sequential(body, Head(body.head_hidden_size, n_classes, spec.temperature))
    network = Network(body, in_channels, spec.resize)
    if wanted:
        _try_size(spec, network, in_channels, wanted)
    return network


def _why(spec: TimmMember, error: Exception) -> str:
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if spec.pretrained and not isinstance(error, TypeError | AssertionError):
        return (
            f"pretrained weights of {spec.network!r} cannot be had ({said}): connect once so that they are cached, "
            "or set pretrained = false"
        )
    return f"timm refuses {spec.network!r} with these options ({said}): correct `options` or `image_size`"


def _set_stem_stride(spec: TimmMember, body: nn.Module) -> None:
    first = next((m for m in body.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None or spec.stem_stride is None or first.kernel_size[0] < spec.stem_stride or first.padding == (0, 0):
        raise MemberError(
            f"member {spec.name!r}: {spec.network!r} does not begin with a padded convolution whose stride can be "
            f"{spec.stem_stride}: leave stem_stride out (a patch_size in `options` may serve)"
        )
    first.stride = (spec.stem_stride, spec.stem_stride)


@torch.no_grad()
def _try_size(spec: TimmMember, network: Network, in_channels: int, size: tuple[int, ...]) -> None:
    """One forward pass without data: a size that a network refuses is better known before training."""
    was = network.training
    try:
        network.eval()(torch.zeros(1, in_channels, *size))
    except Exception as error:
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MemberError(
            f"member {spec.name!r}: {spec.network!r} refuses images of {' x '.join(map(str, size))} ({said}): "
            "set image_size to a size it takes"
        ) from error
    finally:
        network.train(was)
