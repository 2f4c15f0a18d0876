"""Members whose predictions were made elsewhere. Importing this module imports no torch.

An `ImportedMember` names files; `for_folds` reads them and makes one `Imported` per fold, which stands where other
members are trained. N samples (rows), C classes, K folds.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.member import MadeFromSettings, Member
from foldstill.base_models.named_files import FOLD, files_of_folds, require_file
from foldstill.base_models.recipes import check_name, require
from foldstill.cost import Cost
from foldstill.data.features import View
from foldstill.data.folds import FoldPlan
from foldstill.data.labels import Labels
from foldstill.data.text import Strings
from foldstill.data.training import FitContext, FitProgress, Rows, TrainingSet
from foldstill.errors import DataError, FoldstillWarning, MemberError, OOFError
from foldstill.oof.import_settings import ImportSettings
from foldstill.oof.one_member import match_rows, read_one_member, unmatched
from foldstill.oof.probabilities import Space
from foldstill.settings import KindSettings


@dataclass(frozen=True)
class ImportedMember(KindSettings, kind="imported"):
    """Predictions that were made elsewhere, read from files and matched by id.

    The member has no model: it cannot predict other rows than those in its files. Each row must have been predicted
    by a model that never saw the group of the row; the audit looks for traces of models that did.

    Examples
    --------
    >>> ImportedMember("lgb", oof="preds/lgb_oof.csv").test
    ''
    """

    name: str
    oof: str
    """A CSV, parquet or .npz file with the out-of-fold predictions, in any form that `foldstill oof import` reads; with
    `{fold}` in its path, one file per fold. A relative path starts at the folder of the experiment file."""
    test: str = ""
    """A file with the predictions of the locked rows; with `{fold}` in its path, one file per fold model. By default
    they are among those in `oof`, where no model saw their groups either."""
    column: str = ""
    """Name of the member in a file that holds several; its own name by default."""
    id: str = ""
    """Key or column of the ids. A usual name, or the row numbers where there is none."""
    pred: str = ""
    """Key of the predictions in an .npz file."""
    scores: str = ""
    """Pattern of the columns of scores, such as `{class}_prediction`; where the member has one column, that column, or
    a pattern such as `oof_{member}` in a file of several members."""
    positive: str = ""
    """Where there is one column, the class whose probability it holds; the other of two classes gets the rest. Of 0 and
    1 and of false and true it is known."""
    classes: Literal["data"] | tuple[str, ...] = ()
    """For an .npz file that names no classes: their names in the order of the predictions, or "data" where they are in
    the order of the data's."""
    space: Space = "proba"
    """Whether scores are probabilities or logits."""
    smoothing: float | None = None
    """For predictions that only name a class: probability of the named class."""
    family: str = ""
    """Group of similar members, within which combiners can tie weights; the name by default."""

    views: ClassVar[tuple[str, ...]] = ()
    parts: ClassVar[tuple[Member, ...]] = ()
    epochs: ClassVar[int] = 1
    files: ClassVar[tuple[str, ...]] = ("oof", "test")
    made_elsewhere: ClassVar[bool] = True
    uses_device: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_name(self.name)
        require(bool(self.oof), f"member {self.name!r}: oof is empty: name the file of its out-of-fold predictions")
        if not self.family:
            object.__setattr__(self, "family", self.name)

    @classmethod
    def example(cls) -> Imported:
        """Predictions of 72 rows of three classes."""
        proba_NC = np.random.default_rng(0).dirichlet(np.ones(3), 72).astype(np.float32)
        return Imported(cls("imported", "oof.csv"), proba_NC)

    def for_folds(self, labels: Labels, plan: FoldPlan) -> list[Imported]:
        """The member as it stands in each fold: predictions of its held-out rows and of the locked rows.

        Raises MemberError where a row has no prediction or classes differ, with counts and first ids. Rows of the files
        that are not in the data are left out with a warning.
        """
        oof_rows, test_rows = plan.oof_rows, plan.test_rows
        proba_KNC = np.full((plan.n_folds, len(labels), len(labels.classes)), np.nan, np.float32)
        wanted = oof_rows if self.test else np.arange(len(labels))
        ids, proba = self._read("oof", labels.classes, plan.n_folds)
        if len(proba) > 1:
            raise MemberError(
                f"member {self.name!r}: {self.oof} holds scores of {len(proba)} fold models for each row, so they are "
                "not out of fold: name the file of out-of-fold predictions"
            )
        if not self.test and len(test_rows) and not np.isin(labels.ids[test_rows], ids).any():
            raise MemberError(
                f"member {self.name!r}: {self.oof} has no predictions of the {len(test_rows)} locked rows; first ids: "
                f"{labels.ids[test_rows][:3].tolist()}: "
                "name the file that has them with test, or set folds.test_share = 0"
            )
        proba_KNC[:, wanted] = proba[0][self._match(ids, labels.ids[wanted], labels.ids, "oof")]
        if self.test:
            ids, proba = self._read("test", labels.classes, plan.n_folds)
            if len(proba) not in (1, plan.n_folds):
                raise MemberError(
                    f"member {self.name!r}: {self.test} holds scores of {len(proba)} fold models, the plan has "
                    f"{plan.n_folds} folds: give one score per row, or as many as folds"
                )
            proba_KNC[:, test_rows] = proba[:, self._match(ids, labels.ids[test_rows], labels.ids, "test")]
        return [Imported(self, proba_NC) for proba_NC in proba_KNC]

    def _match(self, ids: Strings, wanted: Strings, known: Strings, setting: str) -> Rows:
        name = f"member {self.name!r}: {getattr(self, setting)}"
        try:
            index = match_rows(ids, wanted, name)
        except OOFError as error:
            raise MemberError(str(error)) from None
        others = unmatched(ids, known)
        if len(others):
            warnings.warn(
                f"{name} has {len(others)} of {len(ids)} rows that are not in the data, first ids: "
                f"{others[:3].tolist()}; they are left out",
                FoldstillWarning,
                stacklevel=2,
            )
        return index

    def _read(self, setting: str, classes: Sequence[str], n_folds: int) -> tuple[Strings, NDArray[np.float32]]:
        """Ids and probabilities (K, N, C) of all files that a setting names: held-out rows of several files follow each
        other, fold models of the same rows stand side by side."""
        pattern: str = getattr(self, setting)
        if FOLD not in pattern:
            return self._read_file(require_file(self.name, setting, pattern), classes)
        parts = [self._read_file(path, classes) for path in files_of_folds(self.name, setting, pattern, n_folds)]
        if setting == "oof":
            return np.concatenate([ids for ids, _ in parts]), np.concatenate([proba for _, proba in parts], axis=1)
        first = parts[0][0]
        name = f"member {self.name!r}: {pattern}"
        return first, np.concatenate([proba[:, match_rows(ids, first, name)] for ids, proba in parts])

    def _read_file(self, path: Path, classes: Sequence[str]) -> tuple[Strings, NDArray[np.float32]]:
        settings = ImportSettings(
            id=self.id,
            pred=self.pred,
            scores=self.scores,
            positive=self.positive,
            classes=tuple(classes) if self.classes == "data" else self.classes,
            space=self.space,
            smoothing=self.smoothing,
        )
        try:
            return read_one_member(path, self.column or self.name, classes, settings)
        except (DataError, OOFError) as error:
            raise MemberError(f"member {self.name!r}: {error}") from None

    def check(self, training_set: TrainingSet) -> float:
        raise MemberError(f"member {self.name!r} is imported: match it with a fold plan first, as `train_members` does")

    def fit(self, training_set: TrainingSet, context: FitContext) -> ImportedModel:
        raise MemberError(f"member {self.name!r} is imported: match it with a fold plan first, as `train_members` does")

    def load(self, folder: Path) -> ImportedModel:
        raise MemberError(no_model(self.name))


