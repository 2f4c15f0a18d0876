"""Members that learn one label at a time: of a multi-label problem, they fit one model per head.

N rows, H heads. Importing this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.feature_member import FeatureMember
from foldstill.base_models.fold_models import fold_scores
from foldstill.base_models.imported_member import ImportedMember
from foldstill.base_models.joined_member import AnyMember, resolve
from foldstill.base_models.member import CURE, MadeFromSettings, Member, Model
from foldstill.cost import Cost, total_cost
from foldstill.data.dataset import Inputs
from foldstill.data.features import View
from foldstill.data.heads import BINARY, two_classes
from foldstill.data.training import FitContext, FitProgress, Rows, TrainingSet
from foldstill.errors import MemberError
from foldstill.json_files import read_json, write_json
from foldstill.oof.table import FoldScores

HEADS = "heads.json"


def learners(members: Sequence[AnyMember], *, multi_label: bool) -> tuple[Member, ...]:
    """The members in their order, as they learn the labels: networks all heads at once, others one after the other.

    Raises MemberError for a member whose predictions were made elsewhere where there are several labels per row.
    """
    resolved = resolve(members)
    if not multi_label:
        return resolved
    for member in resolved:
        if isinstance(member, ImportedMember):
            raise MemberError(
                f"member {member.name!r} is imported, and predictions of heads (multi-label) that were made elsewhere "
                "are compared by `foldstill heads`: leave it out"
            )
    return tuple(PerHead(member) if isinstance(member, FeatureMember) else member for member in resolved)


def predict_heads(
    folder: Path,
    members: Sequence[Member],
    rows: Inputs,
    heads: Sequence[str],
    device: str = "auto",
) -> dict[str, FoldScores]:
    """Scores of new rows by all K fold models of every member, per head; `members` are what `learners` gives."""
    proba_KNMH = fold_scores(folder, members, rows.views, heads, device, recipes=rows.recipes)
    names, families = tuple(m.name for m in members), tuple(m.family for m in members)
    return {
        head: FoldScores(rows.ids, names, BINARY, two_classes(proba_KNMH[..., h]), families)
        for h, head in enumerate(heads)
    }


@dataclass(frozen=True)
class PerHead(MadeFromSettings):
    """A member with one model per head, each fitted to the rows whose label of this head is known."""

    settings: Any

    title: ClassVar[str] = "One model per head"
    summary: ClassVar[str] = "One model per head, each fitted to the rows whose label of this head is known."
    parts: ClassVar[tuple[Member, ...]] = ()
    epochs: ClassVar[int] = 1
    uses_device: ClassVar[bool] = False

    @property
    def views(self) -> tuple[str, ...]:
        views: tuple[str, ...] = self.settings.views
        return views

    def check(self, training_set: TrainingSet) -> float:
        heads = range(len(training_set.classes))
        return sum(float(self.settings.check(training_set.of_head(h))) for h in heads)

    def fit(self, training_set: TrainingSet, context: FitContext) -> HeadModels:
        """Fit the models one after the other; only the last one reports progress, as a member of one epoch does."""
        quiet = replace(context, folder=None, report=lambda progress: None)
        heads = range(len(training_set.classes))
        models = tuple(self.settings.fit(training_set.of_head(h), quiet) for h in heads)
        loss = float(np.mean([model.facts["loss"] for model in models]))
        context.report(FitProgress(1, 1, loss))
        return HeadModels(training_set.classes, models, {"loss": loss})

    def load(self, folder: Path) -> HeadModels:
        heads = read_json(folder / HEADS, {"heads": list}, error=MemberError, cure=CURE)["heads"]
        return HeadModels(tuple(heads), tuple(self.settings.load(folder / head) for head in heads))


@dataclass(frozen=True, eq=False)
class HeadModels:
    """One model per head, each of the classes 0 and 1."""

    classes: tuple[str, ...]
    models: tuple[Model, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self.models[0].shapes

    @property
    def forms(self) -> Mapping[str, Any]:
        """What the rows of the view must look like."""
        forms: Mapping[str, Any] = getattr(self.models[0], "forms", {})
        return forms

    def predict(
        self, views: Mapping[str, View], rows: Rows | None = None, *, device: str = "auto"
    ) -> NDArray[np.float32]:
        """The probability (rows, H) of each head."""
        return np.column_stack([model.predict(views, rows, device=device)[:, 1] for model in self.models])

    def save(self, folder: Path) -> None:
        """Write each model into a folder that is named like its head."""
        for head, model in zip(self.classes, self.models, strict=True):
            model.save(folder / head)
        write_json(folder / HEADS, {"heads": list(self.classes)}, sealed=True)

    def cost(self, views: Mapping[str, View]) -> Cost:
        """The cost of all models together."""
        return total_cost([model.cost(views) for model in self.models])
