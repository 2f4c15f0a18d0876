"""Predictions made elsewhere, imported as an OOF table: one `.npz`, one wide file, or one file per member.

N samples (rows), M members, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.columns import Columns, read_columns, read_npz
from foldstill.data.labels import Labels, as_strings
from foldstill.errors import OOFError
from foldstill.oof.arrays import as_proba, smoothed_proba, with_folds
from foldstill.oof.import_settings import ImportSettings
from foldstill.oof.member_files import Layout, find_layout, member_name, member_proba, rows_by_id
from foldstill.oof.roles import class_columns, label_columns, role_values, vote_columns
from foldstill.oof.store import is_score_file, members_by_columns, read_table
from foldstill.oof.table import OOFTable, ScoreTable


def import_scores(paths: Sequence[str | Path], settings: ImportSettings | None = None) -> OOFTable:
    """Import predictions that were made elsewhere as an OOF table.

    Rows are matched by id and classes by name. A table that foldstill wrote is read as it is. Without folds, group
    folds are made to cross-fit combiners. Nothing is repaired in silence.

    Parameters
    ----------
    paths : sequence of str or Path
        One `.npz`, one wide CSV or parquet file, or one CSV or parquet file per member.
    settings : ImportSettings, optional
        Names of keys and columns; usual names are recognised without it.

    Returns
    -------
    OOFTable

    Raises
    ------
    OOFError, DataError, FoldError
        With what was wanted, what was received, the file, and the cure.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np, foldstill as fs
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/p.npz", pred=[[[0.9, 0.1]], [[0.2, 0.8]]], votes=[[3, 0], [1, 2]], fold=[0, 1])
    ...     table = fs.import_scores([f"{folder}/p.npz"])
    >>> table.proba_NMC.shape, table.folds
    ((2, 1, 2), [0, 1])
    """
    settings = settings or ImportSettings()
    files = [Path(path) for path in paths]
    if not files:
        raise OOFError(
            "no file to import: give one .npz, one wide .parquet or .csv, or one .csv or .parquet per member"
        )
    packed = [path for path in files if path.suffix == ".npz"]
    if packed and len(files) > 1:
        raise OOFError(f"{packed[0]} holds all members of its table, got {len(files)} files: import one .npz at a time")
    if packed:
        table = _from_npz(read_npz(files[0]), settings)
    elif len(files) == 1 and is_score_file(files[0]):
        table = read_table(files[0])
    else:
        sources = [read_columns(path) for path in files]
        wide = _wide_columns(sources[0], settings) if len(sources) == 1 else None
        table = _from_wide(sources[0], wide, settings) if wide else _from_members(sources, settings)
    return table.drop(settings.drop_members) if settings.drop_members else table


def _label_source(scores: Columns, settings: ImportSettings) -> Columns:
    """The file that holds the labels: a file of their own, or the file of the scores."""
    return read_columns(Path(settings.labels)) if settings.labels else scores


def _from_npz(source: Columns, settings: ImportSettings) -> OOFTable:
    raw = role_values(source, settings, "pred")
    if raw is None:
        raise OOFError(f"{source.path} has no predictions, it has {source.listing}: name the key with pred")
    class_names = None if settings.classes else role_values(source, settings, "classes")
    classes = settings.classes if class_names is None else tuple(str(name) for name in class_names.tolist())
    label_source = _label_source(source, settings)
    name = f"{source.path}: predictions"
    if raw.ndim == 2 and raw.dtype.kind in "iu":
        labels = label_columns(label_source, settings, classes).read(label_source)
        proba = smoothed_proba(raw, name, len(labels.classes), settings.smoothing)
    else:
        # One member alone may come without its axis. Scores are checked before labels: rows that do not sum to 1 are
        # how independent findings (multi-label) show, and those would make wrong votes as well.
        raw = raw[:, None, :] if raw.ndim == 2 else raw
        proba = as_proba(raw, name, len(classes) or raw.shape[-1], settings.space, settings.smoothing)
        labels = label_columns(label_source, settings, classes).read(label_source)
    member_names = role_values(source, settings, "members")
    names = range(proba.shape[1]) if member_names is None else member_names.tolist()
    members = tuple(f"m{i}" if member_names is None else str(i) for i in names)
    return _assembled(source, label_source, proba, members, labels, settings)


@dataclass(frozen=True)
class WideColumns:
    """The score columns of one file that holds all members: the column of each member and class."""

    members: tuple[str, ...]
    classes: tuple[str, ...]

    @property
    def columns(self) -> list[str]:
        return [f"p__{member}__{c}" for member in self.members for c in self.classes]


def _wide_columns(source: Columns, settings: ImportSettings) -> WideColumns | None:
    """The members and classes of a file with columns `p__<member>__<class>`, or None when it has none."""
    label_source = _label_source(source, settings)
    by_votes = vote_columns(label_source, settings)
    last_parts = [name.rsplit("__", 1)[1] for name in class_columns(source, "p__{class}").values()]
    classes = settings.classes or tuple(by_votes[2] if by_votes else dict.fromkeys(last_parts))
    members = members_by_columns(source.arrays, classes)
    return WideColumns(members, classes) if members else None


def _from_wide(source: Columns, wide: WideColumns, settings: ImportSettings) -> OOFTable:
    label_source = _label_source(source, settings)
    labels = label_columns(label_source, settings, wide.classes).read(label_source)
    raw = source.matrix(wide.columns, "scores").reshape(-1, len(wide.members), len(wide.classes))
    proba = as_proba(raw, f"{source.path}: predictions", len(wide.classes), settings.space, settings.smoothing)
    return _assembled(source, label_source, proba, wide.members, labels, settings)


def _assembled(
    source: Columns,
    label_source: Columns,
    proba_NMC: NDArray[np.float32],
    members: tuple[str, ...],
    labels: Labels,
    settings: ImportSettings,
) -> OOFTable:
    """The table of scores that one file holds for all members, with its labels from the same file or another one."""
    if proba_NMC.shape[-1] != len(labels.classes):
        raise OOFError(
            f"{source.path} has predictions of {proba_NMC.shape[-1]} classes, "
            f"the labels in {label_source.path} are of {list(labels.classes)}: give both the same classes"
        )
    ids = role_values(source, settings, "id") if label_source is not source else None
    rows = None if ids is None else rows_by_id(ids, labels, str(source.path))
    if rows is None and len(proba_NMC) != len(labels):
        raise OOFError(
            f"{source.path} has predictions of {len(proba_NMC)} rows, the labels are {len(labels)}: "
            "give both the same rows, or ids to match them by"
        )
    scores = ScoreTable(labels.ids, members, labels.classes, proba_NMC if rows is None else proba_NMC[rows])
    return _with_folds(scores, labels, label_source, source, rows, settings)


def _from_members(files: Sequence[Columns], settings: ImportSettings) -> OOFTable:
    label_source = _label_source(files[0], settings)
    layout = find_layout(files, label_source, settings)
    labels = label_columns(label_source, settings, layout.classes, layout.id_name).read(label_source)
    if label_source is files[0]:
        _require_same_labels(files, labels, layout, settings)
    names = tuple(member_name(file.path.name) for file in files)
    proba = [member_proba(name, file, layout, labels, settings) for name, file in zip(names, files, strict=True)]
    scores = ScoreTable(labels.ids, names, labels.classes, np.stack(proba, axis=1))
    rows = rows_by_id(files[0].get(layout.id_name, "id"), labels, names[0]) if layout.id_name else None
    return _with_folds(scores, labels, label_source, files[0], rows, settings)


def _require_same_labels(files: Sequence[Columns], labels: Labels, layout: Layout, settings: ImportSettings) -> None:
    """Refuse members whose files hold different labels for the same ids: their rows or their labels are misaligned."""
    for file in files[1:]:
        other = label_columns(file, settings, labels.classes, layout.id_name).read(file)
        rows = rows_by_id(other.ids, labels, member_name(file.path.name))
        differ = np.flatnonzero((other.votes_NC[rows] != labels.votes_NC).any(axis=1))
        if len(differ):
            raise OOFError(
                f"{file.path} and {files[0].path} hold different labels for {len(differ)} of {len(labels)} rows; "
                f"first ids: {labels.ids[differ][:3].tolist()}: their rows are misaligned, or one has other labels"
            )


def _with_folds(
    scores: ScoreTable,
    labels: Labels,
    label_source: Columns,
    source: Columns,
    rows: NDArray[np.intp] | None,
    settings: ImportSettings,
) -> OOFTable:
    """The table with its folds: from their own file, from the file of labels or of scores, or made by group."""
    fold: NDArray[Any] | None = None
    if settings.folds:
        fold = _folds_by_key(read_columns(Path(settings.folds)), labels, settings)
    else:
        only_beside_scores = settings.fold and settings.fold not in label_source and settings.fold in source
        holder = source if only_beside_scores else label_source
        fold = _fold_column(holder, settings)
        if fold is None and label_source is not source:
            holder, fold = source, _fold_column(source, settings)
        if fold is not None and holder is not label_source and rows is not None:
            fold = fold[rows]
    return with_folds(scores, labels, fold, n_folds=settings.n_folds, seed=settings.seed)


def _fold_column(source: Columns, settings: ImportSettings) -> NDArray[Any] | None:
    """The fold of each row of a file: one column, or which of the columns that match a pattern holds the 1."""
    if "*" not in settings.fold:
        return role_values(source, settings, "fold")
    names = [name for name in source.arrays if fnmatchcase(name, settings.fold)]
    if not names:
        raise OOFError(f"{source.path} has no column {settings.fold!r}, it has {source.listing}: correct fold")
    flags_NK = source.matrix(names, "fold")
    if not ((flags_NK == 0) | (flags_NK == 1)).all() or (flags_NK.sum(axis=1) != 1).any():
        raise OOFError(
            f"columns {names} in {source.path} must hold one 1 per row, for the fold it was held out in, and else 0: "
            "correct the rows, or name one column of fold numbers with fold"
        )
    fold_N: NDArray[Any] = flags_NK.argmax(axis=1)
    return fold_N


def _folds_by_key(source: Columns, labels: Labels, settings: ImportSettings) -> NDArray[Any]:
    """The fold of each row from a file with one row per id or per group."""
    fold = _fold_column(source, settings)
    if fold is None:
        raise OOFError(f"{source.path} has no folds, it has {source.listing}: name the column with fold")
    by_id = role_values(source, settings, "id") if settings.id in source or not settings.id else None
    keys, wanted = (by_id, labels.ids) if by_id is not None else (role_values(source, settings, "group"), labels.groups)
    if keys is None:
        raise OOFError(f"{source.path} has neither ids nor groups, it has {source.listing}: name one with id or group")
    names = as_strings(keys, f"ids or groups in {source.path}").tolist()
    row = {name: i for i, name in enumerate(names)}
    lacking = sorted({name for name in wanted.tolist() if name not in row})
    if lacking:
        raise OOFError(
            f"{source.path} has no fold for {len(lacking)} ids or groups; first: {lacking[:3]}: give each a fold"
        )
    fold_N: NDArray[Any] = fold[[row[name] for name in wanted.tolist()]]
    return fold_N
