"""Settings of a member: which network sees which view, trained by which recipe.

Imports neither torch nor pydantic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from foldstill.base_models.recipes import Recipe, require
from foldstill.data.augmentation import RowMixing
from foldstill.settings import Settings

if TYPE_CHECKING:
    from foldstill.base_models.joined_network import AnyNetwork
    from foldstill.base_models.networks import Network

Temperature = Literal["none", "row", "class"]
Between = Literal["attention", "recurrent"]
Shape = tuple[int, ...]
"""Of one row of a view as it lies: (H, W, channels) of an image, (channels, T) of signals."""


class Trainable(Protocol):
    """What the loop over folds asks of a member's settings. A new kind is a new class with these; nothing is registered."""

    @property
    def name(self) -> str:
        """Unique in an experiment; the name of its folder and of its column in tables."""
        ...

    @property
    def family(self) -> str:
        """What it has in common with others; combiners can tie weights within a family."""
        ...

    @property
    def views(self) -> tuple[str, ...]:
        """The views of the data set it reads."""
        ...

    @property
    def parts(self) -> tuple[Trainable, ...]:
        """The members whose trained networks it starts from, one a view; none for a member that stands alone."""
        ...

    @property
    def settings(self) -> Any:
        """The settings dataclass its folders are made from."""
        ...

    @property
    def recipe(self) -> Recipe:
        """How it is trained."""
        ...

    def build(self, shapes: Sequence[Shape], n_classes: int) -> AnyNetwork:
        """A fresh network from torch's global generator, for rows of these shapes, one a view."""
        ...

    def without_download(self) -> Trainable:
        """The same network without pretrained weights: what a network is built as before its own weights are loaded."""
        ...


