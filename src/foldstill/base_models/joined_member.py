"""Members that join trained members. Importing this module imports no torch.

A `JoinedMember` names the members it joins; `resolve` finds them and makes a `Joined`, which can be trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from foldstill.base_models.architecture import InputShape
from foldstill.base_models.eeg_member import EegMember
from foldstill.base_models.member import MadeFromSettings, Member
from foldstill.base_models.recipes import NetworkSettings, Recipe, check_name, require
from foldstill.base_models.timm_member import TimmMember
from foldstill.base_models.torch_member import TorchMember
from foldstill.data.augmentation import RowMixing
from foldstill.data.training import FitContext, TrainingSet
from foldstill.errors import MemberError

if TYPE_CHECKING:
    from foldstill.base_models.joined_network import JoinedNetwork
    from foldstill.base_models.network_model import NetworkModel

Part = TimmMember | EegMember | TorchMember
"""The members that can be joined: networks of one view."""


@dataclass(frozen=True)
class JoinedMember(NetworkSettings, kind="joined"):
    """The average of several trained networks, corrected by one head on all their features.

    The average is the geometric one of the networks' predictions. In each fold it starts from the weights its members
    got in that fold, which saw the rows it may see and no others. The correction starts at 0, so training leaves the
    average only where that pays. Each view is scaled and augmented as in its member's recipe; what several views have
    in common (such as a swap of hemispheres) is done to the same rows of all views, and mixing of rows is set in this
    member's own recipe. The features of rows that its members were trained on look more confident than those of new
    rows, and early stopping judges on such rows too.

    Examples
    --------
    >>> member = JoinedMember("joined", members=("picture", "signal"))
    >>> member.hidden
    128
    """

    name: str
    members: tuple[str, ...]
    """Names of two or more members, each of which reads one view."""
    backbone_rate: float = 0.0
    """Learning rate of the joined networks, as a share of the recipe's; 0 does not change them."""
    hidden: int = 128
    """Width of the layer between features and classifier, 0 for none; with `blocks`, the width of every node."""
    blocks: int = 0
    """Number of attention blocks between the nodes of all networks: each channel of an eeg member is one node, any
    other network is one node. 0 concatenates one feature vector per network."""
    heads: int = 4
    """Number of attention heads in the blocks."""
    drop_rate: float = 0.1
    """Dropout rate on the features and before the classifier."""
    family: str = "joined"
    """Group of similar members, within which combiners can tie weights."""
    recipe: Recipe = field(default_factory=Recipe, kw_only=True)
    """How the head, and with a backbone_rate everything, is trained."""

    def __post_init__(self) -> None:
        check_name(self.name)
        require(
            len(set(self.members)) == len(self.members) > 1,
            f"member {self.name!r} joins {list(self.members)}: name two different members or more",
        )
        require(self.backbone_rate >= 0, f"backbone_rate must not be negative, got {self.backbone_rate}")
        require(self.hidden >= 0, f"hidden must not be negative, got {self.hidden}: 0 leaves the layer out")
        require(self.blocks >= 0, f"blocks must not be negative, got {self.blocks}: 0 joins one vector a network")
        require(
            not self.blocks or (self.hidden > 0 and self.heads > 0 and self.hidden % self.heads == 0),
            f"member {self.name!r}: with blocks, hidden is the width of every node, a multiple of the heads, got "
            f"{self.hidden} and {self.heads} heads",
        )
        require(0 <= self.drop_rate < 1, f"drop_rate must be in [0, 1), got {self.drop_rate}")
        stage = self.recipe.second_stage
        require(
            stage is None or not stage.thaws or self.backbone_rate > 0,
            f"member {self.name!r}: second_stage.thaws trains the joined networks, backbone_rate = 0 leaves them as "
            "they are: set a backbone_rate such as 1.0, or leave `thaws` out",
        )
        single = [op.kind for op in self.recipe.augment if not isinstance(op, RowMixing)]
        require(
            not single,
            f"member {self.name!r}: recipe.augment of a joined member mixes rows of all views alike (mixup, cutmix, "
            "...), "
            f"got {single}: these belong into the recipe of the member that reads the view; set augment = [] here",
        )

    @classmethod
    def example(cls) -> Joined:
        """A joined member together with its parts."""
        recipe = Recipe(epochs=2, batch_size=8)
        parts = (TimmMember.example(), EegMember.example())
        return Joined(cls("joined", tuple(part.name for part in parts), hidden=8, recipe=recipe), parts)


