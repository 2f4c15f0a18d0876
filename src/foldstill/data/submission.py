"""A submission in the form of a sample file: its rows, its order and its columns. N samples, C classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from foldstill.csv_files import write_csv
from foldstill.data.columns import read_frame
from foldstill.data.row_order import match_ids
from foldstill.data.simplex import Float, check_rows
from foldstill.data.text import as_strings
from foldstill.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SampleSubmission:
    """A submission with the rows, the order and the columns of a sample file, such as sample_submission.csv.

    The first column holds the ids. The others are named like the classes, in any case and with a prefix or suffix that
    they share, such as `seizure_vote`. Of two classes one column is enough: it gets the probability of the class that
    it is named after, or of `positive`.

    Parameters
    ----------
    sample : Path
        The sample file, .csv or .parquet.
    positive : str, optional
        The class whose probability the only column of a sample takes.
    """

    sample: Path
    positive: str = ""

    @cached_property
    def _template(self) -> "pd.DataFrame":
        return read_frame(self.sample)

    def columns(self, classes: Sequence[str]) -> dict[str, str]:
        """Class of each column after the ids; raises DataError where the columns are not those of the classes."""
        names = list(self._template.columns)[1:]
        if len(names) == 1 and len(classes) == 2:
            by_text = {name.casefold(): name for name in classes}
            positive = self.positive or by_text.get(names[0].casefold(), "")
            if positive not in classes:
                got = f"{self.positive!r}" if self.positive else f"only the column {names[0]!r}"
                raise DataError(
                    f"{self.sample} has one column for two classes, and its class must be one of {list(classes)}, got "
                    f"{got}: name it with --positive"
                )
            return {names[0]: positive}
        if (found := _matched(names, classes)) is None:
            raise DataError(
                f"{self.sample} must have a column of ids and one column per class {list(classes)}, with one prefix "
                f"or suffix for all of them, got {names}: give the sample file of this competition"
            )
        return found

    def write(self, ids: Sequence[str], proba_NC: Float, classes: Sequence[str], out: Path) -> None:
        """Write probabilities (N, C), each row normalised to a sum of one.

        Raises DataError where a row of the sample was not scored, or where its columns are not those of the classes.
        """
        proba: NDArray[np.float64] = check_rows(proba_NC, "predictions").astype(np.float64)
        self.write_heads(ids, proba / proba.sum(axis=1, keepdims=True), classes, out)

    def write_heads(self, ids: Sequence[str], proba_NH: Float, heads: Sequence[str], out: Path) -> None:
        """Write the probability of each head of a multi-label problem, (N, H), as it is; raises as `write` does."""
        import pandas as pd

        template, columns = self._template, self.columns(heads)
        id_name = str(template.columns[0])
        wanted = as_strings(template[id_name].to_numpy(), f"ids in {self.sample}")
        order = match_ids("the predictions", wanted, as_strings(np.asarray(ids), "ids of the predictions"))
        filled = {name: proba_NH[order, list(heads).index(one)] for name, one in columns.items()}
        write_csv(out, pd.DataFrame({id_name: template[id_name]} | filled))


def submission_like(sample: Path, out: Path, positive: str = "") -> SampleSubmission:
    """The submission that follows a sample file; raises DataError where there is none, or where `out` is no .csv."""
    if out.suffix != ".csv" or not sample.is_file():
        raise DataError(
            f"a submission is a .csv in the form of a sample file, got {out.name} in the form of {sample}: name the "
            "output so, and give the sample file of the competition"
        )
    return SampleSubmission(sample, positive)


def _matched(columns: Sequence[str], classes: Sequence[str]) -> dict[str, str] | None:
    """Class of each column, where the columns are the classes in any case with one prefix and one suffix.

    >>> _matched(["seizure_vote", "other_vote"], ["Other", "Seizure"])
    {'seizure_vote': 'Seizure', 'other_vote': 'Other'}
    """
    if len(columns) != len(classes) or not columns:
        return None
    first = columns[0].casefold()
    for start in (one.casefold() for one in classes):
        at = first.find(start)
        while at >= 0:
            prefix, suffix = first[:at], first[at + len(start) :]
            class_of = {prefix + one.casefold() + suffix: one for one in classes}
            if {name.casefold() for name in columns} == class_of.keys():
                return {name: class_of[name.casefold()] for name in columns}
            at = first.find(start, at + 1)
    return None
