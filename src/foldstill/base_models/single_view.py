"""What members share that train one network on one view. Importing this module imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from foldstill.base_models.architecture import Shape
from foldstill.base_models.recipes import Recipe
from foldstill.data.training import FitContext, TrainingSet

if TYPE_CHECKING:
    from foldstill.base_models.member import Member
    from foldstill.base_models.network_model import NetworkModel
    from foldstill.base_models.networks import Network


class SingleViewMember(ABC):
    """Base of members that train one network on one view: a subclass builds the network."""

    uses_device: ClassVar[bool] = True

    view: str
    recipe: Recipe

    @property
    def views(self) -> tuple[str, ...]:
        return (self.view,)

    @property
    def parts(self) -> tuple[Member, ...]:
        return ()

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
        from foldstill.base_models.network_model import load_network

        return load_network(folder, self.build_untrained, self.recipe.precision)

    @abstractmethod
    def build(self, shapes: Sequence[Shape], n_classes: int) -> Network:
        """A fresh network for rows of this one shape, initialised from torch's global generator."""

    def build_untrained(self, shapes: Sequence[Shape], n_classes: int) -> Network:
        """A network whose weights are read from a file next, so that none need to be downloaded."""
        return self.build(shapes, n_classes)
