"""A torch module of the caller as a member, so that the engine trains it in place. Importing this imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from foldstill.base_models.architecture import Shape, channels_and_size
from foldstill.base_models.member import Member
from foldstill.base_models.recipes import Recipe
from foldstill.data.training import FitContext, TrainingSet

if TYPE_CHECKING:
    from torch import nn

    from foldstill.base_models.network_model import NetworkModel
    from foldstill.base_models.networks import Network


@dataclass(frozen=True, eq=False)
class ModuleMember:
    """A module that takes scaled inputs of one view and gives logits."""

    name: str
    module: nn.Module
    view: str
    recipe: Recipe

    title: ClassVar[str] = "torch module"
    summary: ClassVar[str] = "A torch module of your own, trained in place."
    kind: ClassVar[str] = "module"
    family: ClassVar[str] = "module"
    parts: ClassVar[tuple[Member, ...]] = ()

    @property
    def views(self) -> tuple[str, ...]:
        return (self.view,)

    @property
    def epochs(self) -> int:
        return self.recipe.total_epochs

    def check(self, training_set: TrainingSet) -> float:
        from foldstill.base_models.fitting import check_network

        return check_network(self, training_set)

    def fit(self, training_set: TrainingSet, context: FitContext) -> NetworkModel:
        from foldstill.base_models.fitting import fit_member

        return fit_member(self, training_set, context)

    def load(self, folder: Path) -> NetworkModel:
        """The model in a folder; its weights are read into the module."""
        from foldstill.base_models.network_model import load_network

        return load_network(folder, self.build, self.recipe.precision)

    def build(self, shapes: Sequence[Shape], n_classes: int) -> Network:
        """The module behind an input layer that scales the rows."""
        from foldstill.base_models.networks import Network

        (shape,) = shapes
        return Network(self.module, channels_and_size(shape)[0])
