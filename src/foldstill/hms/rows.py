"""Which rows of train.csv are samples: the table has one row per label, and labels of a recording overlap.

N rows, C classes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from foldstill.data.labels import Labels
from foldstill.data.text import Strings
from foldstill.digests import digest
from foldstill.errors import DataError
from foldstill.files import write_parquet
from foldstill.hms.files import HmsFolder
from foldstill.hms.montage import CLASSES, VOTE_COLUMNS
from foldstill.seals import check_seal

if TYPE_CHECKING:
    import pandas as pd

LabelRule = Literal["unique_votes", "stationary", "recording", "spectrogram", "window"]
"""What one sample is.

unique_votes: all labels of a recording with the same votes. stationary: consecutive labels of a recording with the same
votes. recording, spectrogram: all labels of one file, votes added up. window: each label by itself.
"""


@dataclass(frozen=True)
class LabelRows:
    """Samples of an HMS folder: where their windows are, which patient was recorded, and the votes.

    A test split has no votes. `recordings_N` is "" where a sample combines several recordings (rule "spectrogram").
    Offsets are in seconds.
    """

    ids_N: Strings
    patients_N: Strings
    recordings_N: Strings
    spectrograms_N: Strings
    eeg_offset_N: NDArray[np.float64]
    spectrogram_offset_N: NDArray[np.float64]
    votes_NC: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.ids_N)

    def take(self, rows: NDArray[Any]) -> "LabelRows":
        """The rows that an index or a mask selects."""
        taken: dict[str, Any] = {name: None if v is None else v[rows] for name, v in vars(self).items()}
        return LabelRows(**taken)

    def labels(self) -> Labels:
        """Votes with the patient as the group: no patient may be in two folds."""
        if self.votes_NC is None:
            raise DataError("a test split has no votes: predict it, but do not train on it")
        return Labels.from_votes(self.votes_NC, ids=self.ids_N, groups=self.patients_N, classes=CLASSES)

    @property
    def digest(self) -> str:
        return digest(*(np.empty(0) if v is None else v for v in vars(self).values()))

    def write(self, path: Path) -> None:
        import pyarrow as pa

        columns = {name: v.tolist() for name, v in vars(self).items() if name != "votes_NC"}
        if self.votes_NC is not None:
            columns |= {name: self.votes_NC[:, i].tolist() for i, name in enumerate(VOTE_COLUMNS)}
        write_parquet(path, pa.table(columns))

    @classmethod
    def read(cls, path: Path) -> "LabelRows":
        import pyarrow.parquet as pq

        if not path.is_file():
            raise DataError(f"no file {path}: run `foldstill prepare` again")
        check_seal(path, error=DataError, cure="run `foldstill prepare` again with --force")
        table = pq.read_table(path, use_threads=False)
        column = {name: np.asarray(table[name].to_pylist()) for name in table.column_names}
        votes = np.stack([column.pop(name) for name in VOTE_COLUMNS], axis=1) if VOTE_COLUMNS[0] in column else None
        return cls(**column, votes_NC=votes)


def label_rows(folder: HmsFolder, rule: LabelRule = "unique_votes") -> LabelRows:
    """The samples of a folder; in a test split every row of test.csv is one, and its windows begin at 0.

    Raises DataError for a recording of two patients, which would be in two folds at once, and for votes that are
    negative or all zero in a row.
    """
    frame = folder.frame()
    if folder.split == "test":
        return _test_rows(frame)
    if rule not in get_args(LabelRule):
        raise DataError(f"rows must be one of {', '.join(get_args(LabelRule))}, got {rule!r}")
    for unit in ("eeg_id", "spectrogram_id"):
        patients = frame.groupby(unit)["patient_id"].nunique()
        torn = patients.index[patients > 1]
        if len(torn):
            raise DataError(
                f"{len(torn)} values of {unit} have several patients; first: {[int(i) for i in torn[:3]]}: correct "
                f"{folder.table}"
            )
    votes = list(VOTE_COLUMNS)
    frame = frame.sort_values(["eeg_id", "eeg_sub_id"], kind="stable")
    frame["run"] = (frame[["eeg_id", *votes]] != frame[["eeg_id", *votes]].shift()).any(axis=1).cumsum()
    keys = {
        "window": ["eeg_id", "eeg_sub_id"],
        "unique_votes": ["eeg_id", *votes],
        "stationary": ["run"],
        "recording": ["eeg_id"],
        "spectrogram": ["spectrogram_id"],
    }
    groups = frame.groupby(keys[rule], sort=False)
    first = groups.first().reset_index()
    if rule in ("recording", "spectrogram"):
        ids, votes_NC = _text(first[keys[rule][0]]), groups[votes].sum()
    else:
        ids = np.char.add(np.char.add(_text(first["eeg_id"]), "-"), _text(first["eeg_sub_id"]))
        votes_NC = first[votes]
    rows = LabelRows(
        ids_N=ids,
        patients_N=_text(first["patient_id"]),
        recordings_N=_text(first["eeg_id"]) if rule != "spectrogram" else np.full(len(first), "", dtype="<U1"),
        spectrograms_N=_text(first["spectrogram_id"]),
        # The middle of the labels that are combined: (min + max) / 2 of the starts of their windows.
        eeg_offset_N=_middle(groups["eeg_label_offset_seconds"]),
        spectrogram_offset_N=_middle(groups["spectrogram_label_offset_seconds"]),
        votes_NC=votes_NC.to_numpy(dtype=np.float64),
    )
    rows.labels()  # checks votes and ids before an hour is spent on views
    return rows


def _text(values: Any) -> Strings:
    return np.asarray(values).astype(np.int64).astype(np.str_)


def _middle(offsets: Any) -> NDArray[np.float64]:
    middle: NDArray[np.float64] = ((offsets.min() + offsets.max()) / 2).to_numpy(dtype=np.float64)
    return middle


def _test_rows(frame: "pd.DataFrame") -> LabelRows:
    zero = np.zeros(len(frame))
    return LabelRows(
        _text(frame["eeg_id"]),
        _text(frame["patient_id"]),
        _text(frame["eeg_id"]),
        _text(frame["spectrogram_id"]),
        zero,
        zero,
    )
