"""Settings of a member: which network sees which view, and the recipe that trains it.

Imports neither torch nor pydantic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from foldstill.data.augment import AnyAugmentation
from foldstill.data.labels import RowWeight
from foldstill.data.mixing import AnyMix, Mosaic
from foldstill.errors import MemberError

if TYPE_CHECKING:
    from foldstill.base_models.joined_network import AnyNetwork
    from foldstill.base_models.networks import Network

Schedule = Literal["one_cycle", "cosine", "step", "constant", "plateau"]
Temperature = Literal["none", "row", "class"]
Shape = tuple[int, ...]
"""Of one row of a view as it lies: (H, W, channels) of an image, (channels, T) of signals."""

_FORBID: dict[str, Any] = {"extra": "forbid"}


def _require(good: bool, what: str) -> None:
    if not good:
        raise MemberError(what)


@dataclass(frozen=True)
class KL:
    """Kullback-Leibler divergence of the prediction from the target, T^2 KL(target^(1/T) || softmax(logits / T))."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    kind: Literal["kl"] = "kl"
    temperature: float = 1.0
    """T; above 1 softens both sides, for a student (Hinton et al., 2015, section 2)."""

    def __post_init__(self) -> None:
        _require(
            self.temperature > 0,
            f"temperature must be positive, got {self.temperature}: 1 leaves the targets as they are",
        )


