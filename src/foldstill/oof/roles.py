"""Which column of a file made elsewhere plays which role: named in the settings, or recognised by a usual name.

N samples (rows), C classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.columns import Columns
from foldstill.data.label_columns import LabelColumns
from foldstill.errors import OOFError
from foldstill.oof.import_settings import ImportSettings

USUAL: dict[str, tuple[str, ...]] = {
    "pred": ("pred", "preds", "predictions", "proba", "oof", "scores"),
    "votes": ("votes", "counts"),
    "shares": ("shares", "target", "targets"),
    "total": ("total", "total_votes", "n_votes", "min_votes"),
    "label": ("label", "labels", "target", "y", "y_true", "class"),
    "id": ("id", "ids", "row_id", "sample_id", "index"),
    "group": ("group", "groups"),
    "fold": ("fold", "folds"),
    "stratum": ("stratum", "strata"),
    "sample_weight": ("sample_weight", "weight"),
    "members": ("members", "member_names", "model_names"),
    "classes": ("classes", "class_names"),
}
"""Names that are tried, in this order and in any case, for a role that the settings do not name."""

VOTES = ("votes__{class}", "{class}_votes", "{class}_vote", "votes_{class}")
SHARES = ("shares__{class}", "{class}_share", "target_{class}", "y__{class}")
SCORES = (
    "p__{class}",
    "{class}_prediction",
    "{class}_pred",
    "pred_{class}",
    "{class}_proba",
    "proba_{class}",
    "{class}_prob",
    "prob_{class}",
    "p_{class}",
)
"""How the columns of votes, shares and scores are usually named, one per class. Scores may also have the plain names of
the classes, or the names of votes."""

NAMED_CLASS = ("pred", "prediction", "predicted", "class")
"""Columns of members that only name a class."""

_DIMENSIONS = {"votes": 2, "shares": 2, "label": 1}


def role_column(file: Columns, settings: ImportSettings, role: str) -> str:
    """Name of the column that plays a role: as the settings name it, else the first usual name, else ""."""
    named: str = "" if role == "classes" else getattr(settings, role)
    if named:
        return named
    any_case = {name.casefold(): name for name in reversed(list(file.arrays))}
    for usual in USUAL[role]:
        name = usual if usual in file else any_case.get(usual)
        if name is not None:
            values = file.get(name, role)
            if values.ndim == _DIMENSIONS.get(role, values.ndim) and not (role == "label" and has_fractions(values)):
                return name
    return ""


def has_fractions(values: NDArray[Any]) -> bool:
    """Whether an array holds numbers that are not whole, as scores and shares do and hard labels do not."""
    return values.dtype.kind == "f" and bool((values[np.isfinite(values)] % 1 != 0).any())


def role_values(file: Columns, settings: ImportSettings, role: str) -> NDArray[Any] | None:
    """The column that plays a role as an array, or None when there is none."""
    name = role_column(file, settings, role)
    if not name:
        return None
    return file.text(name, role) if role in ("id", "group") else file.get(name, role)


def class_columns(file: Columns, pattern: str) -> dict[str, str]:
    """Class -> column, for the columns that match a pattern such as `{class}_vote`, in the order of the file."""
    before, _, after = pattern.partition("{class}")
    return {
        name[len(before) : len(name) - len(after)]: name
        for name in file.arrays
        if name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)
    }


def column_names(pattern: str, classes: Sequence[str]) -> list[str]:
    """The columns of these classes by a pattern."""
    return [pattern.replace("{class}", name) for name in classes]


def vote_columns(file: Columns, settings: ImportSettings) -> tuple[str, str, dict[str, str]] | None:
    """(votes or shares, pattern, class -> column) where a file has one column per class under a usual name."""
    if settings.label or settings.annotators:
        return None
    for role, usual in (("votes", VOTES), ("shares", SHARES)):
        named: str = getattr(settings, role)
        if not named and (settings.votes or settings.shares):
            continue
        for pattern in (named,) if "{class}" in named else usual:
            columns = class_columns(file, pattern)
            if len(columns) > 1:
                return role, pattern, columns
        if "{class}" in named:
            raise OOFError(
                f"{file.path} has no two columns like {named!r} (for {role}), it has {file.listing}: "
                "correct the pattern"
            )
    return None


def label_columns(
    file: Columns,
    settings: ImportSettings,
    classes: tuple[str, ...],
    id_name: str = "",
    *,
    classes_are_scores: bool = False,
) -> LabelColumns:
    """The columns of a file that hold its labels; raises OOFError listing the columns when there are none.

    `classes_are_scores` says that the columns named like the classes hold predictions, which are never labels.
    """
    others: dict[str, Any] = {role: role_column(file, settings, role) for role in ("group", "stratum", "sample_weight")}
    others["id"] = id_name or role_column(file, settings, "id")
    form, columns, class_names = _labels_form(file, settings, classes, classes_are_scores)
    if settings.total and form != "shares":
        raise OOFError(
            f"total goes with shares only, got total = {settings.total!r} with {form} in {file.path}: "
            "remove total, or name the columns of shares with shares"
        )
    if form == "shares":
        others["total"] = role_column(file, settings, "total") or 1.0
    return LabelColumns(**(others | {form: columns, "classes": class_names}))


def _labels_form(
    file: Columns, settings: ImportSettings, classes: tuple[str, ...], classes_are_scores: bool
) -> tuple[str, str | tuple[str, ...], tuple[str, ...]]:
    """The form of the labels (votes, shares, annotators, label), their key or columns, and the names of the classes."""
    if settings.annotators:
        return "annotators", settings.annotators, classes
    if not settings.label:
        if "{class}" not in settings.votes + settings.shares:
            if not settings.shares and (votes := role_column(file, settings, "votes")):
                return "votes", votes, classes
            if shares := role_column(file, settings, "shares"):
                return "shares", shares, classes
        if by_class := vote_columns(file, settings):
            form, pattern, columns = by_class
            classes = classes or tuple(columns)
            return form, tuple(column_names(pattern, classes)), classes
        if classes and not classes_are_scores and all(name in file for name in classes):
            # Plain columns named like the classes: counts, one-hot labels, or shares where there are fractions.
            values = file.matrix(classes, "votes")
            fractions = values.dtype.kind == "f" and (values % 1 != 0).any()
            return ("shares" if fractions else "votes"), classes, classes
    if label := role_column(file, settings, "label"):
        return "label", label, classes
    raise OOFError(
        f"{file.path} has no labels that foldstill recognises, it has {file.listing}: "
        "name the key or column with votes, shares, annotators or label, or give a file of labels with labels "
        "(on the command line --label COLUMN or --labels FILE); `foldstill apply` takes predictions without labels"
    )
