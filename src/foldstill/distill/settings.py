"""Settings of a student: its network, its training, and its teacher. Importing this module imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from foldstill.base_models.eeg_member import EegMember
from foldstill.base_models.losses import DIST, DKD, JSD, KL, MSE, LossSettings, Standardised
from foldstill.base_models.member import Member
from foldstill.base_models.recipes import Recipe
from foldstill.base_models.timm_member import TimmMember
from foldstill.base_models.torch_member import TorchMember
from foldstill.compare.comparison import WITHOUT_TEACHER
from foldstill.distill.mixes import FixedMix, MixSettings, TargetWeight, VotesOnly
from foldstill.distill.synthetic_rows import SyntheticRows
from foldstill.distill.targets import Ablation
from foldstill.errors import DistillError
from foldstill.files import name_problems
from foldstill.settings import ByKind, Settings

ViewSource = Literal["auto", "identity", "live", "bank"]
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


PATIENT = Recipe(epochs=100, ema=0.998)
"""How a student is trained where nothing else is asked for: longer than its teachers, and averaged over many steps, so
that seeds differ less."""

OF_NETWORKS: Mapping[str, Any] = {
    "network": "small",
    "module": "",
    "image_size": None,
    "pretrained": False,
    "stem_stride": None,
    "options": {},
    "recipe": PATIENT,
    "views": "auto",
    "features": None,
    "uncertainty": False,
    "loss": "kl",
    "temperature": 1.0,
}
"""Settings that only a student that is a network has, with their defaults."""


@dataclass(frozen=True)
class FeatureHint(Settings):
    """Match the student's features before its last layer with those of a member that reads the same view.

    Examples
    --------
    >>> FeatureHint("resnet").weight
    1.0
    """

    member: str
    """Name of the member whose features the student should match."""
    weight: float = 1.0
    """Weight of the mean squared distance of features relative to the loss; features have unit variance."""

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise DistillError(f"features.weight must be positive, got {self.weight}: leave `features` out for no hint")


@dataclass(frozen=True)
class StudentSettings(Settings):
    """A compact model that learns from a combination of many members: a network, or a member of any other kind.

    In an experiment file, `kind` may also be that of a member that is no network, whose keys stand beside those below,
    as in `kind = "lightgbm"` with `rounds = 200`.

    Examples
    --------
    >>> StudentSettings(network="nano").member().network
    'mobilenetv4_conv_small_050'
    """

    files: ClassVar[tuple[str, ...]] = ("pretrained", "module")

    network: str = "small"
    """nano, small, base, quality, eeg (the network of members of that kind), or any name in `timm.list_models()`."""
    kind: Literal["timm", "eeg", "torch"] | None = None
    """Kind of member that the student is; by default eeg for `network = "eeg"`, timm for other networks."""
    module: str = ""
    """With kind = "torch": a file and a class or function in it, such as "my_models.py:Net", as for members of that
    kind. A relative path starts at the folder of the experiment file."""
    name: str = "student"
    view: str = "image"
    """The view it reads, whatever its teachers read."""
    image_size: int | tuple[int, int] | None = None
    """Side, or height and width, that images are resized to; by default they keep their size."""
    pretrained: bool | str = False
    """Whether to start from timm's pretrained weights, which are downloaded once; or the path of a file that holds them
    (.safetensors, .pth). A relative path starts at the folder of the experiment file."""
    stem_stride: int | None = None
    """Stride of the first convolution; 1 keeps the resolution of small images. The network's own by default."""
    options: Mapping[str, str | int | float | bool | list[int]] = field(default_factory=dict)
    """Further arguments of the network: of `timm.create_model`, such as channels = [24, 32, 48, 96], or of eeg."""
    learner: Annotated[Member, ByKind("member")] | None = None
    """A member that is no network, which the student is then. In a file, give its `kind` and keys in the table of the
    student instead."""
    recipe: Recipe = PATIENT
    """How the student is trained, by default for 100 epochs and with the average of its weights (ema = 0.998). Its loss
    and row_weight are for members; those of the student are below."""
    teacher: str = "auto"
    """Name of the combination whose held-out predictions teach it."""
    calibrate_members: bool = True
    """Whether to calibrate each member with its own temperature, fitted to held-out votes, before the teacher is
    fitted. The combinations that are compared stay as they were fitted; only the targets of the student change."""
    mix: Annotated[MixSettings, ByKind()] = field(default_factory=FixedMix)
    """How teacher and votes become one target. The default is half and half, which on real votes had a better
    likelihood than pseudo-votes."""
    row_weight: TargetWeight = "effective"
    """Weight of a row: by the effective number of its votes, equal (none), by votes, or by log1p of votes."""
    loss: LossName = "kl"
    """The loss between student and target; all but kl are for comparison."""
    temperature: float = 1.0
    """Softens target and student in kl, standardised, dist, dkd and jsd; 1 without a teacher. Above 1, targets of
    few votes stay too confident, which on real votes cost more than softening gained."""
    unlabelled: str = ""
    """Further inputs without votes, in the form that `foldstill predict` reads, for which the teacher alone gives the
    targets; a relative path starts at the experiment file."""
    synthetic: SyntheticRows | None = None
    """Synthetic rows for the teacher to label, for students of a feature table; none by default: they helped one
    decision tree and harmed boosted trees (LOG.md)."""
    views: ViewSource = "auto"
    """Whose prediction is the target of an augmented image: that of the row as it is (identity), or that of the same
    augmented image, computed in every epoch (live) or once for each of `bank_views` recurring epochs (bank). auto is
    bank where the recipe augments and all members are networks that read the student's view, and identity elsewhere."""
    bank_views: int = 32
    """Number of different augmentations per row in a bank."""
    features: FeatureHint | None = None
    """Features of a member to match as well; off by default."""
    uncertainty: bool = False
    """Whether to fit a precision head: the student then also predicts how far its members would disagree, and its
    scores stay the same."""
    foreign: str = ""
    """Inputs of another kind than the data, in the form that `foldstill predict` reads; with uncertainty = true,
    reports how often the student is less certain about them than about locked rows. A relative path starts at the
    experiment file."""
    seeds: int = 3
    """Number of students, each trained from its own seed; scores are their means, with the standard deviation. One is
    faster and proves nothing: seeds often differ by more than a teacher gains."""
    without_teacher: bool = True
    """Whether to also train the same student on the votes alone, at the same budget."""
    control_arms: bool = False
    """Whether to also train it with other teachers: the plain average or a stacker, whichever is not its teacher; a
    teacher that saw the rows; a teacher whose rows are permuted within a class. Each costs as much as the student."""
    cross_validate: CrossValidation = "none"
    """Whether to also train one student per fold, scored on the rows of that fold. pairs: without a leak, for which
    every member is also trained without every two folds; naive: optimistic, because the teachers saw the votes the
    student is scored on."""
    ablation: Ablation = "none"
    """For comparison only. in_sample: the teacher saw the rows; class_permuted: the teacher's rows are permuted
    within each class."""

    def __post_init__(self) -> None:
        self._check_learner()
        if problems := name_problems("student", [self.name]):
            raise DistillError(problems[0])
        if self.temperature <= 0:
            raise DistillError(
                f"temperature must be positive, got {self.temperature}: 1 leaves the targets as they are"
            )
        self._check_kind()
        if self.seeds < 1:
            raise DistillError(f"seeds must be 1 or more, got {self.seeds}")
        if self.bank_views < 1:
            raise DistillError(f"bank_views must be 1 or more, got {self.bank_views}: a third of the epochs is usual")
        if self.teachers_see_views and (self.ablation != "none" or isinstance(self.mix, VotesOnly)):
            raise DistillError(
                f"views = {self.views!r} needs the models that did not see a row, "
                'so it cannot be combined with an ablation or a mix of votes only: set views = "identity"'
            )
        if isinstance(self.mix, VotesOnly) and self.ablation != "none":
            raise DistillError(
                f"the ablation {self.ablation!r} changes the teacher, and a mix of votes has none: "
                "leave one of them out"
            )
        if self.loss not in get_args(LossName):
            raise DistillError(f"loss must be one of {list(get_args(LossName))}, got {self.loss!r}")
        for key, usual in (("early_stopping", None), ("second_stage", None), ("sampling", "uniform")):
            if getattr(self.recipe, key) != usual:
                raise DistillError(
                    f"a student trains a fixed number of epochs on every row, got recipe.{key} = "
                    f"{getattr(self.recipe, key)}: set it in the recipe of each member instead"
                )
        if self.control_arms and (isinstance(self.mix, VotesOnly) or self.ablation != "none"):
            raise DistillError(
                "control_arms train the student with other teachers, and this student has no teacher or an ablated "
                "one: leave control_arms out"
            )
        self._check_further_rows()
        if self.foreign and not self.uncertainty:
            raise DistillError(
                "foreign inputs test the uncertainty of a student: set uncertainty = true, or leave `foreign` out"
            )
        taught_elsewhere = self.ablation == "in_sample" or self.teachers_see_views or bool(self.unlabelled)
        taught_elsewhere = taught_elsewhere or self.features is not None or self.synthetic is not None
        if self.cross_validate != "none" and taught_elsewhere:
            raise DistillError(
                f"student {self.name!r}: cross_validate = {self.cross_validate!r} needs held-out targets of rows as "
                'they are, without unlabelled or synthetic rows and features: set cross_validate = "none" for this '
                "student"
            )
        if self.loss == "mse" and self.temperature != 1.0:
            raise DistillError("the mse of logits has no temperature: leave `temperature` out")

    def _check_further_rows(self) -> None:
        """Refuse rows without votes where nobody, or the wrong teacher, gives their targets."""
        if self.unlabelled and isinstance(self.mix, VotesOnly):
            raise DistillError(
                "the teacher alone gives the targets of unlabelled rows, and a mix of votes has no teacher: "
                "leave `unlabelled` out"
            )
        if self.synthetic is not None and (
            isinstance(self.mix, VotesOnly) or self.ablation != "none" or self.unlabelled
        ):
            raise DistillError(
                "the teacher alone, by models that never saw them, gives the targets of synthetic rows: leave "
                "`synthetic` out beside a mix of votes, an ablation and `unlabelled`"
            )

    def _check_kind(self) -> None:
        """Refuse settings of another kind of student."""
        if (self.kind == TorchMember.kind) != bool(self.module):
            raise DistillError(
                f'student {self.name!r}: kind = "torch" and `module` go together, got kind {self.kind!r} and module '
                f'{self.module!r}: set both, as in module = "my_models.py:Net"'
            )
        of_timm = {"image_size": self.image_size, "pretrained": self.pretrained, "stem_stride": self.stem_stride}
        given = sorted(name for name, value in of_timm.items() if value)
        if self.kind == TorchMember.kind and (self.network != StudentSettings.network or given):
            raise DistillError(
                f"student {self.name!r}: {', '.join(given or ['network'])} would have no effect on a module of your "
                "own: leave it out"
            )
        if self.kind == EegMember.kind and self.network not in (StudentSettings.network, EegMember.kind):
            raise DistillError(f"student {self.name!r}: network = {self.network!r} is no eeg network: leave it out")

    def _check_learner(self) -> None:
        """A learner takes the place of the settings of a network, and only networks have views, losses and features."""
        if self.learner is None:
            return
        if len(self.learner.views) != 1:
            raise DistillError(f"a student reads one view, got a learner that reads {list(self.learner.views)}")
        object.__setattr__(self, "view", self.learner.views[0])
        if self.learner.uses_device:
            raise DistillError(
                f"student {self.name!r}: a network is named with kind, network or module, got the learner "
                f"{self.learner.name!r} of kind {self.learner.kind!r}: set these instead"
            )
        given = [name for name, value in OF_NETWORKS.items() if getattr(self, name) != value]
        if given:
            raise DistillError(
                f"student {self.name!r} is a member of kind {self.learner.kind!r}, for which {given[0]} has no effect: "
                "leave it out"
            )

    @property
    def teachers_see_views(self) -> bool:
        """Whether teachers predict the augmented images themselves."""
        return self.views in ("live", "bank")

    @property
    def cross_validated_name(self) -> str:
        """Name of the cross-validated student; a name with an optimistic score begins with that word wherever it is
        printed."""
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
            views="auto",
            uncertainty=False,
            foreign="",
            ablation="none",
            unlabelled="",
            synthetic=None,
            features=None,
            control_arms=False,
        )

    def controls(self, combinations: Sequence[str]) -> "tuple[StudentSettings, ...]":
        """The same student with other teachers, if `control_arms` is set; `combinations` names the combinations of the
        run.

        A teacher that saw the rows, or whose rows are permuted, cannot predict augmented images, so these students
        learn from rows as they are. For a student of live or banked teachers, one such student with the usual teacher
        joins them, so that the effect of the teacher can be compared.
        """
        if not self.control_arms:
            return ()
        same = replace(self, control_arms=False, without_teacher=False, uncertainty=False, foreign="")
        of_rows = replace(same, views="identity") if self.teachers_see_views else same
        stackers = [name for name in ("auto", *combinations) if name in combinations and name != "average"]
        other = "average" if self.teacher != "average" else next(iter(stackers), "")
        return (
            *([replace(same, name=f"{other} as teacher", teacher=other)] if other in combinations else []),
            *([replace(of_rows, name="teacher of whole rows")] if self.teachers_see_views else []),
            replace(of_rows, name="in-sample teacher", ablation="in_sample", cross_validate="none", synthetic=None),
            replace(of_rows, name="permuted teacher", ablation="class_permuted", synthetic=None),
        )

    @property
    def network_name(self) -> str:
        """What the student is called in tables and on the card: its network, its module or the kind of its learner."""
        if self.learner is not None:
            return self.learner.title
        return Path(self.module).name if self.module else self.network

    @property
    def taught_recipe(self) -> Recipe:
        """The recipe with the student's loss and without weights by votes, which are in the weights of targets."""
        return replace(self.recipe, loss=self._loss(), row_weight="none", unweighted_epochs=0)

    def member(self) -> Member:
        """The member that the student is, with the student's loss and without weights by votes."""
        recipe = self.taught_recipe
        if self.learner is not None:
            learner: Any = self.learner
            renamed: Member = replace(learner, name=self.name)
            return renamed
        if self.kind == TorchMember.kind:
            return TorchMember(self.name, self.module, view=self.view, options=self.options, recipe=recipe)
        if EegMember.kind in (self.kind, self.network):
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
