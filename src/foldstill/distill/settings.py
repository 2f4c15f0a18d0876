"""Settings of a student: its network, its training, and who teaches it. Imports neither torch nor pydantic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal, get_args

from foldstill.base_models.eeg_member import EegMember
from foldstill.base_models.losses import DIST, DKD, JSD, KL, MSE, LossSettings, Standardised
from foldstill.base_models.recipes import Recipe
from foldstill.base_models.timm_member import TimmMember
from foldstill.compare.comparison import WITHOUT_TEACHER
from foldstill.distill.mixes import FixedMix, MixSettings, TargetWeight, VotesOnly
from foldstill.distill.targets import Ablation
from foldstill.errors import DistillError
from foldstill.settings import ByKind, Settings

ViewSource = Literal["identity", "live", "bank"]
CrossValidation = Literal["none", "pairs", "naive"]
LossName = Literal["kl", "mse", "standardised", "dist", "dkd", "jsd"]

SIZES = {
    "nano": "mobilenetv4_conv_small_050",
    "small": "mobilenetv4_conv_small",
    "base": "efficientnet_lite0",
    "quality": "efficientnet_b0",
}
"""Named sizes: 1.0, 2.5, 3.4 and 4.0 M parameters. The first three have plain activations and no squeeze-excite, so
int8 makes them faster; `quality` gains nothing from it."""


@dataclass(frozen=True)
class FeatureHint(Settings):
    """The student's features before its last layer are drawn to those of a member that reads the same view."""

    member: str
    """Whose fold model that never saw the row is asked about the very view that the student sees."""
    weight: float = 1.0
    """What the mean squared distance of features counts beside the loss; features have unit variance."""

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise DistillError(f"features.weight must be positive, got {self.weight}: leave `features` out for no hint")


