"""The models of one member over folds, read from its folder: the one place that loads them. Importing this imports no
torch.

N rows, M members, C classes, K fold models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.device import device_for, views_kept
from foldstill.base_models.member import Member, Model
from foldstill.data.feature_form import Form
from foldstill.data.features import View
from foldstill.data.row_form import Recipe, RowForm
from foldstill.data.training import Rows
from foldstill.digests import file_digest
from foldstill.errors import DataError, MemberError
from foldstill.manifest import DONE, check_files

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
        """The model that was trained without this fold.

        Raises MemberError if there is none, and ExperimentError if one of its files is damaged.
        """
        folder = model_folder(self.folder, self.member.name, fold)
        if not folder.is_dir():
            raise MemberError(
                f"member {self.member.name}, fold {fold} is not trained, there is no {folder}: train it first"
            )
        if (folder / DONE).exists():
            check_files(folder)
        return self.member.load(folder)

    def load_for(
        self,
        fold: int,
        views: Mapping[str, View],
        classes: Sequence[str],
        recipes: Mapping[str, Recipe] = MappingProxyType({}),
    ) -> Model:
        """The same, for rows of these views; raises MemberError for other rows or classes than it was trained on."""
        model = self.load(fold)
        if model.classes != tuple(classes):
            raise MemberError(
                f"member {self.member.name} was trained on the classes {list(model.classes)}, got {list(classes)}: "
                "name the classes of its training"
            )
        # A model of another kind may keep no more than shapes, and then takes every type.
        forms: Mapping[str, Form] = getattr(model, "forms", None) or {
            name: RowForm(tuple(shape), views[name].dtype.name) for name, shape in model.shapes.items()
        }
        for name, form in forms.items():
            try:
                form.check(views[name], name, recipes.get(name))
            except DataError as error:
                raise MemberError(f"member {self.member.name}: {error}") from None
        return model

    def forms(self) -> Mapping[str, Form]:
        """What the rows of each view must look like for the first fold model; empty where it keeps no forms."""
        forms: Mapping[str, Form] = getattr(self.load(self.folds[0]), "forms", {})
        return forms

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


def fold_scores(
    folder: Path,
    members: Sequence[Member],
    views: Mapping[str, View],
    classes: Sequence[str],
    device: str,
    *,
    recipes: Mapping[str, Recipe] = MappingProxyType({}),
    rows: Rows | None = None,
) -> NDArray[np.float32]:
    """What all fold models of every member predict for rows of the views, (K, N, M, C).

    Raises MemberError for a member that is not trained, a view that is missing, or one of another shape.
    """
    device = device_for(members, device)
    needed = {view for m in members for view in m.views}
    missing = sorted(needed - views.keys())
    if missing:
        raise MemberError(
            f"members read the views {missing}, got {sorted(views)}: give every view that they were trained on"
        )
    proba_MKNC = []
    with views_kept(members):
        for member in members:
            models = FoldModels(member, folder)
            proba_KNC = [
                models.load_for(fold, views, classes, recipes).predict(views, rows, device=device)
                for fold in models.folds
            ]
            proba_MKNC.append(proba_KNC)
    counts = {member.name: len(proba_KNC) for member, proba_KNC in zip(members, proba_MKNC, strict=True)}
    if len(set(counts.values())) > 1:
        raise MemberError(f"members must have the same number of trained folds, got {counts}: finish training")
    return np.stack([np.stack(proba_KNC) for proba_KNC in proba_MKNC], axis=2)
