"""One part of a preparation: its files are read once, its views made row by row, or of all its rows on a device."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foldstill.data.signals import Signal
from foldstill.errors import DataError
from foldstill.hms.cache import Cache
from foldstill.hms.chains import ChainSpectrogram
from foldstill.hms.files import HmsFolder, Problem, SignalFile, read_eeg, read_spectrogram
from foldstill.hms.image import View, encode
from foldstill.hms.montage import EEG_SECONDS, SFREQ_HZ
from foldstill.hms.record import Record
from foldstill.hms.rows import LabelRows

LEFT_OUT = "left out"
"""The problem of a sample that none of its files could be made into."""


@dataclass(frozen=True)
class Part:
    """Rows whose files no other part reads, what reading them showed, and what computed each of their views."""

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


def make_part(
    source: HmsFolder,
    cache: Cache,
    table: LabelRows,
    rows: tuple[int, ...],
    views: Sequence[View],
    strict: bool,
    device: str | None,
) -> Part:
    """Make the views of some rows and write them into the unfinished arrays.

    Without a device NumPy makes a row at a time, which stays in a core's cache; on a device, torch makes the spectrograms
    of the EEG of all rows at once.
    """
    arrays = {v.name: np.load(cache.part_file(v.name), mmap_mode="r+", allow_pickle=False) for v in views}
    needs = frozenset().union(*(view.needs for view in views))
    files = _Files(source)
    problems: dict[Problem, None] = {}
    unreadable = []
    on_device = () if device is None else tuple(view for view in views if isinstance(view, ChainSpectrogram))
    waiting: dict[str, dict[int, Signal]] = {view.name: {} for view in on_device}
    for i, row in enumerate(rows):
        recording, spectrogram = str(table.recordings_N[i]), str(table.spectrograms_N[i])
        try:
            eeg = files.eeg(recording) if "eeg" in needs else None
            power = files.spectrogram(spectrogram) if "spectrogram" in needs else None
            found = [p for file in (eeg, power) if file is not None for p in file.problems]
            if eeg is not None:
                found += _reach(recording, eeg, float(table.eeg_offset_N[i]))
            problems |= dict.fromkeys(found)
            if any(p.fatal for p in found):
                raise DataError(next(f"{p.file}: {p.what}, {p.detail}" for p in found if p.fatal))
            record = Record(
                eeg_ET=None if eeg is None else eeg.values,
                spectrogram_FS=None if power is None else power.values,
                eeg_offset_s=float(table.eeg_offset_N[i]),
                spectrogram_offset_s=float(table.spectrogram_offset_N[i]),
            )
            for view in views:
                if view in on_device:
                    waiting[view.name][row] = view.signals(record)
                else:
                    arrays[view.name][row] = encode(view.make(record), view.bounds)
        except DataError as error:
            unreadable.append(row)
            problems |= {Problem(f"sample {table.ids_N[i]}", LEFT_OUT, str(error), fatal=True): None}
        if strict and problems:
            first = next(iter(problems))
            raise DataError(f"{first.file}: {first.what}, {first.detail}: repair it, or prepare without strict")
    if device is not None:
        for each in on_device:
            for row, panels in panels_on(device, each, waiting[each.name]):
                arrays[each.name][row] = encode(each.image(panels), each.bounds)
    computed_by = {view.name: f"torch on {device}" if view.name in waiting else "numpy" for view in views}
    return Part(rows, tuple(problems), tuple(unreadable), files.digests, computed_by)


def panels_on(device: str, view: ChainSpectrogram, signals: Mapping[int, Signal]) -> Iterator[tuple[int, Signal]]:
    """Panels of each row, computed on a device in float32; rows whose signals are equally long are computed together."""
    import torch

    for length in sorted({x.shape[1] for x in signals.values()}):
        rows = [row for row, x in signals.items() if x.shape[1] == length]
        x_BET = torch.from_numpy(np.stack([signals[row] for row in rows])).to(device)
        yield from zip(rows, view.spectra(x_BET).cpu().numpy(), strict=True)


def _reach(recording: str, eeg: SignalFile, offset_s: float) -> list[Problem]:
    """What a label's 50 s ask of a recording that is too short for them."""
    seconds = eeg.values.shape[1] / SFREQ_HZ
    if seconds >= offset_s + EEG_SECONDS:
        return []
    detail = f"recording {recording} has {seconds:g} s, its label is at {offset_s:g} to {offset_s + EEG_SECONDS:g} s"
    return [Problem(f"{recording}.parquet", "shorter than its label offset", detail, fatal=seconds <= offset_s)]


class _Files:
    """Reads a file once for all rows of a part."""

    def __init__(self, source: HmsFolder) -> None:
        self._source = source
        self._held: dict[str, tuple[Path, SignalFile]] = {}
        self.digests: dict[str, str] = {}

    def eeg(self, recording: str) -> SignalFile:
        return self._read("eeg", self._source.eeg(recording))

    def spectrogram(self, spectrogram: str) -> SignalFile:
        return self._read("spectrogram", self._source.spectrogram(spectrogram))

    def _read(self, kind: str, path: Path) -> SignalFile:
        # Rows come sorted by file, so the last one of each kind is all that is ever asked for again.
        if self._held.get(kind, (None,))[0] != path:
            self._held[kind] = (path, read_eeg(path) if kind == "eeg" else read_spectrogram(path))
            self.digests[f"{path.parent.name}/{path.name}"] = self._held[kind][1].digest
        return self._held[kind][1]
