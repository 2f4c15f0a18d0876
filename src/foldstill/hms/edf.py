"""EEG files of clinics, EDF, BDF and FIF, as records of 50 s at 200 Hz. MNE reads them. E electrodes, T time."""

import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.signals import Signal
from foldstill.errors import DataError, require_package
from foldstill.hms.electrodes import Channel, find_electrodes, mixed_references
from foldstill.hms.files import Problem
from foldstill.hms.montage import EEG_CHANNELS, EEG_SECONDS, SFREQ_HZ, channel_index
from foldstill.hms.record import Record

EEG_SUFFIXES = (".edf", ".bdf", ".fif", ".fif.gz")
"""Ends of the names of files that can be read."""

LOWEST_SFREQ_HZ = 100
"""Views read up to 50 Hz by their defaults, which needs twice as many samples per second."""

_FIRST_BYTE = {".edf": b"0", ".bdf": b"\xff"}
_MARGIN_S = 1.0
"""Seconds read before and after a window, so that its ends are resampled like its middle."""
_MICROVOLTS = 1e6
_SERIOUS = ("Number of records", "Header information", "Scaling factor", "Physical range")
"""How those warnings of MNE begin that are about the values of a file, such as one that is cut short."""


@dataclass(frozen=True)
class Annotation:
    """An event of a recording; seconds from the start of the file."""

    onset_s: float
    duration_s: float
    text: str


@dataclass(frozen=True)
class EegFile:
    """An open file: its electrodes by the montage's names, and its problems, none of which prevents reading."""

    path: Path
    channels: dict[str, Channel]
    problems: tuple[Problem, ...]
    raw: Any
    """MNE's object, which reads pieces of the file as they are asked for."""
    scale_E: NDArray[np.float64]
    """Factor from the values that MNE gives to microvolts, per electrode of `channels`."""

    @property
    def sfreq_hz(self) -> float:
        """The sampling rate of the file; records have 200 Hz."""
        return float(self.raw.info["sfreq"])

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return float(self.raw.n_times / self.sfreq_hz)

    def annotations(self) -> list[Annotation]:
        """The events that are marked in the file, in the order of time."""
        marks = self.raw.annotations
        # MNE counts the time of a FIF file from its first recorded sample, which may have been cut away.
        onsets = np.asarray(marks.onset) - self.raw.first_time
        texts = map(str, marks.description)
        each = zip(onsets.tolist(), marks.duration.tolist(), texts, strict=True)
        return [Annotation(onset_s, duration_s, text) for onset_s, duration_s, text in each]

    def record(self, offset_s: float) -> Record:
        """The 50 s from `offset_s` on; missing electrodes, and time outside the file, are NaN.

        Raises DataError where the middle of the 50 s is not in the file: that is what a label is about.
        """
        if not 0 <= offset_s + EEG_SECONDS / 2 < self.seconds:
            raise DataError(
                f"{self.path} has {self.seconds:g} s, a window at {offset_s:g} to {offset_s + EEG_SECONDS:g} s has its "
                "middle outside: correct the offset, which is the start of the 50 s, in seconds from the file's start"
            )
        start = max(round((offset_s - _MARGIN_S) * self.sfreq_hz), 0)
        stop = min(round((offset_s + EEG_SECONDS + _MARGIN_S) * self.sfreq_hz), self.raw.n_times)
        names = [channel.name for channel in self.channels.values()]
        try:
            values_ET = self.raw.get_data(names, start, stop, verbose="error") * self.scale_E[:, None]
        # MNE raises what its parser met.
        except Exception as error:
            raise DataError(f"{self.path} cannot be read at {offset_s:g} s ({error}): copy it again") from error
        piece_ET = _resampled(values_ET, self.sfreq_hz)
        at = round(start / self.sfreq_hz * SFREQ_HZ) - round(offset_s * SFREQ_HZ)
        eeg_ET = np.full((len(EEG_CHANNELS), EEG_SECONDS * SFREQ_HZ), np.nan, np.float32)
        length = min(piece_ET.shape[1] + min(at, 0), eeg_ET.shape[1] - max(at, 0))
        rows = channel_index(tuple(self.channels))
        eeg_ET[rows, max(at, 0) : max(at, 0) + length] = piece_ET[:, max(-at, 0) : max(-at, 0) + length]
        return Record(eeg_ET)


def _resampled(values_ET: NDArray[np.float64], sfreq_hz: float) -> Signal:
    """The same signals at 200 Hz, without frequencies that 200 Hz cannot hold."""
    from scipy.signal import resample_poly

    ratio = Fraction(SFREQ_HZ / sfreq_hz).limit_denominator(1000)
    if ratio != 1:
        # "line": recordings have an offset, and a step to 0 at their ends would ring.
        values_ET = resample_poly(values_ET, ratio.numerator, ratio.denominator, axis=1, padtype="line")
    return values_ET.astype(np.float32)


def is_eeg_file(path: Path) -> bool:
    """Whether the name of a path is that of a file that can be read.

    >>> is_eeg_file(Path("Night.EDF")), is_eeg_file(Path("night.csv"))
    (True, False)
    """
    return path.name.lower().endswith(EEG_SUFFIXES)


