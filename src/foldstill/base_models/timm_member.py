"""Members that are networks of timm. Importing this module imports no torch."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from foldstill.base_models.architecture import InputShape
from foldstill.base_models.recipes import NetworkSettings, Recipe, check_name, require
from foldstill.base_models.single_view import SingleViewMember
from foldstill.base_models.weights_file import read_weights, require_loaded
from foldstill.errors import MemberError, lacks_memory

if TYPE_CHECKING:
    from torch import nn

    from foldstill.base_models.networks import Network

_OTHER_WEIGHTS = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained")
"""Arguments of timm that name weights; `pretrained` of the member is the one way here."""

_ELSEWHERE = ("hf-hub:", "hf_hub:", "local-dir:")
"""How names of networks begin that timm reads from another place."""


@dataclass(frozen=True)
class TimmMember(NetworkSettings, SingleViewMember, kind="timm", title="timm"):
    """A network of the timm library, trained on images.

    It is built by its name, with any number of input channels.

    Examples
    --------
    >>> member = TimmMember("resnet", "test_resnet")
    >>> network = member.build([(32, 32, 3)], n_classes=6)
    >>> sum(parameter.numel() for parameter in network.parameters())
    373270
    """

    files: ClassVar[tuple[str, ...]] = ("pretrained", "weights")
    name: str
    network: str
    """A name in `timm.list_models()`, or `hf-hub:` or `local-dir:` and a place, as timm reads them."""
    view: str = "image"
    """Name of the view that the network reads."""
    image_size: int | tuple[int, int] | None = None
    """Side, or height and width, that images are resized to; by default they keep their size."""
    pretrained: bool | str = False
    """Whether to start from timm's pretrained weights, which are downloaded once; or the path of a file that holds them
    (.safetensors, .pth). A relative path starts at the folder of the experiment file."""
    stem_stride: int | None = None
    """Stride of the first convolution; 1 keeps the resolution of small images. The network's own by default."""
    drop_rate: float = 0.0
    """Dropout before the classifier."""
    drop_path_rate: float = 0.0
    """Rate of stochastic depth, for networks that have it."""
    options: Mapping[str, str | int | float | bool | list[int] | Mapping[str, Any]] = field(default_factory=dict)
    """Further arguments of `timm.create_model`, such as patch_size = 4."""
    family: str = ""
    """Group of similar members, within which combiners can tie weights; the network's name by default."""
    weights: str = ""
    """Trained weights, one file per fold, as in "fold-{fold}.safetensors" (.pt or .pth hold a state dict): nothing is
    trained, and the fold models are scored. File k must not have seen the rows of fold k: name the fold plan that they
    were trained with in `folds.path`. Without `input.mean` and `input.std` in a file, inputs are standardised per
    channel on the training rows of the fold. A relative path starts at the folder of the experiment file."""

    def __post_init__(self) -> None:
        check_name(self.name)
        require(
            not isinstance(self.image_size, int) or self.image_size > 0,
            f"image_size must be positive, got {self.image_size}",
        )
        wrong = next((key for key in self.options if key in _OTHER_WEIGHTS), None)
        require(
            wrong is None,
            f"options.{wrong} of member {self.name!r} names weights in another way: leave it out, and set pretrained "
            'to the file, as in pretrained = "weights.safetensors"',
        )
        tables = [key for key, value in self.options.items() if isinstance(value, Mapping)]
        require(not tables, f"options of member {self.name!r} must be text, numbers or lists, got tables: {tables}")
        require(self.stem_stride in (None, 1, 2, 4), f"stem_stride must be 1, 2 or 4, got {self.stem_stride}")
        for key in ("drop_rate", "drop_path_rate"):
            require(0 <= getattr(self, key) < 1, f"{key} must be in [0, 1), got {getattr(self, key)}")
        if not self.family:
            object.__setattr__(self, "family", self.network)

    @classmethod
    def example(cls) -> TimmMember:
        return cls("timm", "test_resnet", recipe=Recipe(epochs=2, batch_size=8))

    @property
    def resize(self) -> tuple[int, int] | None:
        """(H, W) that images are resized to, if any."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size

    def build(self, shapes: Sequence[InputShape], n_classes: int) -> Network:
        """A fresh network for rows of this one shape, initialised from torch's global generator.

        Raises MemberError for a name timm does not know, an option or a size the network refuses, and for weights that
        cannot be downloaded.
        """
        import timm
        from torch import nn

        from foldstill.base_models.heads import Head
        from foldstill.base_models.networks import Network

        in_channels, size = self.channels_and_size(shapes)

        known = not self.network.startswith(_ELSEWHERE)
        if known and not timm.is_model(self.network):
            near = difflib.get_close_matches(self.network, timm.list_models(), n=3, cutoff=0.5)
            hint = f"did you mean {', '.join(near)}" if near else "see timm.list_models()"
            raise MemberError(f"member {self.name!r}: timm has no network {self.network!r}: {hint}?")
        wanted = self.resize or size
        options = dict(self.options)
        if known and timm.models.get_pretrained_cfg_value(self.network, "fixed_input_size"):
            options.setdefault("img_size", list(wanted))
        if self.drop_path_rate:
            options["drop_path_rate"] = self.drop_path_rate
        weights = None
        if isinstance(self.pretrained, str):
            weights = self._named(read_weights, Path(self.pretrained))
            # timm adapts the first layer and the classifier of what it is given here.
            options["pretrained_cfg_overlay"] = {"state_dict": weights}
        try:
            body = timm.create_model(
                self.network,
                pretrained=bool(self.pretrained),
                in_chans=in_channels,
                # 0 leaves the pooled features, dropped out already, for a head of our own.
                num_classes=n_classes if self.temperature == "none" else 0,
                drop_rate=self.drop_rate,
                **options,
            )
        except Exception as error:
            if lacks_memory(error):
                raise
            raise MemberError(f"member {self.name!r}: {_why(self, error)}") from error
        if weights is not None:
            self._named(require_loaded, body, weights, str(self.pretrained), self.network)
        for module in body.modules():
            # Autograd needs their input, so that in place they copy it first.
            if isinstance(module, nn.SiLU | nn.Hardswish | nn.Mish):
                module.inplace = False
        if self.stem_stride is not None:
            _set_stem_stride(self, body)
        if self.temperature != "none":
            body = nn.Sequential(body, Head(body.head_hidden_size, n_classes, self.temperature))
        network = Network(body, in_channels, self.resize)
        _try_size(self, network, in_channels, wanted)
        return network

    def _named(self, read: Callable[..., Any], *arguments: Any) -> Any:
        """What a function gives; its errors name this member."""
        try:
            return read(*arguments)
        except MemberError as error:
            raise MemberError(f"member {self.name!r}: {error}") from None

    def build_untrained(self, shapes: Sequence[InputShape], n_classes: int) -> Network:
        return replace(self, pretrained=False, weights="").build(shapes, n_classes)


def _why(member: TimmMember, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(member.pretrained, str):
        return (
            f"{member.pretrained} does not fit {member.network!r} ({reason}): "
            "name the network of these weights, and correct `options`"
        )
    if member.pretrained and not isinstance(error, TypeError | AssertionError):
        return (
            f"pretrained weights of {member.network!r} cannot be had ({reason}): connect once so that they are cached, "
            'name a file, as in pretrained = "weights.safetensors", or set pretrained = false'
        )
    return f"timm refuses {member.network!r} with these options ({reason}): correct `options` or `image_size`"


def _set_stem_stride(member: TimmMember, body: nn.Module) -> None:
    from torch import nn

    first = next((m for m in body.modules() if isinstance(m, nn.Conv2d)), None)
    if (
        first is None
        or member.stem_stride is None
        or first.kernel_size[0] < member.stem_stride
        or first.padding == (0, 0)
    ):
        raise MemberError(
            f"member {member.name!r}: {member.network!r} does not begin with a padded convolution whose stride can be "
            f"{member.stem_stride}: leave stem_stride out (a patch_size in `options` may serve)"
        )
    first.stride = (member.stem_stride, member.stem_stride)


def _try_size(member: TimmMember, network: Network, in_channels: int, size: tuple[int, ...]) -> None:
    """One forward pass without data: a size that a network refuses is better known before training."""
    import torch

    was_training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, in_channels, *size))
    except Exception as error:
        if lacks_memory(error):
            raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MemberError(
            f"member {member.name!r}: {member.network!r} refuses images of {' x '.join(map(str, size))} ({reason}): "
            "set image_size to a size it takes"
        ) from error
    finally:
        network.train(was_training)