def no_model(name: str) -> str:
    """Why an imported member cannot be asked about other rows."""
    return (
        f"member {name!r} is imported: it has predictions and no model, so it cannot predict other rows; combine "
        "predictions made elsewhere with `foldstill apply`, or use the student"
    )


@dataclass(frozen=True, eq=False)
class Imported(MadeFromSettings):
    """An imported member as it stands in one fold: what other members learn, it has read."""

    settings: ImportedMember
    proba_NC: NDArray[np.float32]
    """Probabilities of all rows of the data set, NaN where there are none."""

    title: ClassVar[str] = ImportedMember.title
    summary: ClassVar[str] = ImportedMember.summary
    views: ClassVar[tuple[str, ...]] = ()
    parts: ClassVar[tuple[Member, ...]] = ()
    epochs: ClassVar[int] = 1
    made_elsewhere: ClassVar[bool] = True
    uses_device: ClassVar[bool] = False

    def check(self, training_set: TrainingSet) -> float:
        return 0.0

    def fit(self, training_set: TrainingSet, context: FitContext) -> ImportedModel:
        """The predictions as they were read; nothing is learned."""
        context.report(FitProgress(done=1, total=1, loss=0.0))
        return ImportedModel(training_set.classes, self.proba_NC)

    def load(self, folder: Path) -> ImportedModel:
        return self.settings.load(folder)


@dataclass(frozen=True, eq=False)
class ImportedModel:
    """Predictions in the place of a model."""

    classes: tuple[str, ...]
    proba_NC: NDArray[np.float32]
    facts: Mapping[str, Any] = field(default_factory=dict)

    shapes: ClassVar[Mapping[str, tuple[int, ...]]] = {}

    def predict(
        self, views: Mapping[str, View], rows: Rows | None = None, *, device: str = "auto"
    ) -> NDArray[np.float32]:
        return self.proba_NC if rows is None else self.proba_NC[rows]

    def save(self, folder: Path) -> None:
        """Nothing to write: the predictions are the scores of the member."""

    def cost(self, views: Mapping[str, View]) -> Cost:
        """Unknown."""
        return Cost()
