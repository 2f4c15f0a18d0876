"""Settings of a training: loss, schedule, stages, row weights and augmentation.

Imports neither torch nor pydantic.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from foldstill.base_models.architecture import Precision, Temperature
from foldstill.base_models.losses import KL, LossSettings
from foldstill.data.augment import AnyAugmentation
from foldstill.data.mixing import Mosaic
from foldstill.data.row_weights import RowWeight
from foldstill.errors import MemberError
from foldstill.files import name_problems
from foldstill.settings import ByKind, KindSettings, Settings

Schedule = Literal["one_cycle", "cosine", "step", "constant", "plateau"]


def require(condition: bool, message: str) -> None:
    """Raises MemberError with the message unless the condition holds."""
    if not condition:
        raise MemberError(message)


def check_precision(precision: Precision, device: str) -> None:
    """Raises MemberError for a lower precision on a device that is no CUDA GPU.

    In bfloat16 the convolutions of some CPUs leave parts of a gradient unwritten, and float16 overflows.
    """
    require(
        precision in ("auto", "float32") or device.startswith("cuda"),
        f'precision = "{precision}" needs a CUDA GPU and the device is {device}: set "auto", which is float32 there',
    )


def check_recipes(members: Iterable[object], device: str) -> None:
    """Raises MemberError for a member whose recipe, if it has one, cannot be followed on a device."""
    for member in members:
        if isinstance(recipe := getattr(member, "recipe", None), Recipe):
            check_precision(recipe.precision, device)


def check_name(name: str) -> None:
    """Raises MemberError for a member's name that cannot name a folder."""
    problems = name_problems("member", [name])
    require(not problems, "".join(problems))


@dataclass(frozen=True)
class EarlyStopping(Settings):
    """Stop when KL on an inner split of the training rows no longer falls, and keep the weights of the best epoch.

    The inner split is by group and is taken from the training rows of the fold, so the rows the member is scored on
    choose nothing. Epochs of a warm-up (mosaic, or `unweighted_epochs`) are not chosen unless there is no other.

    Examples
    --------
    >>> EarlyStopping(patience=3).share
    0.1
    """

    share: float = 0.1
    """Share of the training groups that judge the epochs and are not trained on."""
    patience: int = 5
    """Number of epochs without a better KL before training stops."""
    judged_by: Literal["stage", "all", "few", "many"] = "stage"
    """Which rows of the inner split judge the epochs: all; those with few (less than 10) or with many votes; or
    "stage", which takes all rows in the first stage and rows like its own in the second."""

    def __post_init__(self) -> None:
        require(0 < self.share < 1, f"early_stopping.share must be in (0, 1), got {self.share}: 0.1 judges on a tenth")
        require(self.patience >= 1, f"early_stopping.patience must be 1 or more, got {self.patience}")


@dataclass(frozen=True)
class SecondStage(Settings):
    """More epochs on rows with many votes only; a warm-up belongs to the first stage and is not repeated.

    Examples
    --------
    >>> SecondStage(min_votes=10).epochs
    5
    """

    min_votes: float = 10.0
    """Minimum number of votes of the rows that are trained on."""
    min_votes_unanimous: float | None = None
    """Minimum number of votes of rows whose votes all agree; the first stage then leaves these rows out if it has
    `first_max_votes`."""
    first_max_votes: float | None = None
    """Maximum number of votes of the rows of the first stage; unset uses all rows."""
    starts_from: Literal["final", "best"] = "final"
    """Which weights of the first stage are used: those of its last epoch, or those that early stopping found best."""
    epochs: int = 5
    """Epochs of this stage."""
    lr: float = 3e-4
    """Peak learning rate of this stage; the other settings are those of the recipe."""
    batch_size: int | None = None
    """Number of rows per step; that of the recipe by default."""
    thaws: bool = False
    """Whether the first stage trains the classifier alone and this stage trains everything, for pretrained weights."""

    def __post_init__(self) -> None:
        require(
            self.epochs >= 1, f"second_stage.epochs must be 1 or more, got {self.epochs}: leave the stage out instead"
        )
        require(self.lr > 0, f"second_stage.lr must be positive, got {self.lr}")
        require(
            self.batch_size is None or self.batch_size >= 2,
            f"second_stage.batch_size must be 2 or more, got {self.batch_size}: batch norm needs two rows",
        )
        require(
            self.first_max_votes is None or self.first_max_votes >= 1,
            f"second_stage.first_max_votes must be 1 or more, got {self.first_max_votes}: leave it out for all rows",
        )
        require(
            self.min_votes_unanimous is None or 1 <= self.min_votes_unanimous < self.min_votes,
            f"second_stage.min_votes_unanimous must be 1 or more and less than min_votes ({self.min_votes:g}), got "
            f"{self.min_votes_unanimous}: leave it out if agreement should not count",
        )