@dataclass(frozen=True)
class StudentSettings(Settings):
    """A compact network taught by a combination of many."""

    network: str = "small"
    """nano, small, base, quality, eeg (the 1-D network of members of that kind), or any name out of `timm.list_models()`."""
    name: str = "student"
    """Its name in tables and reports."""
    view: str = "image"
    """The one view it reads, whatever its teachers read."""
    image_size: int | tuple[int, int] | None = None
    """Side, or height and width, that images are resized to; unset takes them as they are."""
    pretrained: bool = False
    """Start from timm's weights, which are downloaded once."""
    stem_stride: int | None = None
    """Stride of the first convolution; 1 keeps the resolution of small images."""
    options: Mapping[str, str | int | float | bool | list[int]] = field(default_factory=dict)
    """Further arguments of the network: of `timm.create_model`, such as channels = [24, 32, 48, 96], or of eeg."""
    recipe: Recipe = field(default_factory=Recipe)
    """How it is trained. Its loss and row_weight are those of members; the student's are below."""
    teacher: str = "auto"
    """The combination whose held-out predictions teach it."""
    calibrate_members: bool = True
    """Bring each member to its own temperature, fitted to held-out votes, before the combination is fitted to teach.

    Arms of a comparison stay as they were fitted; only what the student is taught changes.
    """
    mix: Annotated[MixSettings, ByKind()] = field(default_factory=FixedMix)
    """How teacher and votes become one target; half and half, which on real votes beat pseudo-votes by likelihood."""
    row_weight: TargetWeight = "effective"
    """What a row counts: by the effective number of its votes, equally (none), by votes, or by log1p of votes."""
    loss: LossName = "kl"
    """What is minimised against the targets; all but kl are for comparison."""
    temperature: float = 1.0
    """Softens target and student in kl, standardised, dist, dkd and jsd; 1 without a teacher.

    Above 1 targets of few votes stay too sure, which on real votes cost more than softening gained.
    """
    unlabelled: str = ""
    """Further inputs that nobody voted on, in the form `foldstill predict` reads, from which the student learns what
    its teacher says of them; a relative path starts at the experiment file."""
    views: ViewSource = "identity"
    """What the teacher says of an augmented image: what it says of the row as it is (identity), or of that very image,
    asked anew each time (live) or once for each of `bank_views` recurring epochs (bank)."""
    bank_views: int = 32
    """Number of different views of each row in a bank."""
    features: FeatureHint | None = None
    """Learn from the features of a member as well; off by default."""
    uncertainty: bool = False
    """Fit a precision head: the student also says how far its members would disagree, and its scores stay the same."""
    foreign: str = ""
    """Inputs of another kind than the data, in the form `foldstill predict` reads: asked with uncertainty = true how often
    the student is less sure of them than of locked rows. A relative path starts at the experiment file."""
    seeds: int = 3
    """How many students are trained, each from its own seed; scores are their means, with their spread. One is quicker,
    and proves nothing: seeds often differ by more than a teacher is worth."""
    without_teacher: bool = True
    """Also train the same student on the votes alone, at the same budget."""
    control_arms: bool = False
    """Also train it with other teachers: plain average or stacker, whichever does not teach it; one that saw the rows; one
    whose rows are permuted within a class. Each costs what the student costs."""
    cross_validate: CrossValidation = "none"
    """Also score one student a fold on the rows of that fold. pairs: without a leak, for which every member is trained
    without every two folds as well; naive: optimistic, because the student's teachers saw the votes it is scored on."""
    ablation: Ablation = "none"
    """in_sample: the teacher saw the rows; class_permuted: teacher rows swapped within a class. For comparison only."""

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise DistillError(f"a student's name must be usable as a folder name, got {self.name!r}")
        if self.temperature <= 0:
            raise DistillError(
                f"temperature must be positive, got {self.temperature}: 1 leaves the targets as they are"
            )
        if self.seeds < 1:
            raise DistillError(f"seeds must be 1 or more, got {self.seeds}")
        if self.bank_views < 1:
            raise DistillError(f"bank_views must be 1 or more, got {self.bank_views}: a third of the epochs is usual")
        if self.views != "identity" and (self.ablation != "none" or isinstance(self.mix, VotesOnly)):
            raise DistillError(
                f"views = {self.views!r} asks the models that did not see a row: it goes with neither an ablation "
                "nor a "
                "mix of votes only"
            )
        if isinstance(self.mix, VotesOnly) and self.ablation != "none":
            raise DistillError(
                f"the ablation {self.ablation!r} is of a teacher, and a mix of votes has none: leave one out"
            )
        if self.loss not in get_args(LossName):
            raise DistillError(f"loss must be one of {list(get_args(LossName))}, got {self.loss!r}")
        for key, usual in (("early_stopping", None), ("second_stage", None), ("sampling", "uniform")):
            if getattr(self.recipe, key) != usual:
                raise DistillError(
                    f"a student trains a fixed number of epochs on every row, got recipe.{key} = "
                    f"{getattr(self.recipe, key)}: "
                    "set it in the recipe of each member instead"
                )
        if self.control_arms and (isinstance(self.mix, VotesOnly) or self.ablation != "none"):
            raise DistillError(
                "control_arms are the student with other teachers, and this one has no usual one: drop one"
            )
        if self.unlabelled and isinstance(self.mix, VotesOnly):
            raise DistillError("unlabelled rows are taught by the teacher alone, and a mix of votes has none: drop one")
        if self.foreign and not self.uncertainty:
            raise DistillError("foreign inputs are for a student that says how sure it is: set uncertainty = true")
        taught_elsewhere = self.ablation == "in_sample" or self.views != "identity" or bool(self.unlabelled)
        taught_elsewhere = taught_elsewhere or self.features is not None
        if self.cross_validate != "none" and taught_elsewhere:
            raise DistillError(
                f"student {self.name!r}: cross_validate = {self.cross_validate!r} goes with held-out targets of identity "
                'views, and with neither unlabelled rows nor features: set cross_validate = "none" for this student'
            )
        if self.loss == "mse" and self.temperature != 1.0:
            raise DistillError("the mse of logits has no temperature: leave `temperature` out")

    @property
    def cross_validated_name(self) -> str:
        """Its name where it is cross-validated; that of an optimistic score says so first, wherever it is printed."""
        if self.cross_validate == "naive" and not isinstance(self.mix, VotesOnly):
            return f"optimistic {self.name} (naive cross-validation)"
        return f"cross-validated {self.name}"

    def untaught(self) -> "StudentSettings":
        """The same student without a teacher, at the same budget.

        Its temperature is 1: the mean over annotators of softened votes is not their softened mean (a single vote
        stays one-hot at any T), so a student of few votes would end too sure at T > 1.
        """
        return replace(
            self,
            name=self.name + WITHOUT_TEACHER,
            mix=VotesOnly(),
            loss="kl",
            temperature=1.0,
            views="identity",
            uncertainty=False,
            foreign="",
            ablation="none",
            unlabelled="",
            features=None,
            control_arms=False,
        )

    def controls(self, combinations: Sequence[str]) -> "tuple[StudentSettings, ...]":
        """The same student with other teachers, where `control_arms` asks for them; `combinations` are those there are.

        A teacher that saw the rows, or whose rows are permuted, has nothing to say of augmented views, so those arms learn
        from rows as they are; a student of live or banked views is then joined by one of such rows, to compare them with.
        """
        if not self.control_arms:
            return ()
        same = replace(self, control_arms=False, without_teacher=False, uncertainty=False, foreign="")
        of_rows = replace(same, views="identity")
        stackers = [name for name in ("auto", *combinations) if name in combinations and name != "average"]
        other = "average" if self.teacher != "average" else next(iter(stackers), "")
        return (
            *([replace(same, name=f"{other} as teacher", teacher=other)] if other in combinations else []),
            *([replace(of_rows, name="teacher of whole rows")] if self.views != "identity" else []),
            replace(of_rows, name="in-sample teacher", ablation="in_sample", cross_validate="none"),
            replace(of_rows, name="permuted teacher", ablation="class_permuted"),
        )

    def member(self) -> TimmMember | EegMember:
        """The member that the student is: its network, with the student's loss and without weights by votes."""
        recipe = replace(self.recipe, loss=self._loss(), row_weight="none", unweighted_epochs=0)
        if self.network == EegMember.kind:
            return self._eeg_member(recipe)
        return TimmMember(
            name=self.name,
            network=SIZES.get(self.network, self.network),
            view=self.view,
            image_size=self.image_size,
            pretrained=self.pretrained,
            stem_stride=self.stem_stride,
            options=self.options,
            recipe=recipe,
        )

    def _loss(self) -> LossSettings:
        if self.loss == "mse":
            return MSE()
        kinds = {kind.kind: kind for kind in (KL, Standardised, DIST, DKD, JSD)}
        return kinds[self.loss](temperature=self.temperature)

    def _eeg_member(self, recipe: Recipe) -> EegMember:
        of_images = {"image_size": self.image_size, "pretrained": self.pretrained, "stem_stride": self.stem_stride}
        given = sorted(key for key, value in of_images.items() if value)
        known = {each.name for each in fields(EegMember)} - {"name", "kind", "view", "recipe", "family"}
        unknown = sorted(set(self.options) - known)
        if given or unknown:
            raise DistillError(
                f'the network "eeg" reads signals and takes the options {sorted(known)}, got {[*given, *unknown]}: '
                "leave them out"
            )
        options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in self.options.items()}
        return EegMember(name=self.name, view=self.view, recipe=recipe, **options)
