"""One CSV or parquet file per member: which columns hold its scores, and to which rows they belong.

N samples (rows), C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldstill.data.columns import CSV, PARQUET, Columns
from foldstill.data.labels import Labels, as_strings, match_ids
from foldstill.errors import OOFError
from foldstill.oof.arrays import as_proba, smoothed_proba
from foldstill.oof.import_settings import ImportSettings
from foldstill.oof.roles import (
    NAMED_CLASS,
    SCORES,
    USUAL,
    VOTES,
    class_columns,
    class_indices,
    column_names,
    vote_columns,
)


@dataclass(frozen=True)
class Layout:
    """How the files of members are read: column of the ids ("" for none), pattern of the score columns, classes."""

    id_name: str
    pattern: str
    classes: tuple[str, ...]


def find_layout(files: Sequence[Columns], label_source: Columns, settings: ImportSettings) -> Layout:
    """The layout by the settings and the first file; without named classes, they are in the order of that file."""
    first = files[0]
    id_name = _shared_id([label_source, *files], settings)
    class_names = settings.classes or _vote_classes(label_source, settings)
    if settings.scores:
        named = class_columns(first, settings.scores) if "{class}" in settings.scores else {}
        return Layout(id_name, settings.scores, class_names or tuple(named))
    # Where a file holds both, scores and labels have different names. Without labels, plain names and names of votes
    # are scores.
    patterns = [*SCORES, "{class}"] if label_source is first else [*SCORES, *VOTES, "{class}"]
    for pattern in patterns:
        columns = _score_columns(first, pattern, id_name, settings)
        if len(columns) > 1 and set(class_names) <= set(columns):
            return Layout(id_name, pattern, class_names or tuple(columns))
    for name in NAMED_CLASS:
        if name in first:
            return Layout(id_name, name, class_names)
    columns = _score_columns(first, "{class}", id_name, settings)
    missing = [c for c in class_names if c not in columns] or "(two or more)"
    raise OOFError(
        f"{first.path} has no column for the classes {missing}, "
        f"it has {first.listing}: name the classes, or how columns are named with scores='{{class}}_prediction'"
    )


def member_name(file_name: str) -> str:
    """The name of a member: the name of its file without the suffix."""
    for ending in (*CSV, *PARQUET):
        if file_name.lower().endswith(ending):
            return file_name[: -len(ending)]
    return file_name


def member_proba(
    member: str, file: Columns, layout: Layout, labels: Labels, settings: ImportSettings
) -> NDArray[np.float32]:
    """One member's scores (N, C) in the order of the labels; raises OOFError when rows or classes do not match."""
    name = f"member {member!r}"
    n_classes = len(labels.classes)
    if "{class}" not in layout.pattern:
        named = class_indices(file.get(layout.pattern, "the class named"), labels.classes, name)
        proba = smoothed_proba(named, name, n_classes, settings.smoothing)
    else:
        columns = class_columns(file, layout.pattern)
        lacking = [c for c in labels.classes if c not in columns]
        others = list(_score_columns(file, layout.pattern, layout.id_name, settings))
        if lacking:
            raise OOFError(
                f"{name} has no scores for {lacking}, {file.path} has {others[:12]}: "
                "every member needs the same classes"
            )
        extra = [c for c in others if c not in labels.classes]
        if extra and not settings.classes and layout.pattern != "{class}":
            raise OOFError(
                f"{name} also scores {extra} in {file.path}, other members do not: every member needs the same classes"
            )
        raw = file.matrix(column_names(layout.pattern, labels.classes), "scores")
        proba = as_proba(raw, name, n_classes, settings.space, settings.smoothing)
    if not layout.id_name:
        if len(proba) != len(labels):
            raise OOFError(
                f"{name} has {len(proba)} rows, the labels {len(labels)}, and no id to match them by: "
                f"add an id column to {file.path}"
            )
        return proba
    return proba[rows_by_id(file.get(layout.id_name, "id"), labels, name)]


def rows_by_id(ids: NDArray[np.generic], labels: Labels, name: str) -> NDArray[np.intp]:
    """Index that brings rows with these ids into the order of the labels.

    Raises OOFError or DataError with the first ids that repeat or do not match; `name` says whose they are.
    """
    received = as_strings(ids, f"ids of {name}")
    unique, count = np.unique(received, return_counts=True)
    if (count > 1).any():
        raise OOFError(
            f"{name} has {int((count > 1).sum())} ids more than once; first: {unique[count > 1][:3].tolist()}: "
            "average repeated rows, or keep one row per id"
        )
    return match_ids(name, labels.ids, received)


def _vote_classes(label_source: Columns, settings: ImportSettings) -> tuple[str, ...]:
    by_class = vote_columns(label_source, settings)
    return tuple(by_class[2]) if by_class else ()


def _score_columns(file: Columns, pattern: str, id_name: str, settings: ImportSettings) -> dict[str, str]:
    """Class -> column of a pattern, without columns that hold no numbers or play another role."""
    taken = {
        id_name,
        settings.group,
        settings.fold,
        settings.stratum,
        settings.total,
        settings.sample_weight,
        settings.label,
    }
    taken |= {name for role in USUAL.values() for name in role} | {"index"}
    return {
        class_name: name
        for class_name, name in class_columns(file, pattern).items()
        if name not in taken and not name.startswith("Unnamed:") and file.arrays[name].dtype.kind in "fiu"
    }


def _shared_id(files: Sequence[Columns], settings: ImportSettings) -> str:
    """Column of the ids in every file: as the settings name it, a usual name, or the first that all files share."""
    if settings.id:
        for file in files:
            file.get(settings.id, "id")
        return settings.id
    label_source, *members = files
    for name in USUAL["id"]:
        if all(name in file for file in files):
            return name
    for name, values in label_source.arrays.items():
        shared = all(name in file for file in members) and not name.startswith("Unnamed:")
        if shared and values.dtype.kind != "f" and len(np.unique(values.astype(np.str_))) == len(values):
            return name
    for file in files:
        if any(name in file for name in USUAL["id"]):
            raise OOFError(
                f"{file.path} has ids, other files do not: give every file the same id column, or name it with id"
            )
    return ""
