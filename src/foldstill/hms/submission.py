"""The competition's submission file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foldstill.data.columns import read_frame
from foldstill.data.labels import as_strings, match_ids
from foldstill.data.simplex import Float, check_rows
from foldstill.errors import DataError
from foldstill.files import atomic_write
from foldstill.hms.montage import CLASSES, VOTE_COLUMNS


def write_submission(
    ids: Sequence[str], proba_NC: Float, sample: Path, out: Path, *, classes: Sequence[str] = CLASSES
) -> None:
    """Write probabilities (N, 6) as the sample file wants them: its rows, its order, its columns, each row summing to one.

    Raises DataError where a recording of the sample was not scored, or the sample has other columns.
    """
    import pandas as pd

    template = read_frame(sample)
    columns = list(template.columns)
    if not columns or set(columns[1:]) != set(VOTE_COLUMNS):
        raise DataError(
            f"{sample} must have an id and the columns {list(VOTE_COLUMNS)}, got {columns}: give the competition's"
        )
    wanted_votes = [f"{name.lower()}_vote" for name in classes]
    if set(wanted_votes) != set(VOTE_COLUMNS):
        raise DataError(f"a submission needs the classes {list(CLASSES)}, got {list(classes)}: predict with an HMS run")
    proba = check_rows(proba_NC, "predictions").astype(np.float64)
    wanted, got = as_strings(template[columns[0]].to_numpy(), columns[0]), as_strings(np.asarray(ids), "ids")
    order = match_ids("the predictions", wanted, got)
    proba = proba[order] / proba[order].sum(axis=1, keepdims=True)
    table = pd.DataFrame({columns[0]: template[columns[0]]})
    for name in columns[1:]:
        table[name] = proba[:, wanted_votes.index(name)]
    with atomic_write(out) as part:
        table.to_csv(part, index=False)