def open_eeg(path: Path) -> EegFile:
    """Open an EDF, BDF or FIF file and find its electrodes.

    Raises DataError where the file cannot be read, where it has no electrode of the montage, and where it has less than
    100 samples per second.
    """
    raw, faults = _read(path)
    channels, left_out = find_electrodes(raw.ch_names)
    if not channels:
        raise DataError(
            f"{path} has no electrode of the montage ({', '.join(EEG_CHANNELS[:3])}, ...), it has {raw.ch_names[:8]}: "
            "give a recording against a reference, with 10-20 or 10-10 names; differences such as Fp1-F7 are not read"
        )
    if path.name.lower().endswith((".edf", ".bdf")):
        # Other channels may be sampled faster, and MNE would resample all of them to the fastest.
        raw, faults = _read(path, [channel.name for channel in channels.values()])
    if raw.info["sfreq"] < LOWEST_SFREQ_HZ:
        raise DataError(
            f"{path} has {raw.info['sfreq']:g} samples per second, views need {LOWEST_SFREQ_HZ} or more: give the "
            "recording as it was before it was thinned"
        )
    marked = [electrode for electrode, channel in channels.items() if channel.name in raw.info["bads"]]
    channels = {electrode: channel for electrode, channel in channels.items() if electrode not in marked}
    units = _units(path, raw, channels)
    without_unit = [channels[electrode].name for electrode, unit in units.items() if not unit]
    details = {
        "missing electrodes": [name for name in EEG_CHANNELS if name not in channels and name not in marked],
        "electrodes marked as bad": marked,
        "second channels of an electrode": [channel.name for channel in left_out],
        "different references in a difference": mixed_references(channels),
        "channels without a unit, taken as microvolts": without_unit,
        "faults of the header": faults,
        "marked as discontinuous": ["offsets after an interruption are too late"] if _has_gaps(path) else [],
    }
    problems = tuple(Problem(path.name, what, " ".join(detail)) for what, detail in details.items() if detail)
    scale_E = np.asarray([_MICROVOLTS if unit else 1.0 for unit in units.values()])
    return EegFile(path, channels, problems, raw, scale_E)


def _read(path: Path, names: list[str] | None = None) -> tuple[Any, list[str]]:
    """What MNE makes of the header of a file, and what it warns of; its signals are read later.

    `names` are channels, None for all.
    """
    require_package("mne", "eeg", purpose=f"reading {path}", error=DataError)
    if not path.is_file():
        raise DataError(f"no file {path}: correct the path")
    if not is_eeg_file(path):
        raise DataError(f"{path} must end in {', '.join(EEG_SUFFIXES)}: the suffix says how to read it")
    first = _FIRST_BYTE.get(path.name.lower()[-4:])
    with path.open("rb") as stream:
        if first is not None and stream.read(1) != first:
            # MNE does not look, and reads the 16 bits of an EDF file as 24 where its name says BDF.
            raise DataError(f"{path} does not begin as its suffix says: rename it, or copy it again")
    try:
        try:
            return _read_by_mne(path, names, "utf8")
        except Exception as error:
            # EDF+ prescribes UTF-8; recorders of many clinics write annotations in Latin-1 all the same.
            if "encoding=" not in str(error):
                raise
            return _read_by_mne(path, names, "latin1")
    # MNE raises what its parser met: an assertion, a failed conversion, a short read.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} cannot be read ({reason}): it is damaged or not what its suffix says") from error


def _read_by_mne(path: Path, names: list[str] | None, encoding: str) -> tuple[Any, list[str]]:
    import mne

    suffix = path.name.lower()[-4:]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if suffix == ".edf":
            raw = mne.io.read_raw_edf(path, include=names, encoding=encoding, verbose="warning")
        elif suffix == ".bdf":
            raw = mne.io.read_raw_bdf(path, include=names, encoding=encoding, verbose="warning")
        else:
            raw = mne.io.read_raw_fif(path, verbose="warning")
    messages = (" ".join(str(each.message).split()) for each in caught)
    return raw, [message for message in messages if message.startswith(_SERIOUS)]


def _units(path: Path, raw: Any, channels: dict[str, Channel]) -> dict[str, str]:
    """The unit of each electrode, "" where its header has none; MNE gives what has a unit in volts.

    Raises DataError for a unit that MNE would take as volts without saying so.
    """
    # MNE has no public name for the units that a file states, and FIF files have none: they hold volts.
    units = {electrode: raw._orig_units.get(channel.name, "V") for electrode, channel in channels.items()}
    units = {electrode: "" if unit == "n/a" else unit for electrode, unit in units.items()}
    for electrode, unit in units.items():
        if unit not in ("", "µV", "mV", "V"):
            raise DataError(
                f"{path} has {channels[electrode].name!r} in {unit!r}, wanted uV, mV or V: correct the file's header"
            )
    return units


def _has_gaps(path: Path) -> bool:
    """Whether the header of an EDF+ or BDF+ file says that its records do not follow each other without a gap."""
    with path.open("rb") as stream:
        stream.seek(192)
        return stream.read(5) in (b"EDF+D", b"BDF+D")
