"""The competition's submission file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foldstill.data.columns import read_frame
from foldstill.data.labels import as_strings, match_ids
from foldstill.data.simplex import Float, check_rows
from foldstill.errors import DataError
from foldstill.files import write_csv
from foldstill.hms.montage import CLASSES, VOTE_COLUMNS


@dataclass(frozen=True)
class HmsSubmission:
    """A submission with the rows, the order and the columns of the competition's sample file."""

    sample: Path

    def write(self, ids: Sequence[str], proba_NC: Float, classes: Sequence[str], out: Path) -> None:
        """Write probabilities (N, 6), each row normalised to a sum of one.

        Raises DataError where a recording of the sample was not scored, or where the sample or the predictions have
        other classes than the competition.
        """
        import pandas as pd

        template = read_frame(self.sample)
        columns = list(template.columns)
        if not columns or set(columns[1:]) != set(VOTE_COLUMNS):
            raise DataError(
                f"{self.sample} must have an id and the columns {list(VOTE_COLUMNS)}, got {columns}: give the "
                "competition's sample_submission.csv"
            )
        votes = [f"{name.lower()}_vote" for name in classes]
        if set(votes) != set(VOTE_COLUMNS):
            raise DataError(
                f"a submission needs the classes {list(CLASSES)}, got {list(classes)}: predict with a run on HMS data"
            )
        proba = check_rows(proba_NC, "predictions").astype(np.float64)
        wanted, scored = as_strings(template[columns[0]].to_numpy(), columns[0]), as_strings(np.asarray(ids), "ids")
        order = match_ids("the predictions", wanted, scored)
        proba = proba[order] / proba[order].sum(axis=1, keepdims=True)
        table = pd.DataFrame({columns[0]: template[columns[0]]})
        for name in columns[1:]:
            table[name] = proba[:, votes.index(name)]
        write_csv(out, table)


def hms_submission(data: Path, out: Path, sample: Path | None) -> HmsSubmission | None:
    """The submission that is asked for by a sample file, or by the name submission.csv of the output; None otherwise.

    Without a sample file, that of the folder `data` is followed. Raises DataError where there is no sample file, or
    where `out` is no .csv.
    """
    if sample is None and out.name != "submission.csv":
        return None
    followed = sample or data / "sample_submission.csv"
    if out.suffix != ".csv" or not followed.is_file():
        raise DataError(
            f"a submission is a .csv in the form of a sample file, got {out.name} in the form of {followed}: name the "
            "output so, and give the competition's sample_submission.csv"
        )
    return HmsSubmission(followed)
