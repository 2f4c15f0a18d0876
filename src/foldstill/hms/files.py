"""The competition's folder: its files, and its EEGs and spectrograms as arrays with a list of their problems."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.columns import read_frame
from foldstill.data.signals import Signal
from foldstill.errors import DataError
from foldstill.hms.decoding import Wanted, decode_file
from foldstill.hms.montage import EEG_ALIASES, EEG_CHANNELS, EEG_SECONDS, SFREQ_HZ, VOTE_COLUMNS, spectrogram_columns

if TYPE_CHECKING:
    import pandas as pd

Split = Literal["train", "test"]

TRAIN_COLUMNS = (
    *("eeg_id", "eeg_sub_id", "eeg_label_offset_seconds"),
    *("spectrogram_id", "spectrogram_sub_id", "spectrogram_label_offset_seconds"),
    *("label_id", "patient_id", "expert_consensus"),
    *VOTE_COLUMNS,
)
TEST_COLUMNS = ("spectrogram_id", "eeg_id", "patient_id")


@dataclass(frozen=True)
class Problem:
    """One problem of one file."""

    file: str
    what: str
    """The kind of problem in a few words, such as "blank input"."""
    detail: str
    fatal: bool = False
    """Whether no view can be made of the file."""


@dataclass(frozen=True)
class SignalFile:
    """The values of a file, (rows, time) with NaN where one is missing, its problems, and the digest of its bytes."""

    values: Signal
    problems: tuple[Problem, ...]
    digest: str


@dataclass(frozen=True)
class HmsFolder:
    """A folder with the files of the competition; raises DataError that names everything missing of the split."""

    root: Path
    split: Split = "train"

    def __post_init__(self) -> None:
        if self.split not in ("train", "test"):
            raise DataError(f"split must be train or test, got {self.split!r}")
        wanted = (self.table, self.eegs, self.spectrograms)
        missing = [path.name for path in wanted if not path.exists()]
        if missing:
            raise DataError(
                f"{self.root} is not an HMS folder: it has no {', '.join(missing)}: unpack the competition's files "
                "there, or generate synthetic ones with `foldstill synth-hms`"
            )

    @property
    def table(self) -> Path:
        return self.root / f"{self.split}.csv"

    @property
    def eegs(self) -> Path:
        return self.root / f"{self.split}_eegs"

    @property
    def spectrograms(self) -> Path:
        return self.root / f"{self.split}_spectrograms"

    @property
    def sample_submission(self) -> Path:
        return self.root / "sample_submission.csv"

    def eeg(self, recording: str) -> Path:
        return self.eegs / f"{recording}.parquet"

    def spectrogram(self, spectrogram: str) -> Path:
        return self.spectrograms / f"{spectrogram}.parquet"

    def frame(self) -> "pd.DataFrame":
        """train.csv or test.csv; raises DataError that names missing columns, or the first line that is wrong."""
        import pandas as pd

        frame = read_frame(self.table)
        columns = TRAIN_COLUMNS if self.split == "train" else TEST_COLUMNS
        if missing := [c for c in columns if c not in frame.columns]:
            raise DataError(
                f"{self.table} has no columns {missing}: give the competition's {self.table.name}, which has them"
            )
        for column in columns:
            if column == "expert_consensus":
                continue
            values = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=np.float64)
            offset = column.endswith("_offset_seconds")
            odd = np.flatnonzero(~np.isfinite(values) | (offset & (values < 0)))
            if len(odd):
                raise DataError(
                    f"{self.table} must have a number in each row of {column}, got "
                    f"{str(frame[column].iloc[odd[0]])!r} in line {odd[0] + 2} ({len(odd)} such rows)"
                    f"{', and offsets are 0 or more' if offset else ''}: correct them"
                )
        return frame


def read_eeg(path: Path) -> SignalFile:
    """An EEG as (20, T) in microvolts, channels in the order of the montage; a missing channel is NaN.

    Channels are found by their names in the 10-20 and the 10-10 system (T3 is T7), in upper or lower case.

    Raises DataError where the file is absent or cut short.
    """
    values, problems, digest = _read(path, Wanted(EEG_CHANNELS, EEG_ALIASES))
    seconds = values.shape[1] / SFREQ_HZ
    if seconds < EEG_SECONDS:
        problems.append(Problem(path.name, "too short", f"{seconds:g} s, an EEG has at least {EEG_SECONDS} s"))
    elif values.shape[1] % SFREQ_HZ:
        problems.append(Problem(path.name, "odd length", f"{values.shape[1]} samples are not full seconds at 200 Hz"))
    flat = [n for n, row in zip(EEG_CHANNELS, values, strict=True) if row.size and row.min() == row.max()]
    if flat:
        problems.append(Problem(path.name, "flat channels", " ".join(flat)))
    return SignalFile(values, tuple(problems), digest)


def read_spectrogram(path: Path) -> SignalFile:
    """A spectrogram as (400, S), one column per 2 s, panels LL, RL, LP, RP; a missing bin is NaN.

    Raises DataError where the file is absent or cut short.
    """
    values, problems, digest = _read(path, Wanted(spectrogram_columns()), extra=("time",))
    if not values.shape[1]:
        problems.append(Problem(path.name, "empty", "it has no rows", fatal=True))
    if (negative := values < 0).any():
        problems.append(Problem(path.name, "negative values", f"{negative.mean():.2%} of values, and power has none"))
    return SignalFile(values, tuple(problems), digest)


def _read(path: Path, wanted: Wanted, extra: Sequence[str] = ()) -> tuple[Signal, list[Problem], str]:
    try:
        # Read once: the same bytes are digested and decoded.
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"no file {path}: complete the folder, or remove its rows from the table") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}): copy it again") from error
    decoded = decode_file(path, content, wanted)
    columns, values = wanted.columns, decoded.values
    problems = []
    missing = [c for c in columns if c not in decoded.sources]
    unknown = sorted({*decoded.names} - {*decoded.sources.values(), *extra})
    if missing:
        problems.append(Problem(path.name, "missing columns", _list(missing), fatal=len(missing) == len(columns)))
    if unknown:
        problems.append(Problem(path.name, "unknown columns", _list(unknown)))
    problems += _gaps(path.name, values)
    if missing:
        present, values = values, np.full((len(columns), values.shape[1]), np.nan, np.float32)
        values[[c in decoded.sources for c in columns]] = present
    return values, problems, hashlib.sha256(content).hexdigest()[:16]


def _list(names: Sequence[str]) -> str:
    return " ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _gaps(name: str, values: NDArray[np.float32]) -> list[Problem]:
    """The problem of missing values: their share, and the longest run of columns (time) in which one is missing."""
    if not values.size or np.isfinite(values.sum(dtype=np.float64)):
        return []
    lost = ~np.isfinite(values)
    anywhere = np.concatenate([[False], lost.any(axis=0), [False]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(anywhere))
    longest = int((edges[1::2] - edges[::2]).max())
    return [Problem(name, "missing values", f"{lost.mean():.2%} of values, longest run {longest} of {values.shape[1]}")]
