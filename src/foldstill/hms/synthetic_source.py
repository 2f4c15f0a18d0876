"""Synthetic HMS as a data source, generated in memory. N rows."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.dataset import Dataset, Inputs
from foldstill.data.labels import Labels
from foldstill.data.source import PlainSource
from foldstill.errors import DataError
from foldstill.hms.montage import CLASSES
from foldstill.hms.record import Record
from foldstill.hms.source import EXAMPLE_VIEWS, HmsData, HmsViews
from foldstill.hms.storage import encode
from foldstill.hms.synthetic import MARGIN_S, Session, sessions, write_synthetic_hms
from foldstill.hms.views import HmsView, recipe
from foldstill.hms.views_kaggle import KaggleSpectrogram
from foldstill.hms.views_raw import RawEeg
from foldstill.hms.views_spectra import MelSpectrogram

if TYPE_CHECKING:
    from typing import Self

SMALL_VIEWS: tuple[HmsView, ...] = (
    MelSpectrogram(n_mels=32, width=64),
    KaggleSpectrogram(height=32, width=64, layout="channels"),
    RawEeg(bin_size=8),
)
"""Views small enough that networks learn from them in seconds on a CPU."""


@dataclass(frozen=True, kw_only=True)
class SyntheticHmsData(HmsViews, PlainSource, kind="synthetic_hms", title="Synthetic HMS"):
    """Synthetic EEG with votes of synthetic experts, generated from a seed.

    It is generated in memory; no file is read or written.

    Examples
    --------
    >>> data = SyntheticHmsData(patients=2, recordings=1, views=(RawEeg(bin_size=40),))
    >>> data.load(Path()).view("raw_eeg").shape
    (3, 19, 250)
    """

    patients: int = 100
    """Number of patients; each patient is one group."""
    recordings: int = 6
    """Number of recordings per patient; a recording gives one row per different vote vector."""
    seed: int = 0
    """Seed of all random numbers of the data."""
    views: tuple[HmsView, ...] = SMALL_VIEWS

    def __post_init__(self) -> None:
        if self.patients < 1 or self.recordings < 1 or self.seed < 0:
            raise DataError(
                f"data needs patients and recordings of 1 or more and a seed of 0 or more, "
                f"got {self.patients}, {self.recordings} and {self.seed}"
            )
        super().__post_init__()

    @classmethod
    def example(cls, folder: Path) -> "tuple[Self, Path]":
        write_synthetic_hms(folder / "hms", patients=2, recordings=1)
        return cls(patients=2, recordings=1, views=EXAMPLE_VIEWS), folder / "hms"

    def load(self, root: Path) -> Dataset:
        """The data set, the same for the same settings; `root` is not used, because no file is read."""
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
        views = {name: np.stack(rows) for name, rows in stored.items()}
        return Dataset(labels, views, recipes={view.name: recipe(view) for view in self.views})

    def sample(self, name: str = "") -> tuple[str, Record, NDArray[np.int64]]:
        """Id, signals and votes of the sample with this id, or of the first sample without a name.

        Patients are generated until the sample is found.
        """
        for session in sessions(self.patients, self.seed, recordings=self.recordings):
            for row_id, record, votes_C in _samples(session):
                if name in ("", row_id):
                    return row_id, record, votes_C
        raise DataError(f"no sample {name!r} among {self.patients} patients: name an id of the data set, or none")

    def inputs(self, path: Path) -> Inputs:
        """The views of the test split of an HMS folder, real or synthetic, or of EEG files of clinics."""
        return HmsData(folder=str(path), views=self.views).inputs(path)


def _samples(session: Session) -> list[tuple[str, Record, NDArray[np.int64]]]:
    """One sample per recording and vote vector, in the middle of the windows with these votes."""
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