@dataclass(frozen=True)
class CrossEntropyKL:
    """Cross-entropy with the most voted class plus `kl_weight` times KL with the vote shares."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    kind: Literal["ce_kl"] = "ce_kl"
    kl_weight: float = 2.0
    """How much KL counts beside the cross-entropy."""

    def __post_init__(self) -> None:
        _require(
            self.kl_weight >= 0, f"kl_weight must not be negative, got {self.kl_weight}: 0 trains on hard classes only"
        )


AnyLoss = KL | CrossEntropyKL


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when KL on an inner group split of the training rows no longer falls; the best epoch's weights are kept.

    The split is taken from the training rows of the fold, so the rows the member is scored on choose nothing.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    share: float = 0.1
    """Share of the training groups that judge the epochs and are not trained on."""
    patience: int = 5
    """Epochs without a better KL before training stops."""

    def __post_init__(self) -> None:
        _require(0 < self.share < 1, f"early_stopping.share must be in (0, 1), got {self.share}: 0.1 judges on a tenth")
        _require(self.patience >= 1, f"early_stopping.patience must be 1 or more, got {self.patience}")


@dataclass(frozen=True)
class SecondStage:
    """More epochs on the rows with many votes only; a warm-up belongs to the first stage and is not repeated."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    min_votes: float = 10.0
    """Rows with at least this many votes are trained on, and judge the epochs where there is early stopping."""
    first_max_votes: float | None = None
    """The first stage trains on rows with at most this many votes; none: on all rows."""
    starts_from: Literal["final", "best"] = "final"
    """Weights of the first stage: of its last epoch, or of the one that early stopping found best."""
    epochs: int = 5
    """Epochs of this stage."""
    lr: float = 3e-4
    """Peak learning rate of this stage; the other settings are those of the recipe."""
    thaws: bool = False
    """Whether the first stage trains the classifier alone and this one everything, for pretrained weights."""

    def __post_init__(self) -> None:
        _require(
            self.epochs >= 1, f"second_stage.epochs must be 1 or more, got {self.epochs}: leave the stage out instead"
        )
        _require(self.lr > 0, f"second_stage.lr must be positive, got {self.lr}")
        _require(
            self.first_max_votes is None or self.first_max_votes >= 1,
            f"second_stage.first_max_votes must be 1 or more, got {self.first_max_votes}: leave it out for all rows",
        )


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. The defaults suit a small network trained from scratch on a CPU."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    epochs: int = 20
    """Passes over the training rows; a fixed number, so that no epoch is chosen on rows that are reported."""
    batch_size: int = 64
    """Rows a step; the last, smaller batch of an epoch is dropped."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """Adam's weight decay is L2, AdamW's is decoupled; SGD has Nesterov momentum 0.9."""
    lr: float = 3e-3
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of Adam's and AdamW's averages of the gradient and of its square."""
    weight_decay: float = 0.02
    """Of matrices and kernels only: biases and norms are never decayed."""
    schedule: Schedule = "one_cycle"
    """The learning rate over the steps; plateau follows the training loss (or the inner split's KL with early stopping)."""
    warmup: float = 0.05
    """Share of the steps with a linearly rising rate; for one_cycle the share of the rising part."""
    step_epochs: int = 10
    """Epochs between two drops of the `step` schedule, or without progress before one of `plateau`."""
    step_factor: float = 0.1
    """What a drop of `step` or `plateau` multiplies the rate by."""
    ema: float = 0.0
    """Decay of the exponential moving average of the weights that predicts; 0 predicts with the last weights."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; 0 does not clip."""
    loss: AnyLoss = field(default_factory=KL)
    """What is minimised against the vote shares."""
    row_weight: RowWeight = "none"
    """Weight of a row in the loss by its number of votes v: none; log1p: log(1 + v); clamp: v up to a maximum; damped: v up
    to 10, then (10 + 2 log10 v) log10 v."""
    row_weight_maximum: float = 10.0
    """Votes beyond this do not add weight under `clamp`."""
    unweighted_epochs: int = 0
    """First epochs in which `row_weight` does not count yet, such as those of a mosaic warm-up."""
    sampling: Literal["uniform", "balanced", "votes", "one_each"] = "uniform"
    """uniform: each row once an epoch; balanced: drawn so that classes are equally frequent; votes: by number of votes;
    one_each: of HMS data with rows = "window", one random label of each recording, another in each epoch."""
    augment: tuple[AnyAugmentation, ...] = ()
    """Applied in this order to training batches, never to rows that are predicted."""
    early_stopping: EarlyStopping | None = None
    """Off by default."""
    second_stage: SecondStage | None = None
    """Off by default."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 autocast on a GPU, float32 on a CPU. The loss is always float32."""

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, f"epochs must be 1 or more, got {self.epochs}")
        _require(
            self.batch_size >= 2, f"batch_size must be 2 or more, got {self.batch_size}: batch norm needs two rows"
        )
        _require(self.lr > 0, f"lr must be positive, got {self.lr}: 3e-3 suits training from scratch")
        _require(self.weight_decay >= 0, f"weight_decay must not be negative, got {self.weight_decay}")
        _require(0 <= self.warmup < 1, f"warmup must be a share of the steps in [0, 1), got {self.warmup}")
        _require(
            self.schedule != "one_cycle" or self.warmup > 0,
            "one_cycle needs a rising part, got warmup 0: use cosine, or a warmup such as 0.3",
        )
        _require(self.step_epochs >= 1, f"step_epochs must be 1 or more, got {self.step_epochs}")
        _require(
            0 < self.step_factor < 1,
            f"step_factor must be in (0, 1), got {self.step_factor}: 0.1 divides the rate by ten",
        )
        _require(0 <= self.ema < 1, f"ema must be a decay in [0, 1), got {self.ema}: 0.999 averages about 1,000 steps")
        _require(self.clip_norm >= 0, f"clip_norm must not be negative, got {self.clip_norm}: 0 does not clip")
        _require(all(0 <= beta < 1 for beta in self.betas), f"betas must be decays in [0, 1), got {list(self.betas)}")
        _require(self.row_weight_maximum > 0, f"row_weight_maximum must be positive, got {self.row_weight_maximum}")
        _require(
            0 <= self.unweighted_epochs < self.epochs,
            f"unweighted_epochs must leave one of the {self.epochs} epochs or more, got {self.unweighted_epochs}",
        )
        _require(
            not self.unweighted_epochs or self.row_weight != "none",
            "unweighted_epochs has no effect where rows have no weights: leave it out, or set row_weight",
        )
        _require(
            self.second_stage is None or self.second_stage.starts_from == "final" or self.early_stopping is not None,
            'second_stage.starts_from = "best" needs early_stopping, which judges epochs on an inner split of the training '
            "rows: set it, with a patience of as many epochs as there are if none should be saved",
        )

    def for_second_stage(self) -> Recipe:
        """The recipe of the second stage alone."""
        if self.second_stage is None:
            raise MemberError("the recipe has no second stage: set recipe.second_stage")
        return replace(
            self,
            epochs=self.second_stage.epochs,
            lr=self.second_stage.lr,
            unweighted_epochs=0,
            augment=tuple(op for op in self.augment if not isinstance(op, Mosaic)),
            second_stage=None,
        )


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
    _require(bool(name) and "/" not in name, f"a member's name must be a folder's name, got {name!r}")


