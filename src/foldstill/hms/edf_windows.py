"""Windows of 50 s in EEG files of clinics, and their views. N windows."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.dataset import Inputs
from foldstill.data.text import Strings
from foldstill.errors import DataError, FoldstillWarning
from foldstill.hms.edf import EEG_SUFFIXES, EegFile, is_eeg_file, open_eeg
from foldstill.hms.files import Problem
from foldstill.hms.montage import EEG_SECONDS
from foldstill.hms.part import BLANK, blank_detail
from foldstill.hms.record import Record
from foldstill.hms.storage import encode, stored_dtype
from foldstill.hms.views import View, recipe

STEP_S = 10.0
"""Seconds between the windows of a recording that is to be scored: experts of HMS judged the middle 10 s of 50."""


@dataclass(frozen=True)
class Windows:
    """Where windows are: the file of each, relative to a folder, and its start in seconds from the file's start."""

    folder: Path
    files_N: Strings
    offset_N: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.files_N)

    @property
    def ids_N(self) -> Strings:
        """`file@seconds`."""
        return np.asarray([f"{f}@{s:.10g}" for f, s in zip(self.files_N.tolist(), self.offset_N.tolist(), strict=True)])

    def record(self, row: int) -> Record:
        """The signals of one window; raises DataError as `open_eeg` and `EegFile.record` do."""
        return open_eeg(self.folder / str(self.files_N[row])).record(float(self.offset_N[row]))

    def views(self, views: Sequence[View]) -> dict[str, NDArray[Any]]:
        """The views of every window as they are stored; each file is opened once.

        Warns of missing electrodes and other problems of the files, and of blank inputs. Raises DataError where a file
        cannot be read, and where a view is blank for every window.
        """
        require_eeg_views(views)
        arrays = {v.name: np.empty((len(self), *v.shape), stored_dtype(v.bounds)) for v in views}
        problems: dict[Problem, None] = {}
        for rows, file in self._by_file():
            problems |= dict.fromkeys(file.problems)
            for row in rows:
                offset_s = float(self.offset_N[row])
                record = file.record(offset_s)
                if offset_s < 0 or offset_s + EEG_SECONDS > file.seconds:
                    problems[Problem(str(self.files_N[row]), "windows that reach outside", f"at {offset_s:g} s")] = None
                for view in views:
                    stored = arrays[view.name][row] = encode(view.make(record), view.bounds)
                    if stored.min() == stored.max():
                        problems[Problem(str(self.ids_N[row]), BLANK, blank_detail(view))] = None
        self._require_content(views, problems)
        _warn(list(problems))
        return arrays

    def _by_file(self) -> Iterator[tuple[list[int], EegFile]]:
        for name in dict.fromkeys(self.files_N.tolist()):
            yield np.flatnonzero(self.files_N == name).tolist(), open_eeg(self.folder / name)

    def _require_content(self, views: Sequence[View], problems: dict[Problem, None]) -> None:
        for view in views:
            blank = [p.file for p in problems if p.what == BLANK and p.detail == blank_detail(view)]
            if len(blank) == len(self):
                raise DataError(
                    f"view {view.name} has the same value everywhere in all {len(blank)} windows of {self.folder}, "
                    f"such as {blank[0]}: check that the electrodes it reads were recorded"
                )


def require_eeg_views(views: Sequence[View]) -> None:
    """Raises DataError for a view of the competition's spectrogram files: other recordings have none."""
    for view in views:
        if "spectrogram" in view.needs:
            raise DataError(
                f"view {view.name} (kind {view.kind!r}) reads spectrogram files of the HMS competition, which EEG "
                "files of clinics do not have: use a view of the EEG, such as mel, stft, scalogram or raw_eeg"
            )


def eeg_views(views: Sequence[View]) -> list[View]:
    """Those views that need the EEG alone; warns of the others, and raises DataError where no view is left."""
    chosen = [view for view in views if "spectrogram" not in view.needs]
    if not chosen:
        require_eeg_views(views)
    if others := [view.name for view in views if view not in chosen]:
        warnings.warn(
            f"views {others} read spectrogram files of the HMS competition and are left out: an arm that needs them "
            "cannot score these recordings",
            FoldstillWarning,
            stacklevel=3,
        )
    return chosen


def is_eeg(path: Path) -> bool:
    """Whether a path is that of an EEG file of a clinic, or of a folder of them that is no HMS folder."""
    if path.is_dir():
        return not (path / "test.csv").exists() and any(map(is_eeg_file, path.rglob("*")))
    return is_eeg_file(path)


def eeg_files(path: Path) -> tuple[Path, list[str]]:
    """A folder and the names of the EEG files in it and below, sorted; for a file, its folder and its own name.

    Raises DataError where there is none.
    """
    if path.is_file():
        return path.parent, [path.name]
    names = sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if is_eeg_file(p))
    if not names:
        raise DataError(
            f"no EEG files at {path}: give a file or a folder of files that end in {', '.join(EEG_SUFFIXES)}"
        )
    return path, names


def windows_of(path: Path, step_s: float = STEP_S) -> Windows:
    """Windows of 50 s, one every `step_s` seconds, of an EEG file or of all files in a folder.

    A recording shorter than 50 s has one window.
    """
    folder, names = eeg_files(path)
    files, offsets = [], []
    for name in names:
        last_s = max(open_eeg(folder / name).seconds - EEG_SECONDS, 0.0)
        starts = np.arange(0.0, last_s + step_s / 1e6, step_s)
        files += [name] * len(starts)
        offsets.append(starts)
    return Windows(folder, np.asarray(files), np.concatenate(offsets))


def eeg_inputs(path: Path, views: Sequence[View], step_s: float = STEP_S) -> Inputs:
    """The views of an EEG file, or of all files in a folder, to be scored; ids are `file@seconds`."""
    windows = windows_of(path, step_s)
    return Inputs(windows.ids_N, windows.views(views), {view.name: recipe(view) for view in views})


def window_at(path: Path, offset_s: float) -> tuple[str, Record]:
    """The id and the signals of the 50 s of a file from `offset_s` on; warns of missing electrodes."""
    file = open_eeg(path)
    _warn(file.problems)
    return Windows(path.parent, np.asarray([path.name]), np.asarray([offset_s])).ids_N.item(), file.record(offset_s)


def _warn(problems: Sequence[Problem]) -> None:
    """One warning per kind of problem, with the number of files or windows and the first of them."""
    for what in dict.fromkeys(problem.what for problem in problems):
        those = [problem for problem in problems if problem.what == what]
        more = f" and {len(those) - 1} more" if len(those) > 1 else ""
        warnings.warn(f"{those[0].file}{more}: {what}; first: {those[0].detail}", FoldstillWarning, stacklevel=3)
