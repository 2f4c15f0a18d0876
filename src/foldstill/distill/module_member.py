"""A torch module of the caller as a member, so that the engine trains it in place. Importing this imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from foldstill.base_models.architecture import InputShape, channels_and_size
from foldstill.base_models.recipes import Recipe
from foldstill.base_models.single_view import SingleViewMember
from foldstill.data.feature_form import FeatureForm

if TYPE_CHECKING:
    from torch import nn

    from foldstill.base_models.networks import Network


@dataclass(frozen=True, eq=False)
class ModuleMember(SingleViewMember):
    """A module that takes scaled inputs of one view, or encoded features, and gives logits; `load` reads weights into
    the module."""

    name: str
    module: nn.Module
    view: str
    recipe: Recipe

    title: ClassVar[str] = "torch module"
    summary: ClassVar[str] = "A torch module of your own, trained in place."
    kind: ClassVar[str] = "module"
    family: ClassVar[str] = "module"

    def build(self, shapes: Sequence[InputShape], n_classes: int) -> Network:
        """The module behind an input layer that scales or encodes the rows."""
        from foldstill.base_models.networks import Network

        (shape,) = shapes
        return Network(self.module, shape if isinstance(shape, FeatureForm) else channels_and_size(shape)[0])
