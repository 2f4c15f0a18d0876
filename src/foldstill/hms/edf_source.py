"""EEG files of clinics as a data source: windows that a table names, or the events that are marked in the files."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.columns import Columns, read_columns
from foldstill.data.dataset import Dataset, Inputs
from foldstill.data.label_columns import LabelColumns, require_one_form
from foldstill.data.labels import Labels
from foldstill.data.source import PlainSource
from foldstill.data.text import Strings, as_numbers, as_strings
from foldstill.errors import DataError, FoldstillWarning
from foldstill.hms.edf import open_eeg
from foldstill.hms.edf_windows import STEP_S, Windows, eeg_files, eeg_inputs, require_eeg_views
from foldstill.hms.edf_writing import write_edf
from foldstill.hms.montage import EEG_CHANNELS, EEG_SECONDS
from foldstill.hms.record import Record
from foldstill.hms.views import HmsView, check_names, recipe
from foldstill.hms.views_raw import RawEeg
from foldstill.hms.views_spectra import MelSpectrogram

if TYPE_CHECKING:
    from typing import Self

_OF_A_TABLE = ("votes", "shares", "label", "id", "group", "stratum")


@dataclass(frozen=True, kw_only=True)
class EdfData(PlainSource, kind="edf", title="EEG files"):
    """EEG recordings in EDF, BDF or FIF files: windows of 50 s with votes or labels.

    A table names the windows, or the annotations of the files are the labels. MNE reads the files
    (`pip install 'foldstill[eeg]'`). Signals are resampled to 200 Hz, in microvolts. Electrodes are found by their
    names in the 10-20 or 10-10 system; one that is missing is reported.

    Examples
    --------
    >>> data = EdfData(path="recordings", table="windows.csv", votes=("seizure", "other"), group="patient")
    >>> [(view.name, view.shape) for view in data.views]
    [('mel', (128, 256, 4)), ('raw_eeg', (19, 2500))]
    """

    path: str
    """An EEG file, or a folder of them. A relative path starts at the folder of the experiment file."""
    table: str = ""
    """CSV or parquet file with one row per window. A relative path starts at the folder of the experiment file. When
    empty, each annotation of the files is a sample: its text is the label, its middle the middle of the window."""
    file: str = "file"
    """Column of the file names, relative to the folder of the files."""
    offset: str = "offset"
    """Column of the start of the 50 s, in seconds from the start of the file."""
    votes: tuple[str, ...] = ()
    """Columns of vote counts, one per class. Their names are the names of the classes."""
    shares: tuple[str, ...] = ()
    """Columns of vote shares, one per class. Their names are the names of the classes."""
    total: str | float = 1.0
    """With shares: column of the number of votes per row, or one number for all rows."""
    label: str = ""
    """Column of hard labels: class indices or names."""
    classes: tuple[str, ...] = ()
    """Class names, in order. When empty, the names of the columns, or the different values of the label. Annotations
    with other texts are left out."""
    id: str = ""
    """Column of the ids. `file@seconds` when empty."""
    group: str = ""
    """Column of what must not be split between folds, such as the patient."""
    group_by: Literal["file", "folder"] = "file"
    """The group where no column names it: the file, or the first folder of its path, such as one folder per patient."""
    stratum: str = ""
    """Column of the stratum of each row. By number of votes when empty."""
    step_s: float = STEP_S
    """Seconds between the windows of a recording that `foldstill predict` scores."""
    views: tuple[HmsView, ...] = (MelSpectrogram(), RawEeg())
    """The views of the EEG, each with its `kind` and with the `name` by which members ask for it."""

    def __post_init__(self) -> None:
        if not self.path:
            raise DataError("data.path is empty: name an EEG file or a folder of EEG files")
        if self.step_s <= 0:
            raise DataError(f"data.step_s must be more than 0 seconds, got {self.step_s}")
        if self.table:
            require_one_form("data", {name: getattr(self, name) for name in ("votes", "shares", "label")}, self.total)
        elif columns := [name for name in _OF_A_TABLE if getattr(self, name)]:
            raise DataError(f"data.{columns[0]} names a column and there is no table: set data.table, or leave it out")
        if self.group and self.group_by != "file":
            raise DataError(f"data.group_by has no effect, because data.group names {self.group!r}: keep one of them")
        check_names(self.views)
        require_eeg_views(self.views)

    @classmethod
    def example(cls, folder: Path) -> "tuple[Self, Path]":
        (folder / "eeg").mkdir()
        signal_ET = np.random.default_rng(0).normal(0, 20, (len(EEG_CHANNELS), 60 * 100))
        for name in ("a.edf", "b.edf"):
            write_edf(folder / "eeg" / name, EEG_CHANNELS, signal_ET, 100)
        rows = "file,offset,label\na.edf,0,calm\na.edf,8,spike\nb.edf,0,calm\nb.edf,8,spike\n"
        (folder / "windows.csv").write_text(rows, encoding="utf-8")
        views = (MelSpectrogram.example(), RawEeg.example())
        return cls(path="eeg", table="windows.csv", label="label", views=views), folder / "eeg" / "a.edf"

    def load(self, root: Path) -> Dataset:
        """The views and labels of every window; warns of missing electrodes.

        Raises DataError where a file cannot be read, where a window is outside its file, and where windows that overlap
        are in two groups.
        """
        windows, labels = self._windows(root)
        _require_whole_groups(windows, labels)
        views = windows.views(self.views)
        return Dataset(labels, views, windows.files_N, {view.name: recipe(view) for view in self.views})

    def inputs(self, path: Path) -> Inputs:
        """Windows of another EEG file, or of all in a folder, one every `step_s`; ids are `file@seconds`."""
        return eeg_inputs(path, self.views, self.step_s)

    def sample(self, root: Path, name: str = "") -> tuple[str, Record, NDArray[np.float64]]:
        """Id, signals and votes of the window with this id, or of the first window without a name."""
        windows, labels = self._windows(root)
        matches = np.flatnonzero((labels.ids == name) | (name == ""))
        if not len(matches):
            raise DataError(f"no sample {name!r}, ids are like {labels.ids[:3].tolist()}: name one of them")
        row = int(matches[0])
        return str(labels.ids[row]), windows.record(row), labels.votes_NC[row]

    def _windows(self, root: Path) -> tuple[Windows, Labels]:
        columns = read_columns(root / self.table) if self.table else self._events(root / self.path)
        folder, names = eeg_files(root / self.path)
        files_N = as_strings(columns.text(self.file, "file"), f"{self.file} in {columns.path}")
        if missing := sorted(set(files_N.tolist()) - set(names)):
            raise DataError(
                f"{columns.path} names {missing[0]!r} ({len(missing)} such files), {folder} has {names[:3]}"
            )
        offset_N = as_numbers(columns.get(self.offset, "offset"), f"{self.offset} in {columns.path}")
        if not np.isfinite(offset_N).all():
            file = str(files_N[~np.isfinite(offset_N)][0])
            raise DataError(f"{columns.path} has no {self.offset} for {file!r}: every window needs its start")
        windows = Windows(folder, files_N, offset_N)
        made = {"window ids": windows.ids_N, "window groups": self._groups(files_N)}
        labels = LabelColumns.of(
            self,
            label=self.label if self.table else "label",
            classes=self.classes or self.votes or self.shares,
            id=self.id or "window ids",
            group=self.group or "window groups",
        ).read(Columns(columns.path, {**columns.arrays, **made}, columns.cells))
        return windows, labels

    def _groups(self, files_N: Strings) -> Strings:
        if self.group_by == "file":
            return files_N
        if alone := [name for name in files_N.tolist() if "/" not in name]:
            raise DataError(f'{alone[0]!r} is in no folder below data.path, so group_by = "folder" has no group for it')
        return np.asarray([name.split("/")[0] for name in files_N.tolist()])

    def _events(self, path: Path) -> Columns:
        """The annotations of the files as the columns of a table."""
        folder, names = eeg_files(path)
        events = [(name, event) for name in names for event in open_eeg(folder / name).annotations()]
        chosen = [(name, event) for name, event in events if not self.classes or event.text in self.classes]
        if not chosen:
            texts = sorted({event.text for _, event in events})
            raise DataError(
                f"the files of {path} have no annotation {'of data.classes' if texts else ''}, their texts are "
                f"{texts[:8]}: set data.classes, or name the windows in data.table"
            )
        arrays = {
            self.file: np.asarray([name for name, _ in chosen]),
            self.offset: np.asarray([e.onset_s + e.duration_s / 2 - EEG_SECONDS / 2 for _, e in chosen]).round(3),
            "label": np.asarray([event.text for _, event in chosen]),
        }
        return Columns(path, arrays)


def _require_whole_groups(windows: Windows, labels: Labels) -> None:
    """Raises DataError where windows that share seconds are in two groups, which may be two folds.

    Warns where a file has several groups: they may be hours of one patient.
    """
    order = np.lexsort((windows.offset_N, windows.files_N))
    divided: dict[str, None] = {}
    for one, next_one in zip(order[:-1].tolist(), order[1:].tolist(), strict=True):
        if windows.files_N[one] != windows.files_N[next_one] or labels.groups[one] == labels.groups[next_one]:
            continue
        divided[str(windows.files_N[one])] = None
        if windows.offset_N[next_one] - windows.offset_N[one] < EEG_SECONDS:
            raise DataError(
                f"windows {labels.ids[one]} and {labels.ids[next_one]} overlap and are in the groups "
                f"{labels.groups[[one, next_one]].tolist()}: put windows that share seconds into one group"
            )
    if divided:
        warnings.warn(
            f"{len(divided)} files have windows in several groups, first {next(iter(divided))}: folds may then hold "
            "parts of one recording; name the patient's column in data.group",
            FoldstillWarning,
            stacklevel=3,
        )