@dataclass(frozen=True)
class TimmMember:
    """Any network of timm by its name, with any number of channels."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

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
        _require(
            not isinstance(self.image_size, int) or self.image_size > 0,
            f"image_size must be positive, got {self.image_size}",
        )
        _require(self.stem_stride in (None, 1, 2, 4), f"stem_stride must be 1, 2 or 4, got {self.stem_stride}")
        for key in ("drop_rate", "drop_path_rate"):
            _require(0 <= getattr(self, key) < 1, f"{key} must be in [0, 1), got {getattr(self, key)}")
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
class EegMember:
    """A 1-D network: one residual encoder shared by all channels, then attention between channels.

    The defaults have 0.6 million parameters on 19 channels; features = 256 with separate = [18] has 2.2 million.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    name: str
    """Unique in an experiment."""
    kind: Literal["eeg"] = "eeg"
    view: str = "raw_eeg"
    """The view of the data set it reads, which must be signals."""
    widths: tuple[int, ...] = (16, 24, 32, 48, 64, 96)
    """Channels of the encoder's residual blocks, each of which halves the length."""
    kernel: int = 5
    """Length of the convolutions."""
    features: int = 128
    """Length of the vector that stands for a channel."""
    blocks: int = 2
    """Attention blocks between channels; 0 pools them as they are."""
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
        _require(
            bool(self.widths) and min(self.widths) > 0, f"widths must be positive numbers, got {list(self.widths)}"
        )
        _require(self.kernel > 0 and self.kernel % 2 == 1, f"kernel must be an odd length, got {self.kernel}")
        _require(self.blocks >= 0, f"blocks must not be negative, got {self.blocks}")
        _require(
            self.features > 0 and self.heads > 0 and self.features % (2 * self.heads) == 0,
            f"features must be a multiple of twice the heads, got {self.features} and {self.heads} heads",
        )
        _require(0 <= self.drop_rate < 1, f"drop_rate must be in [0, 1), got {self.drop_rate}")

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
class JoinedMember:
    """Other members of the experiment joined: their trained networks without the last layers, and one head on all features.

    In each fold it starts from the weights its members got in that fold, which saw the rows it may see and no others. Each
    view is scaled as its member scaled it and augmented as in its member's recipe; what several views have in common (a
    swap of hemispheres, say) is done to the same rows of all, and mixing of rows is named in this member's own recipe. The
    features of rows its members were trained on look surer than those of new rows, and early stopping judges on such rows too.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID

    name: str
    """Unique in an experiment."""
    members: tuple[str, ...]
    """Names of the members it joins, two or more, each of which reads one view."""
    kind: Literal["joined"] = "joined"
    backbone_rate: float = 0.0
    """Learning rate of the joined networks as a share of the recipe's; 0 leaves them as they were trained."""
    hidden: int = 128
    """Width of the layer between the features and the classifier; 0 for none."""
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
        _require(
            len(set(self.members)) == len(self.members) > 1,
            f"member {self.name!r} joins {list(self.members)}: name two different members or more",
        )
        _require(self.backbone_rate >= 0, f"backbone_rate must not be negative, got {self.backbone_rate}")
        _require(self.hidden >= 0, f"hidden must not be negative, got {self.hidden}: 0 leaves the layer out")
        _require(0 <= self.drop_rate < 1, f"drop_rate must be in [0, 1), got {self.drop_rate}")
        stage = self.recipe.second_stage
        _require(
            stage is None or not stage.thaws or self.backbone_rate > 0,
            f"member {self.name!r}: second_stage.thaws trains the joined networks, backbone_rate = 0 leaves them as they "
            "are: set a backbone_rate such as 1.0, or leave `thaws` out",
        )
        single = [op.kind for op in self.recipe.augment if not isinstance(op, AnyMix)]
        _require(
            not single,
            f"member {self.name!r}: recipe.augment of a joined member mixes rows of all views alike (mixup, cutmix, ...), "
            f"got {single}: these belong into the recipe of the member that reads the view; set augment = [] here",
        )


Member = TimmMember | EegMember | JoinedMember
"""Every kind of member an experiment file can name, told apart by `kind`; a further kind joins this union."""
