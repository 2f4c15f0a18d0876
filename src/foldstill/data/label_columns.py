"""Which columns of a file hold labels, and the labels in them: the one reader for `.npz`, image folders and imports.

N samples (rows), C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from foldstill.data.columns import Columns
from foldstill.data.labels import Labels
from foldstill.errors import DataError, at
from foldstill.settings import Settings

LABEL_FORMS = ("votes", "shares", "annotators", "heads", "label")
"""The forms that labels come in; a file holds one of them."""


@dataclass(frozen=True)
class LabelColumns:
    """The role that each column (or key of an `.npz`) plays; an empty name means that the file has no such column.

    Exactly one of votes, shares, annotators, heads and label is named.

    >>> import numpy as np
    >>> from pathlib import Path
    >>> file = Columns(Path("votes.csv"), {"cat": np.array([3, 0]), "dog": np.array([1, 5]), "owner": np.array([7, 8])})
    >>> labels = LabelColumns(votes=("cat", "dog"), classes=("cat", "dog"), group="owner").read(file)
    >>> labels.target_NC.tolist(), labels.groups.tolist()
    ([[0.75, 0.25], [0.0, 1.0]], ['7', '8'])
    """

    votes: str | tuple[str, ...] = ""
    """One key of vote counts (N, C), or one column per class."""
    shares: str | tuple[str, ...] = ""
    """One key of vote shares (N, C), or one column per class."""
    total: str | float = 1.0
    """With shares: column of the number of votes per row, or one number for all rows."""
    annotators: str | tuple[str, ...] = ""
    """Key of the class that each annotator chose, (N, annotators), or one column per annotator."""
    heads: str | tuple[str, ...] = ""
    """Key of the labels of a multi-label problem, (N, H), or one column per head."""
    label: str = ""
    """Column of hard labels: class index or name."""
    classes: str | tuple[str, ...] = ""
    """Key of the names of classes or heads, or the names themselves."""
    id: str = ""
    group: str = ""
    stratum: str = ""
    sample_weight: str = ""

    @classmethod
    def of(cls, settings: Any, **others: Any) -> Self:
        """The columns that a data source names in fields of the same names; `others` replace these or are added."""
        names = {field.name for field in fields(cls)} & vars(settings).keys()
        return cls(**({name: getattr(settings, name) for name in names} | others))

    def __post_init__(self) -> None:
        require_one_form("the label columns", {form: getattr(self, form) for form in LABEL_FORMS}, self.total)

    def read(self, file: Columns) -> Labels:
        """The labels in the file; raises DataError naming the file and the column that is missing or wrong."""
        others: dict[str, Any] = {
            argument: file.get(column, role) if role == "sample_weight" else file.text(column, role)
            for argument, role, column in (
                ("ids", "id", self.id),
                ("groups", "group", self.group),
                ("stratum", "stratum", self.stratum),
                ("sample_weight", "sample_weight", self.sample_weight),
            )
            if column
        }
        others["classes"] = self._class_names(file)
        form = next(form for form in LABEL_FORMS if getattr(self, form))
        columns: str | tuple[str, ...] = getattr(self, form)
        if form == "label":
            values = file.text(self.label, form)
        elif form == "annotators" and not isinstance(columns, str):
            # Names and indices alike: what a column holds is seen when all are together.
            values = np.stack([file.text(name, form).astype(object) for name in columns], axis=1)
        else:
            values = file.get(columns, form) if isinstance(columns, str) else file.matrix(columns, form)
        total = file.get(self.total, "total") if isinstance(self.total, str) else self.total
        with at(file.path):
            if form == "votes":
                return Labels.from_votes(values, **others)
            if form == "shares":
                return Labels.from_shares(values, total, **others)
            if form == "annotators":
                return Labels.from_annotators(values, **others)
            if form == "heads":
                names = others.pop("classes") or (None if isinstance(columns, str) else columns)
                return Labels.from_heads(values, heads=names, **others)
            return Labels.from_hard(values, **others)

    def _class_names(self, file: Columns) -> tuple[str, ...] | None:
        if not self.classes:
            return None
        names = file.get(self.classes, "classes").tolist() if isinstance(self.classes, str) else self.classes
        return tuple(str(name) for name in names)


@dataclass(frozen=True, kw_only=True)
class LabelledTable(Settings):
    """What data sources share whose labels are columns of one table."""

    votes: tuple[str, ...] = ()
    """Columns of vote counts, one per class. Their names are the names of the classes."""
    shares: tuple[str, ...] = ()
    """Columns of vote shares, one per class. Their names are the names of the classes."""
    total: str | float = 1.0
    """With shares: column of the number of votes per row, or one number for all rows."""
    annotators: tuple[str, ...] = ()
    """Columns of the class that each annotator chose, by name or index; an empty cell or -1 for no vote."""
    heads: tuple[str, ...] = ()
    """Columns of a multi-label problem, one per head: 1, 0 or a share between them, empty where it is not known. Each
    head is a question of its own, and members have one sigmoid output per head."""
    label: str = ""
    """Column of hard labels: class indices or names."""
    classes: tuple[str, ...] = ()
    """Class names, in order. When empty, the names of the columns, or the different values of the label; annotators
    that chose names need them."""
    stratum: str = ""
    """Column of the stratum of each row. By number of votes when empty."""

    def label_columns(self, names: tuple[str, ...] = (), **others: Any) -> LabelColumns:
        """The columns of the labels; `others` replace fields of these settings or are added, as in `LabelColumns.of`.

        Where the settings do not name the classes, columns of votes or shares do, and else `names`.
        """
        return LabelColumns.of(self, classes=self.classes or self.votes or self.shares or names, **others)

    @property
    def named_columns(self) -> tuple[str, ...]:
        """Every column that the settings of the labels name, that of the strata included."""
        single = (self.label, self.stratum, self.total if isinstance(self.total, str) else "")
        return tuple(n for n in (*single, *self.votes, *self.shares, *self.annotators, *self.heads) if n)

    def require_labels(self) -> None:
        """Raise DataError unless the columns of one form of labels are named."""
        require_one_form("data", {name: getattr(self, name) for name in LABEL_FORMS}, self.total)


def require_one_form(where: str, columns: Mapping[str, Any], total: str | float = 1.0) -> None:
    """Raise DataError unless exactly one form of labels is named, and a total only with shares.

    `columns` maps the name that the settings give to each form to what was set; `where` is what names them in the
    message.
    """
    named = [name for name, column in columns.items() if column]
    if len(named) != 1:
        *first, last = columns
        raise DataError(f"{where} must name one of {', '.join(first)} or {last}, got {named or 'none'}: keep one")
    if total != 1.0 and not columns.get("shares"):
        raise DataError(
            f"{where}: total goes with shares only, got total = {total!r} with {named[0]}: "
            "counts and hard labels carry their own total; remove total"
        )
