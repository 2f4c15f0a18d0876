"""One CSV or parquet file a member: which columns are its scores, and which rows they belong to.

N rows, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldstill.data.columns import CSV, PARQUET, Columns
from foldstill.data.labels import Labels, as_strings, match_ids
from foldstill.errors import OOFError
from foldstill.oof.arrays import as_proba, named_proba
from foldstill.oof.import_settings import ImportSettings
from foldstill.oof.roles import NAMED_CLASS, SCORES, USUAL, VOTES, class_indices, matching, matrix, vote_columns


@dataclass(frozen=True)
class Layout:
    """How the files of members are read: the column of the ids (or none), the pattern of score columns, the classes."""

    id_name: str
    pattern: str
    classes: tuple[str, ...]


def layout_of(files: Sequence[Columns], truth: Columns, settings: ImportSettings) -> Layout:
    """The layout that the settings and the first file tell; the classes of a pattern are in that file's order."""
    first = files[0]
    id_name = _shared_id([truth, *files], settings)
    if settings.scores:
        found = matching(first, settings.scores) if "{class}" in settings.scores else {}
        classes = settings.classes or _known_classes(truth, settings) or tuple(found)
        return Layout(id_name, settings.scores, classes)
    known = settings.classes or _known_classes(truth, settings)
    # A file that holds scores and labels names them apart; plain names, or those of votes, are scores when it holds no labels.
    patterns = [*SCORES, "{class}"] if truth is first else [*SCORES, *VOTES, "{class}"]
    for pattern in patterns:
        found = _numbers(first, pattern, id_name, settings)
        if len(found) > 1 and set(known) <= set(found):
            return Layout(id_name, pattern, known or tuple(found))
    for name in NAMED_CLASS:
        if name in first:
            return Layout(id_name, name, known)
    found = _numbers(first, "{class}", id_name, settings)
    raise OOFError(
        f"{first.path} has no column for the classes {[c for c in known if c not in found] or '(two or more)'}, "
        f"it has {list(first.arrays)[:12]}: name the classes, "
        f"or how columns are named with scores='{{class}}_prediction'"
    )


def member_name(path_name: str) -> str:
    """The name of a member from its file's."""
    for ending in (*CSV, *PARQUET):
        if path_name.lower().endswith(ending):
            return path_name[: -len(ending)]
    return path_name


def member_proba(
    name: str, file: Columns, layout: Layout, labels: Labels, settings: ImportSettings
) -> NDArray[np.float32]:
    """One member's scores (N, C) in the labels' row order; raises OOFError when rows or classes do not match."""
    what = f"member {name!r}"
    n_classes = len(labels.classes)
    if "{class}" not in layout.pattern:
        named = class_indices(file.get(layout.pattern, "the class named"), labels.classes, what)
        proba = named_proba(named, what, n_classes, settings.smoothing)
    else:
        found = matching(file, layout.pattern)
        lacking = [c for c in labels.classes if c not in found]
        if lacking:
            other = list(_numbers(file, layout.pattern, layout.id_name, settings))
            raise OOFError(
                f"{what} has no scores for {lacking}, it has {other[:12]}: every member needs the same classes"
            )
        extra = [c for c in _numbers(file, layout.pattern, layout.id_name, settings) if c not in labels.classes]
        if extra and not settings.classes and layout.pattern != "{class}":
            raise OOFError(f"{what} also scores {extra}, other members do not: every member needs the same classes")
        raw = matrix(file, layout.pattern, labels.classes, "scores")
        proba = as_proba(raw, what, n_classes, settings.space, settings.smoothing)
    if not layout.id_name:
        if len(proba) != len(labels):
            raise OOFError(
                f"{what} has {len(proba)} rows, the labels {len(labels)}, and no id to match them by: add an id column"
            )
        return proba
    return proba[rows_by_id(file.get(layout.id_name, "id"), labels, what)]


def rows_by_id(ids: NDArray[np.generic], labels: Labels, what: str) -> NDArray[np.intp]:
    """The index that brings rows with these ids into the labels' order; raises OOFError or DataError naming the first that do not match."""
    got = as_strings(ids, f"ids of {what}")
    unique, count = np.unique(got, return_counts=True)
    if (count > 1).any():
        raise OOFError(
            f"{what} has {int((count > 1).sum())} ids more than once; first: {unique[count > 1][:3].tolist()}: "
            "average repeats, or keep one row an id"
        )
    return match_ids(what, labels.ids, got)


def _known_classes(truth: Columns, settings: ImportSettings) -> tuple[str, ...]:
    found = vote_columns(truth, settings)
    return tuple(found[2]) if found else ()


def _numbers(file: Columns, pattern: str, id_name: str, settings: ImportSettings) -> dict[str, str]:
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
        c: name
        for c, name in matching(file, pattern).items()
        if name not in taken and not name.startswith("Unnamed:") and file.arrays[name].dtype.kind in "fiu"
    }


def _shared_id(files: Sequence[Columns], settings: ImportSettings) -> str:
    """The column that tells rows apart in every file: the one named, a usual one, or the first that all share."""
    if settings.id:
        for file in files:
            file.get(settings.id, "id")
        return settings.id
    truth, *members = files
    for name in USUAL["id"]:
        if all(name in file for file in files):
            return name
    for name, values in truth.arrays.items():
        shared = all(name in file for file in members) and not name.startswith("Unnamed:")
        if shared and values.dtype.kind != "f" and len(np.unique(values.astype(np.str_))) == len(values):
            return name
    for file in files:
        if any(name in file for name in USUAL["id"]):
            raise OOFError(
                f"{file.path} has ids, other files do not: give every file the same id column, or name it with id"
            )
    return ""
