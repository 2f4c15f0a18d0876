"""What members share that train one network on one view. Importing this module imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from foldstill.base_models.architecture import InputShape, channels_and_size
from foldstill.base_models.named_files import FOLD, files_of_folds
from foldstill.base_models.recipes import Recipe
from foldstill.data.feature_form import FeatureForm
from foldstill.data.folds import FoldPlan
from foldstill.data.labels import Labels
from foldstill.data.training import FitContext, TrainingSet
from foldstill.errors import MemberError

if TYPE_CHECKING:
    from foldstill.base_models.member import Member
    from foldstill.base_models.network_model import NetworkModel
    from foldstill.base_models.networks import Network


class SingleViewMember(ABC):
    """Base of members that train one network on one view: a subclass builds the network."""

    uses_device: ClassVar[bool] = True

    name: str
    view: str
    recipe: Recipe
    weights: str = ""
    """Trained weights, one file per fold, where nothing is trained here."""

    @property
    def views(self) -> tuple[str, ...]:
        return (self.view,)

    @property
    def parts(self) -> tuple[Member, ...]:
        return ()

    @property
    def epochs(self) -> int:
        return 1 if self.weights else self.recipe.total_epochs

    @property
    def made_elsewhere(self) -> bool:
        return bool(self.weights)

    def for_folds(self, labels: Labels, plan: FoldPlan) -> list[Self]:
        """The member with the weights of each fold; raises MemberError where there is no file for a fold."""
        if FOLD not in self.weights:
            raise MemberError(
                f"member {self.name!r}: weights names {self.weights} for every fold, and one model has seen the rows "
                'of all folds but one: name one file per fold, as in weights = "fold-{fold}.safetensors"'
            )
        paths = files_of_folds(self.name, "weights", self.weights, plan.n_folds)
        return [replace(self, weights=str(path)) for path in paths]  # type: ignore[type-var]  # a dataclass

    def check(self, training_set: TrainingSet) -> float:
        from foldstill.base_models.fitting import check_network, trained_network

        if self.weights:
            trained_network(self, training_set)
            return 0.0
        return check_network(self, training_set)

    def fit(self, training_set: TrainingSet, context: FitContext) -> NetworkModel:
        from foldstill.base_models.fitting import adopt_weights, fit_member

        if self.weights:
            return adopt_weights(self, training_set, context)
        return fit_member(self, training_set, context)

    def load(self, folder: Path) -> NetworkModel:
        from foldstill.base_models.network_model import load_network

        return load_network(folder, self.build_untrained)

    @abstractmethod
    def build(self, shapes: Sequence[InputShape], n_classes: int) -> Network:
        """A fresh network for rows of this one shape, initialised from torch's global generator."""

    def channels_and_size(self, shapes: Sequence[InputShape]) -> tuple[int, tuple[int, ...]]:
        """Number of channels, and (H, W) or (T,), of the one view; raises MemberError for a table of features."""
        (shape,) = shapes
        if isinstance(shape, FeatureForm):
            raise MemberError(
                f"member {self.name!r} reads images or signals, and the view {self.view!r} is a table of features: "
                'name another view, or a member of kind "torch", "lightgbm" or "sklearn"'
            )
        return channels_and_size(shape)

    def build_untrained(self, shapes: Sequence[InputShape], n_classes: int) -> Network:
        """A network whose weights are read from a file next, so that none need to be downloaded."""
        return self.build(shapes, n_classes)
