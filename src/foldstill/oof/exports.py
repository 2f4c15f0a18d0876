"""A table in forms that other tools read: an `.npz`, one CSV per member and one of labels, or one wide CSV."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.csv_files import write_csv
from foldstill.data.columns import read_npz
from foldstill.data.labels import Labels
from foldstill.errors import FileError, FoldstillError, OOFError
from foldstill.files import atomic_write, check_output, name_problems, refuse_unmarked
from foldstill.oof.column_names import members_by_columns, score_columns, votes_column
from foldstill.oof.store import SCHEMA_VERSION, is_score_file, write_scores, write_table
from foldstill.oof.table import OOFTable, ScoreTable

ExportForm = Literal["npz", "csv", "wide-csv"]

FLOAT_FORMAT = "%.9g"
"""Nine digits give back a float32 bit by bit."""

MARK = "foldstill"
"""Key of an `.npz` that foldstill wrote; it holds the version of the format."""

SCORE_SUFFIXES = (".parquet", ".csv")
"""What scores are written as: a parquet file of foldstill, or a CSV with one column per class."""
TABLE_SUFFIXES = (".parquet", ".csv", ".npz")
"""What a table is written as: a parquet file of foldstill, a wide CSV, or an `.npz`."""


def check_score_output(
    path: Path, suffixes: Sequence[str] = SCORE_SUFFIXES, *, inputs: Sequence[Path] = (), force: bool = False
) -> None:
    """Raise FileError unless scores can be written at `path`; called before any work is done.

    A file among the `inputs` of the command is never replaced, and a file without a mark of foldstill only with
    `force`. A CSV can hold no mark.
    """
    check_output(path, suffixes, inputs=inputs)
    refuse_unmarked(path, _is_marked(path), force=force)


def check_export(table: Path, out: Path, form: ExportForm, *, force: bool = False) -> None:
    """Raise FileError unless the table in a file can be exported to `out`; called before anything is written."""
    if form != "csv":
        check_score_output(out, (".npz",) if form == "npz" else (".csv",), inputs=[table], force=force)
    elif out.is_dir():
        for path in sorted([*out.glob("labels.csv"), *out.glob("members/*.csv")]):
            check_score_output(path, (".csv",), inputs=[table], force=force)


def _is_marked(path: Path) -> bool:
    """Whether a file says that foldstill wrote it."""
    if not path.exists() or path.suffix not in (".parquet", ".npz"):
        return False
    try:
        return is_score_file(path) if path.suffix == ".parquet" else MARK in read_npz(path)
    except FoldstillError:
        return False


def write_scores_as(scores: ScoreTable, path: Path, labels: Labels | None = None) -> None:
    """Write the scores of one member in the format that the suffix names: .parquet, with labels if any, or .csv.

    The columns of a CSV are named like the classes; `p__<class>` where a class is called `id`.
    """
    if path.suffix == ".parquet":
        write_scores(scores, path, labels)
    else:
        prefix = "p__" if "id" in scores.classes else ""
        columns = {f"{prefix}{c}": scores.proba_NMC[:, 0, i] for i, c in enumerate(scores.classes)}
        write_csv(path, {"id": scores.ids} | columns, float_format=FLOAT_FORMAT)


def write_heads_as(scores: ScoreTable, path: Path) -> None:
    """Write the scores of heads, which are the members of a table of the classes 0 and 1: .parquet, or .csv.

    The columns of a CSV are named like the heads; `p__<head>` where a head is called `id`.
    """
    if path.suffix == ".parquet":
        write_scores(scores, path)
    else:
        prefix = "p__" if "id" in scores.members else ""
        columns = {f"{prefix}{head}": scores.proba_NMC[:, h, 1] for h, head in enumerate(scores.members)}
        write_csv(path, {"id": scores.ids} | columns, float_format=FLOAT_FORMAT)


def write_table_as(table: OOFTable, path: Path) -> None:
    """Write a table in the format that the suffix names: .parquet, .csv (wide) or .npz."""
    if path.suffix == ".parquet":
        write_table(table, path)
    else:
        export_table(table, path, "npz" if path.suffix == ".npz" else "wide-csv")


def export_table(table: OOFTable, out: str | Path, form: ExportForm = "npz") -> None:
    """Write a table in a form that other tools read; `import_scores` reads it back without any setting.

    Parameters
    ----------
    table : OOFTable
    out : str or Path
        The file to write, or for "csv" a folder, which gets labels.csv and members/<member>.csv.
    form : {"npz", "csv", "wide-csv"}

    Raises
    ------
    OOFError
        If the name of the file does not fit the form, or the name of a member cannot name a file.
    """
    out = Path(out)
    if form == "npz":
        _write_npz(table, out)
    elif form == "csv":
        _write_csv_per_member(table, out)
    elif form == "wide-csv":
        _write_wide_csv(table, out)
    else:
        raise OOFError(f"a table is exported as npz, csv or wide-csv, got {form!r}: name one of these")


def _write_npz(table: OOFTable, out: Path) -> None:
    if out.suffix != ".npz":
        raise OOFError(f"the file of an npz export must end in .npz, got {out}: give a name that ends in .npz")
    labels = table.labels
    arrays: dict[str, Any] = {
        "pred": table.proba_NMC,
        "id": labels.ids,
        "group": labels.groups,
        "fold": table.fold_N,
        "stratum": labels.stratum_N,
        "sample_weight": labels.sample_weight_N,
        "members": np.asarray(table.members),
        "classes": np.asarray(table.classes),
        MARK: np.asarray(SCHEMA_VERSION),
    }
    # Written as votes, totals that are a guess would come back as counts, which they are not.
    arrays |= {"votes": labels.votes_NC} if labels.counted else {"shares": labels.target_NC, "total": labels.total_N}
    with atomic_write(out) as part:
        np.savez_compressed(part, **arrays)


def _write_wide_csv(table: OOFTable, out: Path) -> None:
    names = [name for of_member in score_columns(table.members, table.classes) for name in of_member]
    check_output(out, (".csv",))
    if set(members_by_columns(names, table.classes)) != set(table.members):
        raise OOFError(
            f"members {list(table.members[:3])} and classes {list(table.classes[:3])} cannot be told apart in column "
            "names such as p__member__class: export as npz or csv, or rename them"
        )
    scores = dict(zip(names, table.proba_NMC.reshape(len(table), -1).T, strict=True))
    write_csv(out, _label_columns(table) | scores, float_format=FLOAT_FORMAT)


def _write_csv_per_member(table: OOFTable, out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise FileError(f"{out}: a CSV per member needs a folder, and this is a file: name a folder")
    if problems := name_problems("member", table.members):
        raise OOFError(f"{problems[0]}, or export as npz or wide-csv")
    write_csv(out / "labels.csv", _label_columns(table), float_format=FLOAT_FORMAT)
    for m, member in enumerate(table.members):
        scores = {f"p__{name}": table.proba_NMC[:, m, c] for c, name in enumerate(table.classes)}
        columns = {"id": table.labels.ids} | scores
        write_csv(out / "members" / f"{member}.csv", columns, float_format=FLOAT_FORMAT)


def _label_columns(table: OOFTable) -> dict[str, NDArray[Any]]:
    labels = table.labels
    columns: dict[str, NDArray[Any]] = {
        "id": labels.ids,
        "group": labels.groups,
        "fold": table.fold_N,
        "stratum": labels.stratum_N,
        "sample_weight": labels.sample_weight_N,
    }
    if labels.counted:
        return columns | {votes_column(c): labels.votes_NC[:, i] for i, c in enumerate(table.classes)}
    columns["total"] = labels.total_N
    return columns | {f"shares__{c}": labels.target_NC[:, i] for i, c in enumerate(table.classes)}
