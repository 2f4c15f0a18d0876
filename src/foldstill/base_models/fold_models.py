"""The models of one member over folds, read from its folder: the one place that loads them. Importing this imports no
torch.

K fold models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from foldstill.base_models.member import Member, Model
from foldstill.errors import MemberError
from foldstill.files import file_digest
from foldstill.manifest import DONE

if TYPE_CHECKING:
    from foldstill.base_models.joined_network import AnyNetwork

NOT_THE_MODEL = (DONE, "history.csv", "oof.parquet", "test.parquet", "progress.json")
"""Files beside a model's own."""


def model_folder(members: Path, name: str, *folds: int) -> Path:
    """The folder of the model that was trained without one fold, or without two.

    >>> model_folder(Path("members"), "resnet", 3, 1).as_posix()
    'members/resnet/pair-1-3'
    """
    return members / name / f"{'fold' if len(folds) == 1 else 'pair'}-{'-'.join(map(str, sorted(folds)))}"


@dataclass(frozen=True)
class FoldModels:
    """One member and the folder that members were trained into."""

    member: Member
    folder: Path

    @property
    def folds(self) -> list[int]:
        """The folds whose training is finished; raises MemberError if there is none."""
        done = (self.folder / self.member.name).glob(f"fold-*/{DONE}")
        folds = sorted(int(path.parent.name.removeprefix("fold-")) for path in done)
        if not folds:
            raise MemberError(f"member {self.member.name} has no trained fold in {self.folder}: train it first")
        return folds

    def load(self, fold: int) -> Model:
        """The model that was trained without this fold; raises MemberError if there is none."""
        folder = model_folder(self.folder, self.member.name, fold)
        if not folder.is_dir():
            raise MemberError(
                f"member {self.member.name}, fold {fold} is not trained, there is no {folder}: train it first"
            )
        return self.member.load(folder)

    def load_for(self, fold: int, views: Mapping[str, NDArray[Any]], classes: Sequence[str]) -> Model:
        """The same, for rows of these views; raises MemberError for other shapes or classes than it was trained on."""
        model = self.load(fold)
        shapes = {name: tuple(views[name].shape[1:]) for name in model.shapes}
        if model.classes != tuple(classes) or shapes != dict(model.shapes):
            raise MemberError(
                f"member {self.member.name} was trained on rows of shape {_shown(model.shapes)} and classes "
                f"{list(model.classes)}, got {_shown(shapes)} and {list(classes)}: prepare the new rows as the "
                "training rows were"
            )
        return model

    def networks(self, folds: Sequence[int], device: str) -> list[AnyNetwork]:
        """The networks of these folds on a device, in evaluation mode and without gradients.

        Raises MemberError for a member that is no network.
        """
        from foldstill.base_models.network_model import NetworkModel

        networks = []
        for fold in folds:
            model = self.load(fold)
            if not isinstance(model, NetworkModel):
                raise MemberError(
                    f"member {self.member.name!r} is no network (kind {self.member.kind!r}): name a network"
                )
            networks.append(model.network.to(device).eval().requires_grad_(False))
        return networks

    def file_digests(self, folds: Sequence[int]) -> list[str]:
        """Digests of the files that hold the models of these folds."""
        folders = [model_folder(self.folder, self.member.name, fold) for fold in folds]
        files = [path for folder in folders for path in sorted(folder.iterdir()) if path.name not in NOT_THE_MODEL]
        return [file_digest(path) for path in files]


def _shown(shapes: Mapping[str, Any]) -> str:
    """The shape of the only view, or each shape with its view."""
    if len(shapes) == 1:
        return str(*shapes.values())
    return ", ".join(f"{shape} ({name})" for name, shape in shapes.items())
