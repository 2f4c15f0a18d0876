"""One part of a preparation: files are read once, and views are made row by row, or for all rows on a device."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foldstill.data.signals import Signal
from foldstill.errors import DataError
from foldstill.hms.cache import Cache
from foldstill.hms.chains import ChainSpectrogram
from foldstill.hms.files import HmsFolder, Problem, SignalFile, read_eeg, read_spectrogram
from foldstill.hms.montage import EEG_SECONDS, SFREQ_HZ
from foldstill.hms.record import Record
from foldstill.hms.rows import LabelRows
from foldstill.hms.storage import encode
from foldstill.hms.views import View

LEFT_OUT = "left out"
"""The problem of a sample of which no view could be made."""

BLANK = "blank input"
"""The problem of a sample with a view that has the same value everywhere: nothing can be learned from it."""


@dataclass(frozen=True)
class PartTask:
    """What is the same for all parts: the files to read, the cache to write into, and the views to make."""

    source: HmsFolder
    cache: Cache
    views: tuple[View, ...]
    strict: bool
    """Whether the first problem of a file is an error."""
    device: str | None
    """The torch device that computes the spectrograms of the EEG; None computes everything with NumPy."""


@dataclass(frozen=True)
class Part:
    """Rows whose files no other part reads, the problems of these files, and what computed each of their views."""

    rows: tuple[int, ...]
    problems: tuple[Problem, ...]
    unreadable: tuple[int, ...]
    digests: dict[str, str]
    computed_by: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "problems": [vars(p) for p in self.problems]}

    @classmethod
    def from_json(cls, part: dict[str, Any]) -> "Part":
        problems = tuple(Problem(**problem) for problem in part["problems"])
        return cls(tuple(part["rows"]), problems, tuple(part["unreadable"]), part["digests"], part["computed_by"])


def make_part(task: PartTask, table: LabelRows, rows: tuple[int, ...]) -> Part:
    """Make the views of some rows and write them into the unfinished arrays; `table` holds these rows only.

    Without a device NumPy makes one row at a time, which stays in the processor's cache. On a device torch computes the
    spectrograms of the EEG of all rows at once.
    """
    arrays = {
        v.name: np.load(task.cache.arrays.part_file(v.name), mmap_mode="r+", allow_pickle=False) for v in task.views
    }
    on_device = () if task.device is None else tuple(v for v in task.views if isinstance(v, ChainSpectrogram))
    signals: dict[str, dict[int, Signal]] = {view.name: {} for view in on_device}
    reader = _Reader(task.source, task.views)
    unreadable = []

    def store(view: View, row: int, values: Signal) -> None:
        stored = encode(values, view.bounds)
        arrays[view.name][row] = stored
        if stored.min() == stored.max():
            sample = f"sample {table.ids_N[rows.index(row)]}"
            reader.problems[Problem(sample, BLANK, blank_detail(view))] = None

    for i, row in enumerate(rows):
        try:
            record = reader.record(table, i)
            for view in task.views:
                if view in on_device:
                    signals[view.name][row] = view.signals(record)
                else:
                    store(view, row, view.make(record))
        except DataError as error:
            unreadable.append(row)
            reader.problems[Problem(f"sample {table.ids_N[i]}", LEFT_OUT, str(error), fatal=True)] = None
        reader.check(task.strict)
    if task.device is not None:
        for each in on_device:
            for row, panels in panels_on(task.device, each, signals[each.name]):
                store(each, row, each.image(panels))
        reader.check(task.strict)
    for array in arrays.values():
        array.flush()  # before the journal says that the part is finished, so that a power cut loses none
    computed_by = {v.name: f"torch on {task.device}" if v.name in signals else "numpy" for v in task.views}
    return Part(rows, tuple(reader.problems), tuple(unreadable), reader.digests, computed_by)


def blank_detail(view: View) -> str:
    """The detail of the problem of a blank input."""
    return f"view {view.name} has the same value everywhere"


def panels_on(device: str, view: ChainSpectrogram, signals: Mapping[int, Signal]) -> Iterator[tuple[int, Signal]]:
    """Panels of each row, computed on a device in float32; rows with equally long signals are computed together."""
    import torch

    for length in sorted({x.shape[1] for x in signals.values()}):
        rows = [row for row, x in signals.items() if x.shape[1] == length]
        x_BET = torch.from_numpy(np.stack([signals[row] for row in rows])).to(device)
        yield from zip(rows, view.spectra(x_BET).cpu().numpy(), strict=True)


def _short_of_label(recording: str, eeg: SignalFile, offset_s: float) -> list[Problem]:
    """The problem of a recording that ends before the 50 s of its label do; fatal where it ends before they begin."""
    seconds = eeg.values.shape[1] / SFREQ_HZ
    if seconds >= offset_s + EEG_SECONDS:
        return []
    detail = f"recording {recording} has {seconds:g} s, its label is at {offset_s:g} to {offset_s + EEG_SECONDS:g} s"
    return [Problem(f"{recording}.parquet", "shorter than its label offset", detail, fatal=seconds <= offset_s)]


class _Reader:
    """Reads the records of one part, each file once, and collects the problems of the files."""

    def __init__(self, source: HmsFolder, views: tuple[View, ...]) -> None:
        self._source = source
        self._needs = frozenset().union(*(view.needs for view in views))
        self._last: dict[str, tuple[Path, SignalFile]] = {}
        self.problems: dict[Problem, None] = {}
        self.digests: dict[str, str] = {}

    def check(self, strict: bool) -> None:
        """Raises DataError with the first problem where problems are errors."""
        if strict and self.problems:
            first = next(iter(self.problems))
            raise DataError(f"{first.file}: {first.what}, {first.detail}: repair it, or prepare without strict")

    def record(self, table: LabelRows, i: int) -> Record:
        """The record of row `i` of the table; raises DataError where a file cannot be used."""
        recording, offset_s = str(table.recordings_N[i]), float(table.eeg_offset_N[i])
        eeg = self._read("eeg", self._source.eeg(recording)) if "eeg" in self._needs else None
        power = None
        if "spectrogram" in self._needs:
            power = self._read("spectrogram", self._source.spectrogram(str(table.spectrograms_N[i])))
        problems = [p for file in (eeg, power) if file is not None for p in file.problems]
        if eeg is not None:
            problems += _short_of_label(recording, eeg, offset_s)
        self.problems |= dict.fromkeys(problems)
        for p in problems:
            if p.fatal:
                raise DataError(f"{p.file}: {p.what}, {p.detail}")
        return Record(
            eeg_ET=None if eeg is None else eeg.values,
            spectrogram_FS=None if power is None else power.values,
            eeg_offset_s=offset_s,
            spectrogram_offset_s=float(table.spectrogram_offset_N[i]),
        )

    def _read(self, kind: str, path: Path) -> SignalFile:
        # Rows come sorted by file, so only the last file of each kind is needed again.
        if self._last.get(kind, (None,))[0] != path:
            self._last[kind] = (path, read_eeg(path) if kind == "eeg" else read_spectrogram(path))
            self.digests[f"{path.parent.name}/{path.name}"] = self._last[kind][1].digest
        return self._last[kind][1]
