"""Predictions made elsewhere, imported as an OOF table: one `.npz`, one wide file, or one file per member.

N samples (rows), M members, C classes.
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.arguments import require_types
from foldstill.data.classes import match_classes, positional_names
from foldstill.data.columns import Columns, read_columns, read_npz
from foldstill.data.label_columns import LabelColumns
from foldstill.data.labels import Labels
from foldstill.data.text import as_strings
from foldstill.errors import FoldstillWarning, OOFError, at
from foldstill.oof.arrays import with_folds
from foldstill.oof.column_names import members_by_columns
from foldstill.oof.import_settings import ImportSettings
from foldstill.oof.member_files import (
    Layout,
    find_layout,
    member_columns,
    member_name,
    member_proba,
    member_rows,
    one_probability,
    rows_by_id,
)
from foldstill.oof.one_probability import both_classes, columns_of_members
from foldstill.oof.probabilities import as_proba, smoothed_proba
from foldstill.oof.roles import class_columns, column_names, label_columns, role_values, vote_columns
from foldstill.oof.store import is_score_file, read_table
from foldstill.oof.table import OOFTable, ScoreTable
from foldstill.oof.unlabelled import note_unlabelled, with_every_label
from foldstill.oof.unscored import scored_rows

Labelled = tuple[Labels, NDArray[np.bool_]]
"""Labels of all rows, and which rows have one: the others are left out of the table."""


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
    require_types(import_scores, locals())
    settings = settings or ImportSettings()
    files = [Path(path) for path in paths]
    if not files:
        raise OOFError(
            "paths of an import must name a file, got none: give one .npz, one wide .parquet or .csv, or one .csv or "
            ".parquet per member"
        )
    packed = [path for path in files if path.suffix == ".npz"]
    if packed and len(files) > 1:
        raise OOFError(f"{packed[0]} holds all members of its table, got {len(files)} files: import one .npz at a time")
    if packed:
        require_effect(files[0], settings, ("scores",))
        with notes_last():
            table = _from_npz(read_npz(files[0]), settings)
    elif len(files) == 1 and is_score_file(files[0]):
        require_effect(files[0], settings)
        table = read_table(files[0])
    else:
        require_effect(files[0], settings, ("pred", "members"))
        sources = [read_columns(path) for path in files]
        with notes_last():
            table = _from_wide(sources, settings) or _from_members(sources, settings)
    return table.drop(settings.drop_members) if settings.drop_members else table


@contextmanager
def notes_last() -> Iterator[None]:
    """Give the warnings of the block when it has succeeded: a note about what is then refused would mislead."""
    with warnings.catch_warnings(record=True) as notes:
        yield
    for note in notes:
        warnings.warn(note.message, note.category, stacklevel=4)


def require_effect(path: Path, settings: ImportSettings, without: Iterable[str] = ()) -> None:
    """Refuse settings that would have no effect on a file of this form; by default all but drop_members."""
    names = list(without) or [field.name for field in fields(ImportSettings) if field.name != "drop_members"]
    given = [name for name in names if getattr(settings, name) != getattr(ImportSettings(), name)]
    if given:
        raise OOFError(f"{', '.join(given)} would have no effect on {path}: remove what is not needed")


def _label_source(scores: Columns, settings: ImportSettings) -> Columns:
    """The file that holds the labels: a file of their own, or the file of the scores."""
    return read_columns(Path(settings.labels)) if settings.labels else scores


def _from_npz(source: Columns, settings: ImportSettings) -> OOFTable:
    raw = role_values(source, settings, "pred")
    if raw is None:
        raise OOFError(f"{source.path} has no predictions, it has {source.listing}: name the key with pred")
    classes = settings.classes or _names(source, settings, "classes") or ()
    members = _names(source, settings, "members")
    label_source = _label_source(source, settings)
    name = f"{source.path}: predictions"
    if raw.ndim == 2 and raw.dtype.kind in "iuU":
        labels, known_N = _labels(label_source, label_columns(label_source, settings, classes), settings)
        named = match_classes(raw.ravel(), labels.classes, name).index_N.reshape(raw.shape)
        proba = smoothed_proba(named, name, len(labels.classes), settings.smoothing)
    elif (columns_NM := columns_of_members(raw, settings.positive, members)) is not None:
        labels, known_N = _labels(label_source, label_columns(label_source, settings, classes), settings)
        logits = settings.space == "logit"
        pair_NM2 = both_classes(columns_NM, name, labels.classes, named=settings.positive, logits=logits)
        proba = as_proba(pair_NM2, name, 2, settings.space, settings.smoothing, unscored=True, overwrite=True)
    else:
        require_effect(source.path, settings, ("positive",))
        # One member alone may come without its axis. Scores are checked before labels: rows that do not sum to 1 are
        # how independent findings (multi-label) show, and those would make wrong votes as well.
        raw = raw[:, None, :] if raw.ndim == 2 else raw
        n_classes = len(classes) or raw.shape[-1]
        proba = as_proba(raw, name, n_classes, settings.space, settings.smoothing, unscored=True, overwrite=True)
        columns = label_columns(label_source, settings, classes)
        labels, known_N = _labels(label_source, columns, settings, proba.shape[-1])
    members = members or tuple(f"m{i}" for i in range(proba.shape[1]))
    return _assembled(source, label_source, proba, members, (labels, known_N), settings)


def _names(source: Columns, settings: ImportSettings, role: Literal["members", "classes"]) -> tuple[str, ...] | None:
    """The names of the members or classes in an `.npz`; None when it has none."""
    values = role_values(source, settings, role)
    if values is None:
        return None
    names = as_strings(values, f"{role} in {source.path}").tolist()
    if not names:
        raise OOFError(f"{role} in {source.path} is empty: give one name per entry of the predictions, or leave it out")
    return tuple(names)


def _labels(source: Columns, columns: LabelColumns, settings: ImportSettings, n_classes: int = 0) -> Labelled:
    """The labels in a file, and which rows have one; a warning says where classes and labels were matched by position.

    `n_classes` is the number of columns of predictions that have no names.
    """
    known_N = np.ones(len(next(iter(source.arrays.values()))), dtype=bool)
    if settings.skip_unlabelled:
        source, known_N = with_every_label(source, columns)
        note_unlabelled(known_N, columns)
    return _read_labels(source, columns, n_classes), known_N


def _read_labels(source: Columns, columns: LabelColumns, n_classes: int) -> Labels:
    if not columns.label:
        return columns.read(source)
    values = source.text(columns.label, "label")
    if not columns.classes and n_classes:
        names = positional_names(values, n_classes)
        labels = (replace(columns, classes=tuple(names)) if names else columns).read(source)
        _warn(
            f"the predictions have no class names, so their columns are taken to be {list(labels.classes)[:12]}, "
            f"as {columns.label!r} in {source.path} is numbered or sorted; name them with classes if that is wrong"
        )
        return labels
    labels = columns.read(source)
    if match_classes(values, labels.classes, columns.label).by == "position":
        _warn(
            f"{columns.label!r} in {source.path} holds numbers and the classes are {list(labels.classes)[:12]}, so "
            f"they are taken as positions: 0 is {labels.classes[0]!r}, 1 is {labels.classes[1]!r}; "
            "name the classes in the right order with classes if that is wrong"
        )
    return labels


def _warn(message: str) -> None:
    warnings.warn(message, FoldstillWarning, stacklevel=3)


def _from_wide(sources: Sequence[Columns], settings: ImportSettings) -> OOFTable | None:
    """The table in one file of columns `p__<member>__<class>`, or of one column per member; None for other files."""
    source = sources[0]
    if "{member}" in settings.scores and len(sources) > 1:
        raise OOFError(f"scores = {settings.scores!r} names columns of one file, got {len(sources)} files: give one")
    label_source = _label_source(source, settings)
    if "{member}" in settings.scores:
        columns = member_columns(source, settings)
        labels, known_N = _labels(label_source, label_columns(label_source, settings, settings.classes), settings)
        each = [
            one_probability(source, column, f"{column!r} in {source.path}", labels.classes, settings, unscored=True)
            for column in columns.values()
        ]
        return _assembled(source, label_source, np.stack(each, axis=1), tuple(columns), (labels, known_N), settings)
    if len(sources) > 1 or settings.scores:
        return None
    by_votes = vote_columns(label_source, settings)
    last_parts = [name.rsplit("__", 1)[1] for name in class_columns(source, "p__{class}").values()]
    classes = settings.classes or tuple(by_votes[2] if by_votes else dict.fromkeys(last_parts))
    members = members_by_columns(source.arrays, classes)
    if not members:
        return None
    require_effect(source.path, settings, ("positive",))
    labels, known_N = _labels(label_source, label_columns(label_source, settings, classes), settings)
    raw = source.matrix([f"p__{m}__{c}" for m in members for c in classes], "scores")
    raw = raw.reshape(-1, len(members), len(classes))
    name = f"{source.path}: predictions"
    proba = as_proba(raw, name, len(classes), settings.space, settings.smoothing, unscored=True, overwrite=True)
    return _assembled(source, label_source, proba, members, (labels, known_N), settings)


def _assembled(
    source: Columns,
    label_source: Columns,
    proba_NMC: NDArray[np.float32],
    members: tuple[str, ...],
    labelled: Labelled,
    settings: ImportSettings,
) -> OOFTable:
    """The table of scores that one file holds for all members, with its labels from the same file or another one."""
    labels, _ = labelled
    if proba_NMC.shape[-1] != len(labels.classes):
        raise OOFError(
            f"{source.path} has predictions of {proba_NMC.shape[-1]} classes, "
            f"the labels in {label_source.path} are of {list(labels.classes)}: give both the same classes"
        )
    ids = role_values(source, settings, "id") if label_source is not source else None
    rows = None if ids is None else rows_by_id(ids, labels.ids, str(source.path))
    if rows is None and len(proba_NMC) != len(labels):
        raise OOFError(
            f"{source.path} has predictions of {len(proba_NMC)} rows, the labels are {len(labels)}: "
            "give both the same rows, or ids to match them by"
        )
    files = [(label_source, None), *([] if label_source is source else [(source, rows)])]
    return _of_used_rows(members, proba_NMC if rows is None else proba_NMC[rows], labelled, files, settings)


def _from_members(files: list[Columns], settings: ImportSettings) -> OOFTable:
    """The table of one file per member; `files` holds them without their scores afterwards."""
    label_source = _label_source(files[0], settings)
    layout = find_layout(files, label_source, settings)
    plain = label_source is files[0] and layout.pattern == "{class}"
    id_name = layout.id_names[label_source.path]
    columns = label_columns(label_source, settings, layout.classes, id_name, classes_are_scores=plain)
    labels, known_N = _labels(label_source, columns, settings)
    if label_source is files[0]:
        _require_same_labels(files, (labels, known_N), columns, layout)
    names = tuple(member_name(file.path.name) for file in files)
    used = column_names(layout.pattern, labels.classes)
    sources: list[tuple[Columns, NDArray[np.intp] | None]] = []
    if label_source is not files[0]:
        sources.append((label_source, None))
    del label_source
    proba_NMC = np.empty((len(labels), len(files), len(labels.classes)), np.float32)
    for m, (name, file) in enumerate(zip(names, files, strict=True)):
        own = member_proba(name, file, layout, labels.classes, settings, unscored=True)
        rows = member_rows(name, file, layout, labels.ids)
        proba_NMC[:, m] = own if rows is None else own[rows]
        # What has been used is forgotten: scores in the form of their file take twice the memory of the table.
        files[m] = file.without([*used, layout.id_names[file.path]])
        sources.append((files[m], rows))
    return _of_used_rows(names, proba_NMC, (labels, known_N), sources, settings)


def _of_used_rows(
    members: tuple[str, ...],
    proba_NMC: NDArray[np.float32],
    labelled: Labelled,
    sources: Sequence[tuple[Columns, NDArray[np.intp] | None]],
    settings: ImportSettings,
) -> OOFTable:
    """The table of the rows that have labels and predictions, with their folds; `sources` are as in `_with_folds`."""
    labels, known_N = labelled
    scored_N = known_N
    if np.isnan(proba_NMC[:, :, 0]).any():
        scored_N = scored_rows(proba_NMC, members, labels.ids)
    used_N = known_N & scored_N
    if used_N.all():
        return _with_folds(ScoreTable(labels.ids, members, labels.classes, proba_NMC), labels, sources, settings)
    if not used_N.any():
        raise OOFError(f"{sources[0][0].path}: no row has both a label and predictions: give both for the same rows")
    used = np.flatnonzero(used_N)
    files = [(file, used if rows is None else rows[used]) for file, rows in sources]
    taken = labels.take(used)
    table = _with_folds(ScoreTable(taken.ids, members, taken.classes, proba_NMC[used]), taken, files, settings)
    return replace(table, n_unscored=int((known_N & ~scored_N).sum()))


def _require_same_labels(files: Sequence[Columns], labelled: Labelled, columns: LabelColumns, layout: Layout) -> None:
    """Refuse members whose files hold different labels for the same ids: their rows or their labels are misaligned."""
    labels, known_N = labelled
    for file in files[1:]:
        own, own_N = (file, known_N) if known_N.all() else with_every_label(file, columns)
        other = replace(columns, id=layout.id_names[file.path], classes=labels.classes).read(own)
        rows = rows_by_id(other.ids, labels.ids, member_name(file.path.name))
        same_N = (other.votes_NC[rows] == labels.votes_NC).all(axis=1) | ~known_N
        differ = np.flatnonzero(~same_N | (own_N[rows] != known_N))
        if len(differ):
            raise OOFError(
                f"{file.path} and {files[0].path} hold different labels for {len(differ)} of {len(labels)} rows; "
                f"first ids: {labels.ids[differ][:3].tolist()}: their rows are misaligned, or one has other labels"
            )


def _with_folds(
    scores: ScoreTable,
    labels: Labels,
    sources: Sequence[tuple[Columns, NDArray[np.intp] | None]],
    settings: ImportSettings,
) -> OOFTable:
    """The table with its folds: from their own file, from the file of labels or of scores, or made by group.

    `sources` are the files of labels and of scores, each with the index of its rows in the table. Files that hold other
    folds are refused, or named in a warning where the settings name the file of folds to use.
    """
    held: dict[Path, NDArray[Any]] = {}
    if settings.folds:
        path = Path(settings.folds)
        held[path] = _folds_by_key(read_columns(path), labels, settings)
    for file, rows in sources:
        own = _fold_column(file, settings, required=False)
        if own is not None:
            held[file.path] = own if rows is None else own[rows]
    if settings.fold and not held:
        _fold_column(sources[0][0], settings)
    fold = next(iter(held.values()), None)
    for path, other in held.items():
        if fold is not None and not _same_folds(fold, other, path):
            differ = np.flatnonzero(as_strings(fold, "folds") != as_strings(other, "folds"))
            message = (
                f"{path} holds other folds than {next(iter(held))} for {len(differ)} of {len(labels)} rows; first ids: "
                f"{labels.ids[differ][:3].tolist()}"
            )
            if not settings.folds:
                raise OOFError(
                    f"{message}: train every member with the same folds, or name the file of folds to use with folds "
                    "(--folds FILE)"
                )
            _warn(f"{message}; those of {settings.folds} are used, so make sure that the members were trained on them")
    with at(next(iter(held), sources[0][0].path)):
        return with_folds(scores, labels, fold, n_folds=settings.n_folds, seed=settings.seed)


def _same_folds(a: NDArray[Any], b: NDArray[Any], path: Path) -> bool:
    """Whether two columns of folds hold the same rows out together, whatever the folds are called."""
    a_names, a_index = np.unique(as_strings(a, f"folds in {path}"), return_inverse=True)
    b_names, b_index = np.unique(as_strings(b, f"folds in {path}"), return_inverse=True)
    return len(np.unique(a_index * len(b_names) + b_index)) == len(a_names) == len(b_names)


def _fold_column(source: Columns, settings: ImportSettings, *, required: bool = True) -> NDArray[Any] | None:
    """The fold of each row of a file: one column, or which of the columns that match a pattern holds the 1.

    Unless it is `required`, a column that the settings name may be missing.
    """
    names = [name for name in source.arrays if fnmatchcase(name, settings.fold or "*")]
    if settings.fold and not names:
        if not required:
            return None
        raise OOFError(f"{source.path} has no column {settings.fold!r}, it has {source.listing}: correct fold")
    if "*" not in settings.fold:
        return role_values(source, settings, "fold")
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
    told = set(zip(names, as_strings(fold, f"folds in {source.path}").tolist(), strict=True))
    if len(names if by_id is not None else told) > len(row):
        repeated = sorted(name for name, count in Counter(names).items() if count > 1)
        raise OOFError(
            f"{source.path} names {len(repeated)} ids or groups more than once; first: {repeated[:3]}: "
            "give each one fold"
        )
    lacking = sorted({name for name in wanted.tolist() if name not in row})
    if lacking:
        raise OOFError(
            f"{source.path} has no fold for {len(lacking)} ids or groups; first: {lacking[:3]}: give each a fold"
        )
    fold_N: NDArray[Any] = fold[[row[name] for name in wanted.tolist()]]
    return fold_N