def channels_and_size(shape: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """Channels, and (H, W) or (T,), of a row as it lies."""
    return (shape[2], tuple(shape[:2])) if len(shape) == 3 else (shape[0], tuple(shape[1:]))


def _check_name(name: str) -> None:
    require(bool(name) and "/" not in name, f"a member's name must be a folder's name, got {name!r}")


@dataclass(frozen=True)
class TimmMember(Settings):
    """Any network of timm by its name, with any number of channels."""

    name: str
    """Unique in an experiment."""
    network: str
    """A name out of `timm.list_models()`."""
    kind: Literal["timm"] = "timm"
    view: str = "image"
    """The view of the data set it reads."""
    image_size: int | tuple[int, int] | None = None
    """Side, or height and width, that images are resized to; None takes them as they are."""
    pretrained: bool = False
    """Start from timm's weights, which are downloaded once."""
    stem_stride: int | None = None
    """Stride of the first convolution; 1 keeps the resolution of small images."""
    drop_rate: float = 0.0
    """Dropout before the classifier."""
    drop_path_rate: float = 0.0
    """Stochastic depth, where the network has it."""
    temperature: Temperature = "none"
    """Logits divided by a temperature that the network says of each row, or of each row and class."""
    options: Mapping[str, str | int | float | bool | list[int]] = field(default_factory=dict)
    """Further arguments for `timm.create_model`, such as patch_size = 4."""
    family: str = ""
    """Defaults to the network's name."""
    recipe: Recipe = field(default_factory=Recipe)
    """How it is trained."""

    def __post_init__(self) -> None:
        _check_name(self.name)
        require(
            not isinstance(self.image_size, int) or self.image_size > 0,
            f"image_size must be positive, got {self.image_size}",
        )
        require(self.stem_stride in (None, 1, 2, 4), f"stem_stride must be 1, 2 or 4, got {self.stem_stride}")
        for key in ("drop_rate", "drop_path_rate"):
            require(0 <= getattr(self, key) < 1, f"{key} must be in [0, 1), got {getattr(self, key)}")
        if not self.family:
            object.__setattr__(self, "family", self.network)

    @property
    def views(self) -> tuple[str, ...]:
        return (self.view,)

    @property
    def parts(self) -> tuple[Trainable, ...]:
        return ()

    @property
    def settings(self) -> TimmMember:
        return self

    @property
    def resize(self) -> tuple[int, int] | None:
        """(H, W) that images are resized to, if any."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size

    def build(self, shapes: Sequence[Shape], n_classes: int) -> Network:
        from foldstill.base_models.networks import network_for

        channels, size = channels_and_size(*shapes)
        return network_for(self, channels, n_classes, size)

    def without_download(self) -> TimmMember:
        return replace(self, pretrained=False)


@dataclass(frozen=True)
class EegMember(Settings):
    """A network of channels: one residual encoder shared by all of them, 1-D for signals and 2-D for a spectrogram in each
    channel, then attention between the channels.

    The defaults have 0.6 million parameters on 19 signals; features = 256 with separate = [18] has 2.2 million, and
    widths = [16, 32, 48, 64, 128, 256], kernel = 3, features = 256 on four spectrograms has 2.9 million.
    """

    name: str
    """Unique in an experiment."""
    kind: Literal["eeg"] = "eeg"
    view: str = "raw_eeg"
    """The view of the data set it reads: signals, or images of which each channel is a spectrogram by itself."""
    widths: tuple[int, ...] = (16, 24, 32, 48, 64, 96)
    """Channels of the encoder's residual blocks, each of which halves the length."""
    kernel: int = 5
    """Length of the convolutions."""
    features: int = 128
    """Length of the vector that stands for a channel."""
    between: Between = "attention"
    """How channels look at each other: attention, or a recurrent network over them in their order, in both directions."""
    blocks: int = 2
    """Attention blocks, or recurrent layers, between channels; 0 pools them as they are."""
    heads: int = 4
    """Attention heads."""
    separate: tuple[int, ...] = ()
    """Channels with an encoder of their own because they are no EEG: 18 is the EKG of raw_eeg."""
    drop_rate: float = 0.1
    """Dropout in the encoder, the attention and before the classifier."""
    temperature: Temperature = "none"
    """Logits divided by a temperature that the network says of each row, or of each row and class."""
    family: str = "eeg"
    """What it has in common with others; combiners can tie weights within a family."""
    recipe: Recipe = field(default_factory=Recipe)
    """How it is trained."""

    def __post_init__(self) -> None:
        _check_name(self.name)
        require(bool(self.widths) and min(self.widths) > 0, f"widths must be positive numbers, got {list(self.widths)}")
        require(self.kernel > 0 and self.kernel % 2 == 1, f"kernel must be an odd length, got {self.kernel}")
        require(self.blocks >= 0, f"blocks must not be negative, got {self.blocks}")
        require(
            self.features > 0 and self.heads > 0 and self.features % (2 * self.heads) == 0,
            f"features must be a multiple of twice the heads, got {self.features} and {self.heads} heads",
        )
        require(0 <= self.drop_rate < 1, f"drop_rate must be in [0, 1), got {self.drop_rate}")

    @property
    def views(self) -> tuple[str, ...]:
        return (self.view,)

    @property
    def parts(self) -> tuple[Trainable, ...]:
        return ()

    @property
    def settings(self) -> EegMember:
        return self

    def build(self, shapes: Sequence[Shape], n_classes: int) -> Network:
        from foldstill.base_models.eeg import eeg_network

        channels, size = channels_and_size(*shapes)
        return eeg_network(self, channels, n_classes, size)

    def without_download(self) -> EegMember:
        return self


@dataclass(frozen=True)
class JoinedMember(Settings):
    """Other members of the experiment joined: the geometric average of their trained networks, corrected by one head on all features.

    In each fold it starts from the weights its members got in that fold, which saw the rows it may see and no others; the
    head's correction starts at 0, so training leaves the average only where that pays. Each view is scaled as its member
    scaled it and augmented as in its member's recipe; what several views have in common (a swap of hemispheres, say) is done
    to the same rows of all, and mixing of rows is named in this member's own recipe. The features of rows its members were
    trained on look surer than those of new rows, and early stopping judges on such rows too.
    """

    name: str
    """Unique in an experiment."""
    members: tuple[str, ...]
    """Names of the members it joins, two or more, each of which reads one view."""
    kind: Literal["joined"] = "joined"
    backbone_rate: float = 0.0
    """Learning rate of the joined networks as a share of the recipe's; 0 leaves them as they were trained."""
    hidden: int = 128
    """Width of the layer between the features and the classifier, 0 for none; with `blocks`, of every node."""
    blocks: int = 0
    """Attention blocks between the nodes of all networks: each channel of an eeg member is one, and any other network is
    one. 0 puts one feature vector a network beside each other."""
    heads: int = 4
    """Attention heads of the blocks."""
    drop_rate: float = 0.1
    """Dropout on the features and before the classifier."""
    temperature: Temperature = "none"
    """Logits divided by a temperature that the network says of each row, or of each row and class."""
    family: str = "joined"
    """What it has in common with others; combiners can tie weights within a family."""
    recipe: Recipe = field(default_factory=Recipe)
    """How the head, and with a backbone_rate everything, is trained."""

    def __post_init__(self) -> None:
        _check_name(self.name)
        require(
            len(set(self.members)) == len(self.members) > 1,
            f"member {self.name!r} joins {list(self.members)}: name two different members or more",
        )
        require(self.backbone_rate >= 0, f"backbone_rate must not be negative, got {self.backbone_rate}")
        require(self.hidden >= 0, f"hidden must not be negative, got {self.hidden}: 0 leaves the layer out")
        require(self.blocks >= 0, f"blocks must not be negative, got {self.blocks}: 0 joins one vector a network")
        require(
            not self.blocks or (self.hidden > 0 and self.heads > 0 and self.hidden % self.heads == 0),
            f"member {self.name!r}: with blocks, hidden is the width of every node, a multiple of the heads, got {self.hidden} "
            f"and {self.heads} heads",
        )
        require(0 <= self.drop_rate < 1, f"drop_rate must be in [0, 1), got {self.drop_rate}")
        stage = self.recipe.second_stage
        require(
            stage is None or not stage.thaws or self.backbone_rate > 0,
            f"member {self.name!r}: second_stage.thaws trains the joined networks, backbone_rate = 0 leaves them as they "
            "are: set a backbone_rate such as 1.0, or leave `thaws` out",
        )
        single = [op.kind for op in self.recipe.augment if not isinstance(op, RowMixing)]
        require(
            not single,
            f"member {self.name!r}: recipe.augment of a joined member mixes rows of all views alike (mixup, cutmix, ...), "
            f"got {single}: these belong into the recipe of the member that reads the view; set augment = [] here",
        )


Member = TimmMember | EegMember | JoinedMember
"""Every kind of member an experiment file can name, told apart by `kind`; a further kind joins this union."""
