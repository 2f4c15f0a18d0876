"""A table in the forms that other tools read: one `.npz`, one CSV a member beside a CSV of labels, one wide CSV."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from foldstill.errors import OOFError
from foldstill.files import atomic_write
from foldstill.oof.table import OOFTable

if TYPE_CHECKING:
    import pandas as pd

ExportForm = Literal["npz", "csv", "wide-csv"]


def export_table(table: OOFTable, out: Path, form: ExportForm = "npz") -> None:
    """Write the table to the file `out`, or for "csv" into the folder `out`: labels.csv and members/<member>.csv.

    What is written is read back by `import_scores` without any setting.
    """
    if form == "npz":
        _npz(table, out)
    elif form == "csv":
        _csv_a_member(table, out)
    elif form == "wide-csv":
        frame = _labels(table)
        for m, member in enumerate(table.members):
            for c, name in enumerate(table.classes):
                frame[f"p__{member}__{name}"] = table.proba_NMC[:, m, c]
        _csv(frame, out)
    else:
        raise OOFError(f"a table is exported as npz, csv or wide-csv, got {form!r}")


def _npz(table: OOFTable, out: Path) -> None:
    if out.suffix != ".npz":
        raise OOFError(f"the file of an .npz export must be named so, got {out}: give a name that ends with .npz")
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
    # As votes, totals that are a guess would come back as counts, which they are not.
    arrays |= {"votes": labels.votes_NC} if labels.counted else {"shares": labels.target_NC, "total": labels.total_N}
    with atomic_write(out) as part:
        np.savez_compressed(part, **arrays)


def _csv_a_member(table: OOFTable, out: Path) -> None:
    import pandas as pd

    taken = [member for member in table.members if "/" in member or "\\" in member]
    if taken:
        raise OOFError(f"members {taken[:3]} cannot name a file: rename them, or export as npz or wide-csv")
    _csv(_labels(table), out / "labels.csv")
    for m, member in enumerate(table.members):
        frame = pd.DataFrame(table.proba_NMC[:, m], columns=list(table.classes))
        frame.insert(0, "id", table.labels.ids)
        _csv(frame, out / "members" / f"{member}.csv")


def _labels(table: OOFTable) -> "pd.DataFrame":
    import pandas as pd

    labels = table.labels
    columns = {"id": labels.ids, "group": labels.groups, "fold": table.fold_N, "stratum": labels.stratum_N}
    columns["sample_weight"] = labels.sample_weight_N
    if labels.counted:
        return pd.DataFrame(columns | {f"votes__{c}": labels.votes_NC[:, i] for i, c in enumerate(table.classes)})
    columns["total"] = labels.total_N
    return pd.DataFrame(columns | {f"shares__{c}": labels.target_NC[:, i] for i, c in enumerate(table.classes)})


def _csv(frame: "pd.DataFrame", path: Path) -> None:
    with atomic_write(path) as part:
        # Nine digits bring a float32 back bit by bit.
        frame.to_csv(part, index=False, float_format="%.9g")