@dataclass(frozen=True)
class Joined(MadeFromSettings):
    """A joined member with its parts, in the order in which the settings name them: what can be trained."""

    settings: JoinedMember
    parts: tuple[Part, ...]

    title: ClassVar[str] = JoinedMember.title
    summary: ClassVar[str] = JoinedMember.summary
    uses_device: ClassVar[bool] = True

    @property
    def recipe(self) -> Recipe:
        return self.settings.recipe

    @property
    def epochs(self) -> int:
        return self.recipe.total_epochs

    @property
    def views(self) -> tuple[str, ...]:
        return tuple(view for part in self.parts for view in part.views)

    def check(self, training_set: TrainingSet) -> float:
        from foldstill.base_models.fitting import check_network

        return check_network(self, training_set)

    def fit(self, training_set: TrainingSet, context: FitContext) -> NetworkModel:
        """Train from the parts' models of the same fold, which lie in `../../<part>/<fold>` beside the context's
        folder."""
        from foldstill.base_models.fitting import first_weights, fit_phases
        from foldstill.base_models.joined_network import JoinedNetwork

        if context.folder is None:
            raise MemberError(
                f"member {self.name!r} starts from trained members beside its folder: give the context a folder"
            )
        members, fold = context.folder.parent.parent, context.folder.name
        joined = self._with_code(context)
        network = first_weights(joined, training_set, context.seed)
        assert isinstance(network, JoinedNetwork), "a joined member builds a joined network"
        network.adopt([part.load(members / part.name / fold).network.state_dict() for part in self.parts])
        model = fit_phases(joined, network, training_set, context, [part.recipe.augment for part in self.parts])
        return replace(model, code=joined._kept_code())

    def load(self, folder: Path) -> NetworkModel:
        """The model in a folder, built by the copies of the parts' files that were kept there."""
        from foldstill.base_models.network_model import load_network

        parts = [p.with_copy(folder / _code_name(p)) if isinstance(p, TorchMember) else p for p in self.parts]
        joined = replace(self, parts=tuple(parts))
        model = load_network(folder, joined.build)
        return replace(model, code=joined._kept_code())

    def _with_code(self, context: FitContext) -> Self:
        """The member with the code of the files that its parts name."""
        parts = [
            part.with_code(context.made_from.get(f"file.{part.name}.module")) if isinstance(part, TorchMember) else part
            for part in self.parts
        ]
        return replace(self, parts=tuple(parts))

    def _kept_code(self) -> dict[str, str]:
        own = [part.kept_code(_code_name(part)) for part in self.parts if isinstance(part, TorchMember)]
        return {name: text for each in own for name, text in each.items()}

    def build(self, shapes: Sequence[InputShape], n_classes: int) -> JoinedNetwork:
        """A fresh network of these parts for rows of these shapes, initialised from torch's global generator."""
        from foldstill.base_models.heads import Head
        from foldstill.base_models.joined_network import Attended, JoinedNetwork, SideBySide, count_nodes

        settings = self.settings
        # The parts' weights come from the fold they were trained in, so nothing is downloaded.
        networks, nodes = [], []
        for part, shape in zip(self.parts, shapes, strict=True):
            networks.append(part.build_untrained([shape], n_classes))
            nodes.append(count_nodes(networks[-1], shape, by_node=settings.blocks > 0))
        width = sum(features for _, features in nodes)
        between: Attended | SideBySide
        if settings.blocks:
            between = Attended(nodes, settings.hidden, settings.blocks, settings.heads, settings.drop_rate)
        else:
            between = SideBySide(width, settings.hidden, settings.drop_rate)
        head = Head(settings.hidden or width, n_classes, settings.temperature, settings.drop_rate)
        return JoinedNetwork(networks, [features for _, features in nodes], between, head, settings.backbone_rate)


def _code_name(part: TorchMember) -> str:
    """The copy of the file of a part beside a joined model."""
    return f"module-{part.name}.py"


AnyMember = Member | JoinedMember
"""A member, or the settings of one that finds its parts among the others."""


def resolve(members: Sequence[AnyMember]) -> tuple[Member, ...]:
    """The members in their order, each joined member together with the members it names.

    Raises MemberError for names that do not exist or that belong to a joined member.
    """
    by_name = {m.name: m for m in members}
    return tuple(_with_parts(m, by_name) if isinstance(m, JoinedMember) else m for m in members)


def _with_parts(member: JoinedMember, by_name: dict[str, AnyMember]) -> Joined:
    parts = []
    for name in member.members:
        part = by_name.get(name)
        if part is None:
            raise MemberError(
                f"member {member.name!r} joins {name!r}, which is none of {sorted(by_name)}: name one of these"
            )
        if isinstance(part, JoinedMember) or part.parts:
            raise MemberError(
                f"member {member.name!r} joins {name!r}, which is a joined member itself: "
                "name the members it is made of"
            )
        if not isinstance(part, Part):
            raise MemberError(
                f"member {member.name!r} joins {name!r}, which is no network (kind {part.kind!r}): "
                "name timm, eeg or torch members"
            )
        parts.append(part)
    return Joined(member, tuple(parts))
