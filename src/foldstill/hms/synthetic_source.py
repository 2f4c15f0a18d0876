"""Synthetic HMS as a data set of an experiment, made in memory. N rows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.dataset import Dataset, Inputs
from foldstill.data.labels import Labels
from foldstill.errors import DataError
from foldstill.hms.image import encode
from foldstill.hms.montage import CLASSES
from foldstill.hms.record import Record
from foldstill.hms.source import HmsData, HmsView
from foldstill.hms.synthetic import MARGIN_S, Session, sessions
from foldstill.hms.views_kaggle import KaggleSpectrogram
from foldstill.hms.views_raw import RawEeg
from foldstill.hms.views_spectra import MelSpectrogram
from foldstill.settings import Settings

SMALL_VIEWS: tuple[HmsView, ...] = (
    MelSpectrogram(n_mels=32, width=64),
    KaggleSpectrogram(height=32, width=64, layout="channels"),
    RawEeg(bin_size=8),
)
"""Views small enough that networks learn from them in seconds on a CPU."""


@dataclass(frozen=True, kw_only=True)
class SyntheticHmsData(Settings):
    """EEG of made-up patients with votes of made-up experts; no file is read or written."""

    kind: Literal["synthetic_hms"] = "synthetic_hms"
    patients: int = 100
    """Patients; each is one group."""
    recordings: int = 6
    """Recordings of a patient; each is a row for every vote vector it was given."""
    seed: int = 0
    """Everything derives from it."""
    views: tuple[HmsView, ...] = SMALL_VIEWS
    """The views, each with its `kind` and a name that members ask for."""

    def __post_init__(self) -> None:
        if self.patients < 1 or self.recordings < 1 or self.seed < 0:
            raise DataError(
                f"data needs patients and recordings of 1 or more and a seed of 0 or more, "
                f"got {self.patients}, {self.recordings} and {self.seed}"
            )
        names = [view.name for view in self.views]
        if not names or len(set(names)) < len(names):
            raise DataError(f"data.views need different names, got {names}: set `name`")

    def load(self, root: Path) -> Dataset:
        """The data set, deterministic; `root` is not used, because nothing lies on disk."""
        del root
        ids, groups, votes = [], [], []
        stored: dict[str, list[NDArray[Any]]] = {view.name: [] for view in self.views}
        for session in sessions(self.patients, self.seed, recordings=self.recordings):
            for row_id, record, votes_C in _samples(session):
                ids.append(row_id)
                groups.append(str(session.patient_id))
                votes.append(votes_C)
                for view in self.views:
                    stored[view.name].append(encode(view.make(record), view.bounds))
        labels = Labels.from_votes(np.stack(votes), ids=np.asarray(ids), groups=np.asarray(groups), classes=CLASSES)
        return Dataset(labels, {name: np.stack(rows) for name, rows in stored.items()})

    def sample(self, name: str = "") -> tuple[str, Record, NDArray[np.int64]]:
        """Id, signals and votes of one sample, the first when none is named; patients are made until it is found."""
        for session in sessions(self.patients, self.seed, recordings=self.recordings):
            for row_id, record, votes_C in _samples(session):
                if name in ("", row_id):
                    return row_id, record, votes_C
        raise DataError(f"no sample {name!r} among {self.patients} patients: name an id of the data set, or none")

    def inputs(self, path: Path) -> Inputs:
        """The views of the test split of an HMS folder, real or synthetic."""
        return HmsData(folder=str(path), views=self.views).inputs(path)


def _samples(session: Session) -> list[tuple[str, Record, NDArray[np.int64]]]:
    """One sample for each recording and vote vector, in the middle of the windows that were given it."""
    samples = []
    for recording in session.recordings:
        eeg = recording.cut(session.eeg_ET)
        by_votes: dict[bytes, list[int]] = {}
        for i, window in enumerate(recording.windows):
            by_votes.setdefault(window.votes_C.tobytes(), []).append(i)
        for windows in by_votes.values():
            first, last = recording.windows[windows[0]], recording.windows[windows[-1]]
            offset_s = (first.offset_s + last.offset_s) / 2
            in_session = recording.start_s - MARGIN_S + offset_s
            record = Record(eeg, session.spectrogram_FS, offset_s, in_session)
            samples.append((f"{recording.eeg_id}-{windows[0]}", record, first.votes_C))
    return samples
