"""One CSV or parquet file per member: which columns hold its scores, and to which rows they belong.

N samples (rows), C classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.classes import in_order, match_classes
from foldstill.data.columns import CSV, PARQUET, Columns
from foldstill.data.row_order import match_ids
from foldstill.data.simplex import ROW_SUM_TOLERANCE
from foldstill.data.text import Strings, as_strings, is_whole
from foldstill.errors import OOFError
from foldstill.oof.import_settings import ImportSettings
from foldstill.oof.one_probability import both_classes
from foldstill.oof.probabilities import as_proba, smoothed_proba
from foldstill.oof.roles import (
    NAMED_CLASS,
    SCORES,
    USUAL,
    VOTES,
    class_columns,
    column_names,
    has_fractions,
    role_column,
    vote_columns,
)


@dataclass(frozen=True)
class Layout:
    """How the files of members are read: column of the ids per file ("" for none), pattern of scores, classes."""

    id_names: Mapping[Path, str]
    pattern: str
    classes: tuple[str, ...]

    @property
    def has_ids(self) -> bool:
        return all(self.id_names.values())


def find_layout(
    files: Sequence[Columns], label_source: Columns | None, settings: ImportSettings, classes: tuple[str, ...] = ()
) -> Layout:
    """The layout by the settings and the first file, for the given classes or those of the labels.

    Without named classes, they are in the order of the first file; whole numbers are in the order of their values.
    """
    first = files[0]
    sources = list(files) if label_source is None or label_source is first else [label_source, *files]
    id_names = _id_columns(sources, settings)
    class_names = classes or settings.classes or _vote_classes(label_source, settings)
    if settings.scores:
        named = class_columns(first, settings.scores) if "{class}" in settings.scores else {}
        return Layout(id_names, settings.scores, class_names or _in_order(named))
    # Where a file holds both, scores and labels have different names. Without labels, plain names and names of votes
    # are scores.
    patterns = [*SCORES, "{class}"] if label_source is first else [*SCORES, *VOTES, "{class}"]
    for pattern in patterns:
        columns = _score_columns(first, pattern, id_names[first.path], settings)
        if len(columns) > 1 and set(class_names) <= set(columns):
            return Layout(id_names, pattern, class_names or _in_order(columns))
    label = role_column(first, settings, "label") if label_source is first else ""
    for name in NAMED_CLASS:
        if name in first and name != label:
            return Layout(id_names, name, class_names)
    columns = _score_columns(first, "{class}", id_names[first.path], settings)
    only = next(iter(columns), "")
    if len(columns) == 1 and has_fractions(first.get(only, "scores")):
        return Layout(id_names, only, class_names)
    raise OOFError(
        f"{first.path} has no column for the classes {[c for c in class_names if c not in columns] or '(two or more)'}"
        f", it has {first.listing}: name the classes, or how columns are named with scores='{{class}}_prediction'"
    )


def member_name(file_name: str) -> str:
    """The name of a member: the name of its file without the suffix."""
    for ending in (*CSV, *PARQUET):
        if file_name.lower().endswith(ending):
            return file_name[: -len(ending)]
    return file_name


def member_proba(
    member: str,
    file: Columns,
    layout: Layout,
    classes: tuple[str, ...],
    settings: ImportSettings,
    *,
    unscored: bool = False,
) -> NDArray[np.float32]:
    """One member's scores (N, C) in the order of its file; raises OOFError when the classes do not match.

    Where rows may be `unscored`, those of NaN stay so.
    """
    name = f"{file.path}: member {member!r}"
    n_classes = len(classes)
    if "{class}" not in layout.pattern:
        return _one_column(file, layout, name, classes, settings, unscored=unscored)
    if settings.positive:
        raise OOFError(
            f"{name} has one column per class, so positive = {settings.positive!r} would have no effect: leave it out"
        )
    columns = class_columns(file, layout.pattern)
    lacking = [c for c in classes if c not in columns]
    others = list(_score_columns(file, layout.pattern, layout.id_names[file.path], settings))
    if lacking:
        raise OOFError(
            f"member {member!r} has no scores for {lacking}, {file.path} has {others[:12]}: "
            "every member needs the same classes"
        )
    extra = [c for c in others if c not in classes]
    if extra and not settings.classes and layout.pattern != "{class}":
        raise OOFError(f"{name} also scores {extra}, other members do not: every member needs the same classes")
    raw = file.matrix(column_names(layout.pattern, classes), "scores")
    if layout.pattern == "{class}" and not settings.classes and settings.space == "proba":
        _require_scores_only(raw, name, classes)
    return as_proba(raw, name, n_classes, settings.space, settings.smoothing, unscored=unscored)


def _require_scores_only(raw_NC: NDArray[Any], name: str, classes: Sequence[str]) -> None:
    """Refuse columns that were taken as classes by their position among probabilities, such as a column `epoch`."""
    others = [
        class_name
        for class_name, column in zip(classes, raw_NC.T, strict=True)
        if ((column < -ROW_SUM_TOLERANCE) | (column > 1 + ROW_SUM_TOLERANCE)).any()
    ]
    kept = [class_name for class_name in classes if class_name not in others]
    if others and len(kept) >= 2:
        raise OOFError(
            f"{name}: columns {others[:12]} stand beside those of the classes, but hold no probabilities in [0, 1]: "
            f"name the classes, with classes in Python or --classes {' '.join(kept)} on the command line"
        )


def _one_column(
    file: Columns, layout: Layout, name: str, classes: tuple[str, ...], settings: ImportSettings, *, unscored: bool
) -> NDArray[np.float32]:
    """Scores of a member with one column: the probability of the positive class, or the name of a class."""
    column = layout.pattern
    if column not in file and not settings.scores and len(own := _only_columns(file, layout, settings)) == 1:
        column = own[0]
    values = file.get(column, "scores")
    if settings.positive or has_fractions(values):
        return one_probability(file, column, name, classes, settings, unscored=unscored)
    matched = match_classes(file.text(column, "the class named"), classes, name)
    return smoothed_proba(matched.index_N, name, len(classes), settings.smoothing)


def _only_columns(file: Columns, layout: Layout, settings: ImportSettings) -> list[str]:
    """Columns that may hold the scores of a member that has one column, called otherwise than in the first file."""
    return list(_score_columns(file, "{class}", layout.id_names[file.path], settings).values())


def one_probability(
    file: Columns, column: str, name: str, classes: Sequence[str], settings: ImportSettings, *, unscored: bool = False
) -> NDArray[np.float32]:
    """Scores of two classes (N, 2) from a column that holds those of one; it may be named like its class.

    `name` says in errors whose they are.
    """
    named = [c for c in classes if column in {c, *(pattern.replace("{class}", c) for pattern in SCORES)}]
    of_class = named[0] if named else ""
    if of_class and settings.positive not in ("", of_class):
        raise OOFError(
            f"{name}: the column {column!r} is named like the class {of_class!r}, but positive is "
            f"{settings.positive!r}: correct one of them"
        )
    values, logits = file.get(column, "scores"), settings.space == "logit"
    pair_N2 = both_classes(values, name, classes, named=settings.positive or of_class, logits=logits)
    return as_proba(pair_N2, name, 2, settings.space, settings.smoothing, unscored=unscored)


def member_columns(file: Columns, settings: ImportSettings) -> dict[str, str]:
    """Member -> column in a file with one column per member, by a pattern such as `oof_{member}`."""
    pattern = settings.scores.replace("{member}", "{class}")
    columns = _score_columns(file, pattern, role_column(file, settings, "id"), settings)
    if not columns:
        raise OOFError(f"{file.path} has no column like {settings.scores!r}, it has {file.listing}: correct it")
    return columns


def member_rows(member: str, file: Columns, layout: Layout, wanted: Strings) -> NDArray[np.intp] | None:
    """Index that brings a member's rows into the order of the wanted ids; None where no file has ids.

    Raises OOFError when ids do not match, or the number of rows where there are no ids.
    """
    name = f"{file.path}: member {member!r}"
    if layout.has_ids:
        return rows_by_id(file.text(layout.id_names[file.path], "id"), wanted, name)
    n_rows = len(next(iter(file.arrays.values())))
    if n_rows != len(wanted):
        raise OOFError(
            f"{name} has {n_rows} rows, the labels {len(wanted)}, and no id to match them by: "
            f"add an id column to {file.path}"
        )
    return None


def rows_by_id(ids: NDArray[Any], wanted: Strings, name: str) -> NDArray[np.intp]:
    """Index that brings rows with these ids into the order of the wanted ids.

    Raises OOFError or DataError with the first ids that repeat or do not match; `name` says whose they are.
    """
    received = as_strings(ids, f"ids of {name}")
    unique, count = np.unique(received, return_counts=True)
    if (count > 1).any():
        raise OOFError(
            f"{name} has {int((count > 1).sum())} ids more than once; first: {unique[count > 1][:3].tolist()}: "
            "average repeated rows, or keep one row per id"
        )
    return match_ids(name, wanted, received)


def _vote_classes(label_source: Columns | None, settings: ImportSettings) -> tuple[str, ...]:
    by_class = None if label_source is None else vote_columns(label_source, settings)
    return tuple(by_class[2]) if by_class else ()


def _in_order(names: Iterable[str]) -> tuple[str, ...]:
    """The names in their order; whole numbers in the order of their values."""
    listed = list(names)
    return tuple(in_order(listed) if all(map(is_whole, listed)) else listed)


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
    usual = {name for role in USUAL.values() for name in role}
    columns: dict[str, str] = {}
    for class_name, name in class_columns(file, pattern).items():
        values = file.arrays[name]
        if name in taken or values.dtype.kind not in "fiu":
            continue
        # A class may be called y: a column of fractions under such a name holds scores, never labels.
        called_so = class_name in settings.classes or (name.casefold() in USUAL["label"] and has_fractions(values))
        if called_so or name.casefold() not in usual:
            columns[class_name] = name
    return columns


def _id_columns(files: Sequence[Columns], settings: ImportSettings) -> dict[Path, str]:
    """Column of the ids per file: as the settings name it, a usual name, or the first that all files share."""
    if settings.id:
        # An index without a name cannot be named otherwise.
        return {f.path: "index" if settings.id not in f and "index" in f else _required(f, settings.id) for f in files}
    names = {file.path: role_column(file, settings, "id") for file in files}
    for name in USUAL["id"]:
        if all(name in file for file in files):
            return dict.fromkeys(names, name)
    first, *others = files
    for name, values in first.arrays.items():
        if all(name in file for file in others) and values.dtype.kind != "f" and values.ndim == 1:
            texts = first.text(name, "id").astype(np.str_)
            if len(np.unique(texts)) == len(texts):
                return dict.fromkeys(names, name)
    without = [str(path) for path, name in names.items() if not name]
    if 0 < len(without) < len(names):
        raise OOFError(
            f"{without[0]} has no ids, other files have ids: give every file the same id column, or name it with id"
        )
    return names


def _required(file: Columns, name: str) -> str:
    file.get(name, "id")
    return name