@dataclass(frozen=True)
class Recipe(Settings):
    """How a network is trained. The defaults suit a small network that is trained from scratch on a CPU.

    Examples
    --------
    >>> Recipe(epochs=5, second_stage=SecondStage(epochs=2)).total_epochs
    7
    """

    epochs: int = 20
    """Number of passes over the training rows. It is fixed, so that no epoch is chosen on rows that are reported."""
    batch_size: int = 64
    """Number of rows per step; the last, smaller batch of an epoch is dropped."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """The optimizer. Adam's weight decay is L2, AdamW's is decoupled; SGD has Nesterov momentum 0.9."""
    lr: float = 3e-3
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of the averages of the gradient and of its square, for Adam and AdamW."""
    weight_decay: float = 0.02
    """Weight decay of matrices and kernels; biases and norms are never decayed."""
    schedule: Schedule = "one_cycle"
    """Course of the learning rate; plateau follows the training loss, or KL on the inner split with early stopping."""
    warmup: float = 0.05
    """Share of the steps in which the learning rate rises linearly; for one_cycle the share of its rising part, where
    0 starts at the peak."""
    lr_end: float | None = None
    """Final learning rate of `one_cycle` and `cosine` as a share of the peak; 4e-6 and 0 by default."""
    step_epochs: int = 10
    """Number of epochs between two drops of `step`, or without progress before a drop of `plateau`."""
    step_factor: float = 0.1
    """Factor by which a drop of `step` or `plateau` multiplies the learning rate."""
    ema: float = 0.0
    """Decay of the exponential moving average of the weights, which predicts; 0 predicts with the last weights."""
    clip_norm: float = 1.0
    """Maximum norm of the gradient; 0 does not clip."""
    loss: Annotated[LossSettings, ByKind()] = field(default_factory=KL)
    """The loss between prediction and vote shares."""
    row_weight: RowWeight = "none"
    """Weight of a row in the loss by its number of votes v. none: 1; log1p: log(1 + v); clamp: v up to a maximum;
    damped: v up to 10, then (10 + 2 log10 v) log10 v."""
    row_weight_maximum: float = 10.0
    """Number of votes above which `clamp` adds no weight."""
    unweighted_epochs: int = 0
    """Number of first epochs without `row_weight`, such as those of a mosaic warm-up."""
    sampling: Literal["uniform", "balanced", "votes", "one_each"] = "uniform"
    """How rows are drawn. uniform: each row once per epoch; balanced: so that classes are equally frequent; votes: in
    proportion to the number of votes; one_each: for HMS data with rows = "window", one random label per recording,
    another in each epoch."""
    augment: tuple[AnyAugmentation, ...] = ()
    """Augmentations, applied in this order to training batches and never to rows that are predicted."""
    early_stopping: EarlyStopping | None = None
    """When to stop before the last epoch; off by default."""
    second_stage: SecondStage | None = None
    """Further epochs on rows with many votes; off by default."""
    precision: Precision = "auto"
    """Precision of training steps; auto is bfloat16 on a CUDA GPU, float16 on one older than Ampere, and float32
    elsewhere. The loss and all predictions are always float32."""

    def __post_init__(self) -> None:
        require(self.epochs >= 1, f"epochs must be 1 or more, got {self.epochs}")
        require(self.batch_size >= 2, f"batch_size must be 2 or more, got {self.batch_size}: batch norm needs two rows")
        require(self.lr > 0, f"lr must be positive, got {self.lr}: 3e-3 suits training from scratch")
        require(self.weight_decay >= 0, f"weight_decay must not be negative, got {self.weight_decay}")
        require(0 <= self.warmup < 1, f"warmup must be a share of the steps in [0, 1), got {self.warmup}")
        require(
            self.lr_end is None or (0 <= self.lr_end < 1 and self.schedule in ("one_cycle", "cosine")),
            f"lr_end is the share of lr, in [0, 1), at which one_cycle and cosine end, got {self.lr_end} for "
            f"{self.schedule}: leave it out",
        )
        require(self.step_epochs >= 1, f"step_epochs must be 1 or more, got {self.step_epochs}")
        require(
            0 < self.step_factor < 1,
            f"step_factor must be in (0, 1), got {self.step_factor}: 0.1 divides the rate by ten",
        )
        require(0 <= self.ema < 1, f"ema must be a decay in [0, 1), got {self.ema}: 0.999 averages about 1,000 steps")
        require(self.clip_norm >= 0, f"clip_norm must not be negative, got {self.clip_norm}: 0 does not clip")
        require(all(0 <= beta < 1 for beta in self.betas), f"betas must be decays in [0, 1), got {list(self.betas)}")
        require(self.row_weight_maximum > 0, f"row_weight_maximum must be positive, got {self.row_weight_maximum}")
        require(
            0 <= self.unweighted_epochs < self.epochs,
            f"unweighted_epochs must leave one of the {self.epochs} epochs or more, got {self.unweighted_epochs}",
        )
        require(
            not self.unweighted_epochs or self.row_weight != "none",
            "unweighted_epochs has no effect where rows have no weights: leave it out, or set row_weight",
        )
        require(
            self.second_stage is None or self.second_stage.starts_from == "final" or self.early_stopping is not None,
            'second_stage.starts_from = "best" needs early_stopping, which judges epochs on an inner split of the '
            "training rows: set it, with a patience of as many epochs as there are if none should be saved",
        )

    @property
    def total_epochs(self) -> int:
        """Epochs of all stages."""
        return self.epochs + (self.second_stage.epochs if self.second_stage else 0)

    @property
    def warm_up_epochs(self) -> int:
        """Number of first epochs that early stopping does not judge, because they use other inputs or weights."""
        mosaics = [op.epochs for op in self.augment if isinstance(op, Mosaic)]
        return max(self.unweighted_epochs, *mosaics) if mosaics else self.unweighted_epochs

    def require_heads(self) -> None:
        """Raises MemberError for settings that need one distribution over classes, or votes, per row."""
        needing = {
            f"loss = {self.loss.kind!r}": self.loss != KL(),
            f"sampling = {self.sampling!r}": self.sampling in ("balanced", "votes"),
            f"row_weight = {self.row_weight!r}": self.row_weight != "none",
            "second_stage": self.second_stage is not None,
            "augment same_class_cutmix": any(op.kind == "same_class_cutmix" for op in self.augment),
        }
        for setting in (setting for setting, given in needing.items() if given):
            raise MemberError(
                f"recipe: {setting} needs votes for classes, and the labels are heads, which are learned by the binary "
                "cross-entropy of each: leave it out"
            )

    def for_second_stage(self) -> Recipe:
        """The recipe of the second stage alone."""
        if self.second_stage is None:
            raise MemberError("the recipe has no second stage: set recipe.second_stage")
        return replace(
            self,
            epochs=self.second_stage.epochs,
            lr=self.second_stage.lr,
            batch_size=self.second_stage.batch_size or self.batch_size,
            unweighted_epochs=0,
            augment=tuple(op for op in self.augment if not isinstance(op, Mosaic)),
            second_stage=None,
        )


@dataclass(frozen=True)
class NetworkSettings(KindSettings):
    """What members that are networks share: how the network is trained, and whether it predicts temperatures."""

    temperature: Temperature = field(default="none", kw_only=True)
    """Whether the network predicts a temperature per row, or per row and class, by which its logits are divided."""
    recipe: Recipe = field(default_factory=Recipe, kw_only=True)
    """How the network is trained."""
