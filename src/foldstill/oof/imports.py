"""Predictions made elsewhere, brought in as an OOF table: one `.npz`, one wide file, or one file a member.

N rows, M members, C classes.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.columns import Columns, read_frame, read_npz
from foldstill.data.labels import Labels, as_strings
from foldstill.errors import OOFError
from foldstill.oof.arrays import as_proba, named_proba, with_folds
from foldstill.oof.import_settings import ImportSettings
from foldstill.oof.member_files import Layout, layout_of, member_name, member_proba, rows_by_id
from foldstill.oof.roles import find, labels_of, matching, matrix
from foldstill.oof.store import is_score_file, read_table
from foldstill.oof.table import OOFTable, ScoreTable


def import_scores(paths: Sequence[Path], settings: ImportSettings | None = None) -> OOFTable:
    """The OOF table in one `.npz`, one wide CSV or parquet file, or one CSV or parquet file a member.

    Rows are matched by id, classes by name. A table that foldstill wrote is read as it is. Without folds, group folds
    are made for the cross-fit of combiners. Raises OOFError or DataError with what was wanted, what came, where and the
    cure; nothing is repaired in silence.
    """
    settings = settings or ImportSettings()
    paths = [Path(path) for path in paths]
    if not paths:
        raise OOFError("no file to import: give one .npz, one wide .parquet, or one .csv a member")
    packed = [path for path in paths if path.suffix == ".npz"]
    if packed and len(paths) > 1:
        raise OOFError(f"{packed[0]} holds all members of its table, got {len(paths)} files: import one .npz at a time")
    if packed:
        table = _from_npz(read_npz(paths[0]), settings)
    elif len(paths) == 1 and is_score_file(paths[0]):
        table = read_table(paths[0])
    else:
        files = [read_frame(path) for path in paths]
        wide = _wide_names(files[0], settings) if len(files) == 1 else None
        table = _from_wide(files[0], *wide, settings) if wide else _from_members(files, settings)
    return table.drop(settings.drop_members) if settings.drop_members else table


def _from_npz(source: Columns, settings: ImportSettings) -> OOFTable:
    raw = find(source, settings, "pred")
    if raw is None:
        raise OOFError(f"{source.path} has no predictions, it has {list(source.arrays)}: name the key with pred")
    names = None if settings.classes else find(source, settings, "classes")
    classes = settings.classes if names is None else tuple(str(name) for name in names.tolist())
    truth = read_frame(Path(settings.labels)) if settings.labels else source
    what = f"{source.path}: predictions"
    if raw.ndim == 2 and raw.dtype.kind in "iu":
        labels = labels_of(truth, settings, classes)
        proba = named_proba(raw, what, len(labels.classes), settings.smoothing)
    else:
        # One member alone may come without its axis. Scores are looked at before labels: independent findings
        # (multi-label) are told by rows that do not sum to one, and would make poor votes as well.
        raw = raw[:, None, :] if raw.ndim == 2 else raw
        proba = as_proba(raw, what, len(classes) or raw.shape[-1], settings.space, settings.smoothing)
        labels = labels_of(truth, settings, classes)
    found = find(source, settings, "members")
    members = tuple(f"m{i}" for i in range(proba.shape[1])) if found is None else tuple(str(m) for m in found.tolist())
    return _assembled(source, truth, proba, members, labels, settings)


def _from_wide(
    source: Columns, members: tuple[str, ...], classes: tuple[str, ...], settings: ImportSettings
) -> OOFTable:
    truth = read_frame(Path(settings.labels)) if settings.labels else source
    labels = labels_of(truth, settings, classes)
    raw = np.stack([matrix(source, f"p__{member}__{{class}}", classes, "scores") for member in members], axis=1)
    proba = as_proba(raw, f"{source.path}: predictions", len(classes), settings.space, settings.smoothing)
    return _assembled(source, truth, proba, members, labels, settings)


def _assembled(
    source: Columns,
    truth: Columns,
    proba_NMC: NDArray[np.float32],
    members: tuple[str, ...],
    labels: Labels,
    settings: ImportSettings,
) -> OOFTable:
    """The table of scores that one file holds for all members, its labels in the same file or in another."""
    if proba_NMC.shape[-1] != len(labels.classes):
        raise OOFError(
            f"{source.path} has predictions of {proba_NMC.shape[-1]} classes, "
            f"the labels are of {list(labels.classes)}: "
            "give both the same classes"
        )
    ids = find(source, settings, "id") if truth is not source else None
    rows = None if ids is None else rows_by_id(ids, labels, str(source.path))
    if rows is None and len(proba_NMC) != len(labels):
        raise OOFError(
            f"{source.path} has predictions of {len(proba_NMC)} rows, the labels are {len(labels)}: "
            "give both the same rows, or ids to match them by"
        )
    scores = ScoreTable(labels.ids, members, labels.classes, proba_NMC if rows is None else proba_NMC[rows])
    return _with_folds(scores, labels, truth, source, rows, settings)


def _from_members(files: Sequence[Columns], settings: ImportSettings) -> OOFTable:
    truth = read_frame(Path(settings.labels)) if settings.labels else files[0]
    layout = layout_of(files, truth, settings)
    labels = labels_of(truth, settings, layout.classes, layout.id_name)
    if truth is files[0]:
        _same_labels(files, labels, layout, settings)
    names = tuple(member_name(file.path.name) for file in files)
    proba = [member_proba(name, file, layout, labels, settings) for name, file in zip(names, files, strict=True)]
    scores = ScoreTable(labels.ids, names, labels.classes, np.stack(proba, axis=1))
    rows = rows_by_id(files[0].get(layout.id_name, "id"), labels, names[0]) if layout.id_name else None
    return _with_folds(scores, labels, truth, files[0], rows, settings)


def _same_labels(files: Sequence[Columns], labels: Labels, layout: Layout, settings: ImportSettings) -> None:
    """Refuse members whose files hold other labels for the same ids: their rows or their labels are misaligned."""
    for file in files[1:]:
        other = labels_of(file, settings, labels.classes, layout.id_name)
        rows = rows_by_id(other.ids, labels, member_name(file.path.name))
        differ = np.flatnonzero((other.votes_NC[rows] != labels.votes_NC).any(axis=1))
        if len(differ):
            raise OOFError(
                f"{file.path} and {files[0].path} hold different labels for {len(differ)} of {len(labels)} rows; "
                f"first ids: {labels.ids[differ][:3].tolist()}: their rows are misaligned, or one is of other labels"
            )


def _wide_names(source: Columns, settings: ImportSettings) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """(members, classes) of columns `p__<member>__<class>`, or None when there are none."""
    pairs = [tuple(rest.rsplit("__", 1)) for rest in matching(source, "p__{class}") if "__" in rest]
    classes = settings.classes or tuple(matching(source, "votes__{class}")) or tuple(dict.fromkeys(p[1] for p in pairs))
    tails = [
        (rest[: -len(c) - 2], c) for rest in matching(source, "p__{class}") for c in classes if rest.endswith(f"__{c}")
    ]
    members = tuple(dict.fromkeys(member for member, _ in tails))
    return (members, classes) if members else None


def _with_folds(
    scores: ScoreTable,
    labels: Labels,
    truth: Columns,
    source: Columns,
    rows: NDArray[np.intp] | None,
    settings: ImportSettings,
) -> OOFTable:
    """The table with its folds: from their own file, beside the labels, or beside the scores; else made by group."""
    fold: NDArray[Any] | None = None
    if settings.folds:
        fold = _joined_folds(read_frame(Path(settings.folds)), labels, settings)
    else:
        holder = source if settings.fold and settings.fold not in truth and settings.fold in source else truth
        fold = _fold_column(holder, settings)
        if fold is None and truth is not source:
            holder, fold = source, _fold_column(source, settings)
        if fold is not None and holder is not truth and rows is not None:
            fold = fold[rows]
    return with_folds(scores, labels, fold, n_folds=settings.n_folds, seed=settings.seed)


def _fold_column(source: Columns, settings: ImportSettings) -> NDArray[Any] | None:
    """The fold of each row of a file: one column, or the place of the 1 among columns that a pattern fits."""
    if "*" not in settings.fold:
        return find(source, settings, "fold")
    names = [name for name in source.arrays if fnmatchcase(name, settings.fold)]
    if not names:
        raise OOFError(
            f"{source.path} has no column {settings.fold!r}, it has {list(source.arrays)[:12]}: correct fold"
        )
    flags_NK = np.stack([source.get(name, "fold") for name in names], axis=1)
    if not ((flags_NK == 0) | (flags_NK == 1)).all() or (flags_NK.sum(axis=1) != 1).any():
        raise OOFError(
            f"columns {names} in {source.path} must hold one 1 a row, the fold it was held out in, and else 0"
        )
    place: NDArray[Any] = flags_NK.argmax(axis=1)
    return place


def _joined_folds(source: Columns, labels: Labels, settings: ImportSettings) -> NDArray[Any]:
    """The fold of each row from a file with one row an id or a group."""
    fold = _fold_column(source, settings)
    if fold is None:
        raise OOFError(f"{source.path} has no folds, it has {list(source.arrays)}: name the column with fold")
    by_id = find(source, settings, "id") if settings.id in source or not settings.id else None
    keys, wanted = (by_id, labels.ids) if by_id is not None else (find(source, settings, "group"), labels.groups)
    if keys is None:
        raise OOFError(
            f"{source.path} has neither ids nor groups, it has {list(source.arrays)}: name one with id or group"
        )
    place = dict(zip(as_strings(keys, "folds").tolist(), range(len(keys)), strict=True))
    lacking = sorted({name for name in wanted.tolist() if name not in place})
    if lacking:
        raise OOFError(
            f"{source.path} has no fold for {len(lacking)} ids or groups; first: {lacking[:3]}: give each a fold"
        )
    joined: NDArray[Any] = fold[[place[name] for name in wanted.tolist()]]
    return joined
