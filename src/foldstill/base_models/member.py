"""The protocols of a member and of its trained model. Importing this module imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from foldstill.cost import Cost
from foldstill.data.features import View
from foldstill.data.training import FitContext, Rows, TrainingSet
from foldstill.settings import Kind

CURE = "restore it from a copy, or remove its folder to train the model again"
"""What to do about a model with a file that is missing or damaged."""


class Model(Protocol):
    """What a fit returns: it predicts probabilities for new rows, and can be saved and loaded."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of one row of each view that the model reads."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """Numbers about the fit to be kept in done.json, such as `loss`; empty for a model that was loaded."""
        ...

    def predict(
        self, views: Mapping[str, View], rows: Rows | None = None, *, device: str = "auto"
    ) -> NDArray[np.float32]:
        """Probabilities (rows, C) of these rows of the views, of all rows by default; each row sums to one."""
        ...

    def save(self, folder: Path) -> None:
        """Write the model's files into a folder."""
        ...

    def cost(self, views: Mapping[str, View]) -> Cost:
        """What one prediction costs, measured on the first row of the views on the CPU."""
        ...


def is_made_elsewhere(member: object) -> bool:
    """Whether a member was not trained here: its models, or its predictions, were made elsewhere.

    Such a member has `made_elsewhere`, and `for_folds(labels, plan)`, which gives the member as it stands in each fold.
    """
    return bool(getattr(member, "made_elsewhere", False))


class Member(Kind, Protocol):
    """A base model: settings that fit a model to a training set. A frozen dataclass.

    A new kind is a class with these attributes in a file of its own, and an entry in `MEMBERS`.
    """

    @property
    def name(self) -> str:
        """Unique in an experiment; the name of its folder and of its column in tables."""
        ...

    @property
    def family(self) -> str:
        """What it has in common with other members; combiners can tie weights within a family."""
        ...

    @property
    def views(self) -> tuple[str, ...]:
        """The views of the data set that it reads."""
        ...

    @property
    def parts(self) -> tuple[Member, ...]:
        """The members whose trained models it starts from; empty for a member that stands alone."""
        ...

    @property
    def epochs(self) -> int:
        """How often `fit` reports progress: the epochs of all stages, or 1."""
        ...

    @property
    def uses_device(self) -> bool:
        """Whether it trains and predicts with torch on the device of `Work`; others compute on the CPU."""
        ...

    def check(self, training_set: TrainingSet) -> float:
        """Work that a fit takes, in arbitrary units that compare members; long jobs start first.

        Raises MemberError if the member cannot learn from this training set, before any time is spent.
        """
        ...

    def fit(self, training_set: TrainingSet, context: FitContext) -> Model:
        """Learn from the rows of a training set. The same seed gives the same model."""
        ...

    def load(self, folder: Path) -> Model:
        """The model that was saved in a folder."""
        ...


def blind_to(members: Iterable[Member], view: str) -> list[Member]:
    """The members that cannot be shown rows which exist in this view alone, such as augmented ones.

    They read another view or several, or none, because they were trained elsewhere.
    """
    return [member for member in members if member.views != (view,)]


class MadeFromSettings:
    """Base of a member that is more than its settings, which name it."""

    settings: Any

    @property
    def kind(self) -> str:
        return str(self.settings.kind)

    @property
    def name(self) -> str:
        return str(self.settings.name)

    @property
    def family(self) -> str:
        return str(self.settings.family)
