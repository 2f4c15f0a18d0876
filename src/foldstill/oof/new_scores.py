"""Scores of new rows without labels, made elsewhere: one CSV or parquet file per member, or one wide file.

N samples (rows), M members, C classes.
"""

import re
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

import numpy as np

from foldstill.data.columns import Columns, read_columns
from foldstill.data.text import Strings, as_strings
from foldstill.errors import OOFError
from foldstill.oof.column_names import members_by_columns
from foldstill.oof.import_settings import ImportSettings
from foldstill.oof.imports import notes_last
from foldstill.oof.member_files import (
    find_layout,
    member_columns,
    member_name,
    member_proba,
    member_rows,
    one_probability,
)
from foldstill.oof.probabilities import as_proba
from foldstill.oof.roles import role_values
from foldstill.oof.table import ScoreTable


def import_new_scores(
    paths: Sequence[Path], members: Sequence[str], classes: Sequence[str], settings: ImportSettings | None = None
) -> ScoreTable:
    """Scores of new rows by these members, in the order of the rows of the first file.

    Files are matched to members by name, see `match_members`; rows by id and columns by class.

    Raises
    ------
    OOFError, DataError
        When a member, row or class is missing, or scores are not probabilities.
    """
    with notes_last():
        return _scores(paths, members, classes, settings or ImportSettings())


def _scores(
    paths: Sequence[Path], members: Sequence[str], classes: Sequence[str], settings: ImportSettings
) -> ScoreTable:
    files = [read_columns(path) for path in paths]
    if len(files) == 1 and (found := members_by_columns(files[0].arrays, classes)):
        return _wide(files[0], found, classes, settings)
    if len(files) == 1 and "{member}" in settings.scores:
        return _one_column_per_member(files[0], members, classes, settings)
    by_name = dict(zip((member_name(file.path.name) for file in files), files, strict=True))
    if len(by_name) < len(files):
        raise OOFError(f"files must have different names, got {[str(path) for path in paths]}: give one per member")
    ordered = [by_name[name] for name in match_members(list(by_name), members)]
    layout = find_layout(ordered, None, settings, tuple(classes))
    first = ordered[0]
    n_rows = len(next(iter(first.arrays.values())))
    names = first.text(layout.id_names[first.path], "id") if layout.has_ids else np.arange(n_rows)
    ids = as_strings(names, f"ids in {first.path}")
    proba = []
    for member, file in zip(members, ordered, strict=True):
        own = member_proba(member, file, layout, tuple(classes), settings)
        rows = member_rows(member, file, layout, ids)
        proba.append(own if rows is None else own[rows])
    return ScoreTable(ids, tuple(members), tuple(classes), np.stack(proba, axis=1))


def match_members(names: Sequence[str], members: Sequence[str]) -> list[str]:
    """The name of each member's file; prefixes and suffixes that all files or all members share do not count.

    >>> match_members(["test_gbm", "test_cnn"], ["cnn_oof", "gbm_oof"])
    ['test_cnn', 'test_gbm']

    Raises OOFError when a member has no file, or a file no member.
    """
    if set(names) == set(members):
        return list(members)
    files, wanted = _without_shared(names), _without_shared(members)
    if sorted(files) != sorted(wanted) or len(set(files)) < len(files):
        lacking = [member for member, name in zip(members, wanted, strict=True) if name not in files]
        extra = [file for file, name in zip(names, files, strict=True) if name not in wanted]
        received = f"members {lacking} have no file" if lacking else "every member has a file"
        if extra:
            received += f", and files {extra} have no member" if lacking else f", but files {extra} have no member"
        raise OOFError(
            f"{received}; the combination has the members {list(members)}, got files of {list(names)}: give one file "
            "per member, named like the member"
        )
    return [names[files.index(name)] for name in wanted]


def _without_shared(names: Sequence[str]) -> list[str]:
    """The names without the words at their start and end that all of them have, as in oof_a, oof_b."""
    words = [re.split(r"([_\-. ])", name) for name in names]
    if len(words) < 2:
        return list(names)
    start = _n_shared(words)
    end = _n_shared([each[start:][::-1] for each in words])
    return ["".join(each[start : len(each) - end]) for each in words]


def _n_shared(words: Sequence[Sequence[str]]) -> int:
    """Number of words at the start that all lists share."""
    return sum(1 for _ in takewhile(lambda each: len(set(each)) == 1, zip(*words, strict=False)))


def _wide(source: Columns, found: Sequence[str], classes: Sequence[str], settings: ImportSettings) -> ScoreTable:
    raw = source.matrix([f"p__{m}__{c}" for m in found for c in classes], "scores")
    raw = raw.reshape(-1, len(found), len(classes))
    proba = as_proba(raw, f"{source.path}: predictions", len(classes), settings.space, settings.smoothing)
    return ScoreTable(_ids(source, len(proba), settings), tuple(found), tuple(classes), proba)


def _one_column_per_member(
    source: Columns, members: Sequence[str], classes: Sequence[str], settings: ImportSettings
) -> ScoreTable:
    columns = member_columns(source, settings)
    proba = [
        one_probability(source, columns[name], f"{columns[name]!r} in {source.path}", classes, settings)
        for name in match_members(list(columns), members)
    ]
    return ScoreTable(_ids(source, len(proba[0]), settings), tuple(members), tuple(classes), np.stack(proba, axis=1))


def _ids(source: Columns, n_rows: int, settings: ImportSettings) -> Strings:
    """The ids in a file; the row numbers where there are none."""
    ids = role_values(source, settings, "id")
    return as_strings(np.arange(n_rows) if ids is None else ids, f"ids in {source.path}")
