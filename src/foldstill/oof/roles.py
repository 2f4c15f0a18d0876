"""Which array or column of a file made elsewhere plays which role: named in the settings, or guessed by usual names.

N rows, C classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.columns import Columns
from foldstill.data.labels import Labels, as_strings
from foldstill.errors import OOFError
from foldstill.oof.import_settings import ImportSettings

USUAL: dict[str, tuple[str, ...]] = {
    "pred": ("pred", "preds", "predictions", "proba", "oof", "scores"),
    "votes": ("votes", "counts"),
    "shares": ("shares", "target", "targets"),
    "total": ("total", "total_votes", "n_votes", "min_votes"),
    "label": ("label", "labels", "target", "y", "y_true"),
    "id": ("id", "ids", "row_id", "sample_id"),
    "group": ("group", "groups"),
    "fold": ("fold", "folds"),
    "stratum": ("stratum", "strata"),
    "sample_weight": ("sample_weight", "weight"),
    "members": ("members", "member_names", "model_names"),
    "classes": ("classes", "class_names"),
}
"""Names tried in this order where the settings give none."""

VOTES = ("votes__{class}", "{class}_votes", "{class}_vote", "votes_{class}")
SHARES = ("shares__{class}", "{class}_share", "target_{class}", "y__{class}")
SCORES = (
    "p__{class}",
    "{class}_prediction",
    "{class}_pred",
    "pred_{class}",
    "{class}_proba",
    "proba_{class}",
    "p_{class}",
)
"""How columns of one kind are usually named, a class each; scores also plainly by the class, or as votes are."""

NAMED_CLASS = ("pred", "prediction", "predicted", "class")
"""Columns of members that only name a class."""

_DIMENSIONS = {"votes": 2, "shares": 2, "label": 1}


def find(source: Columns, settings: ImportSettings, role: str) -> NDArray[Any] | None:
    """The array that plays a role: the one the settings name, else the first of a usual name, else None."""
    named: str = "" if role == "classes" else getattr(settings, role)
    if named:
        return source.get(named, role)
    for name in USUAL[role]:
        if name in source:
            array = source.get(name, role)
            if array.ndim == _DIMENSIONS.get(role, array.ndim):
                return array
    return None


def matching(source: Columns, pattern: str) -> dict[str, str]:
    """Class -> column for the columns that a pattern such as `{class}_vote` fits, in the file's order."""
    before, _, after = pattern.partition("{class}")
    return {
        name[len(before) : len(name) - len(after)]: name
        for name in source.arrays
        if name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)
    }


def matrix(source: Columns, pattern: str, classes: Sequence[str], role: str) -> NDArray[Any]:
    """The columns of a pattern as (N, C), in the order of `classes`."""
    return np.stack([source.get(pattern.replace("{class}", name), role) for name in classes], axis=1)


def vote_columns(source: Columns, settings: ImportSettings) -> tuple[str, str, dict[str, str]] | None:
    """(role, pattern, class -> column) of votes or shares that a frame holds a column a class, under a usual name."""
    for role, usual in (("votes", VOTES), ("shares", SHARES)):
        named: str = getattr(settings, role)
        for pattern in (named,) if "{class}" in named else usual:
            columns = matching(source, pattern)
            if len(columns) > 1:
                return role, pattern, columns
    return None


def labels_of(source: Columns, settings: ImportSettings, classes: tuple[str, ...], id_name: str = "") -> Labels:
    """The labels in a file; raises OOFError naming what there is when it finds none."""
    rest: dict[str, Any] = {"classes": classes or None}
    for name, role in (("ids", "id"), ("groups", "group"), ("stratum", "stratum"), ("sample_weight", "sample_weight")):
        values = source.get(id_name, "id") if role == "id" and id_name else find(source, settings, role)
        if values is not None:
            rest[name] = values
    if settings.annotators:
        return Labels.from_annotators(source.get(settings.annotators, "annotators"), **rest)
    if "{class}" not in settings.votes + settings.shares:
        if not settings.shares and not settings.label and (votes := find(source, settings, "votes")) is not None:
            return Labels.from_votes(votes, **rest)
        if not settings.label and (shares := find(source, settings, "shares")) is not None:
            return Labels.from_shares(shares, _total(source, settings), **rest)
    if not settings.label and (found := vote_columns(source, settings)):
        role, pattern, columns = found
        rest["classes"] = classes or tuple(columns)
        values = matrix(source, pattern, rest["classes"], role)
        return (
            Labels.from_votes(values, **rest)
            if role == "votes"
            else Labels.from_shares(values, _total(source, settings), **rest)
        )
    if not settings.label and classes and all(name in source for name in classes):
        # Plain columns named by the class: counts, one-hot labels, or shares when every row sums to one in fractions.
        values = matrix(source, "{class}", classes, "votes")
        if values.dtype.kind == "f" and (values % 1 != 0).any():
            return Labels.from_shares(values, _total(source, settings), **rest)
        return Labels.from_votes(values, **rest)
    label = find(source, settings, "label")
    if label is None:
        raise OOFError(
            f"{source.path} has no labels that foldstill finds, it has {list(source.arrays)[:12]}: "
            "name the key or column with votes, shares, annotators or label, or a file of them with labels"
        )
    return Labels.from_hard(label, **rest)


def _total(source: Columns, settings: ImportSettings) -> NDArray[Any] | float:
    total = find(source, settings, "total")
    return 1.0 if total is None else total


def class_indices(values: NDArray[Any], classes: Sequence[str], what: str) -> NDArray[np.intp]:
    """The index of each named class; whole numbers are indices already."""
    if values.dtype.kind in "iu":
        return values.astype(np.intp)
    place = {name: i for i, name in enumerate(classes)}
    names = as_strings(values, what).tolist()
    unknown = sorted(set(names) - set(place))
    if unknown:
        raise OOFError(f"{what} name classes {unknown[:3]} that are not among {list(classes)}: add them to classes")
    return np.asarray([place[name] for name in names], dtype=np.intp)
