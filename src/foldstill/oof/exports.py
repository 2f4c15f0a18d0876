"""A table in forms that other tools read: an `.npz`, one CSV per member and one of labels, or one wide CSV."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.errors import OOFError
from foldstill.files import atomic_write, write_csv
from foldstill.oof.store import members_by_columns, score_columns, votes_column
from foldstill.oof.table import OOFTable

ExportForm = Literal["npz", "csv", "wide-csv"]

FLOAT_FORMAT = "%.9g"
"""Nine digits give back a float32 bit by bit."""


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
    }
    # Written as votes, totals that are a guess would come back as counts, which they are not.
    arrays |= {"votes": labels.votes_NC} if labels.counted else {"shares": labels.target_NC, "total": labels.total_N}
    with atomic_write(out) as part:
        np.savez_compressed(part, **arrays)


def _write_wide_csv(table: OOFTable, out: Path) -> None:
    names = [name for of_member in score_columns(table.members, table.classes) for name in of_member]
    if set(members_by_columns(names, table.classes)) != set(table.members):
        raise OOFError(
            f"members {list(table.members[:3])} and classes {list(table.classes[:3])} cannot be told apart in column "
            "names such as p__member__class: export as npz or csv, or rename them"
        )
    scores = dict(zip(names, table.proba_NMC.reshape(len(table), -1).T, strict=True))
    write_csv(out, _label_columns(table) | scores, float_format=FLOAT_FORMAT)


def _write_csv_per_member(table: OOFTable, out: Path) -> None:
    unusable = [member for member in table.members if "/" in member or "\\" in member]
    if unusable:
        raise OOFError(f"members {unusable[:3]} cannot name a file: rename them, or export as npz or wide-csv")
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
