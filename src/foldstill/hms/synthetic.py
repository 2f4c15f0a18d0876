"""Synthetic HMS: the competition's files from a seed, or the same recordings in memory. C classes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.csv_files import write_csv
from foldstill.data.signals import Signal, mean_for_gaps
from foldstill.data.spectra import extended, frame_power, window_frames
from foldstill.errors import DataError
from foldstill.files import atomic_write
from foldstill.hms.chains import chain_differences
from foldstill.hms.files import TEST_COLUMNS, TRAIN_COLUMNS
from foldstill.hms.montage import (
    BINS_PER_PANEL,
    CHAINS,
    CLASSES,
    EEG_CHANNELS,
    EEG_SECONDS,
    PANELS,
    SECONDS_PER_COLUMN,
    SFREQ_HZ,
    SPECTROGRAM_SECONDS,
    VOTE_COLUMNS,
    spectrogram_columns,
)
from foldstill.hms.synthetic_eeg import Episode, Patient, draw_episode, draw_patient, simulate
from foldstill.hms.synthetic_votes import FEW, MANY, draw_votes, evidence
from foldstill.workers import OnProgress, Progress, silent

EEG_GAP_SHARE = 0.048
SPECTROGRAM_GAP_SHARE = 0.087
BAD_CHANNEL_SHARE = 0.048
"""Shares of the real files with missing values, and of the recordings with an electrode that has no contact."""

MANY_EXPERTS_SHARE = 0.3
MARGIN_S = (SPECTROGRAM_SECONDS - EEG_SECONDS) // 2
"""The spectrogram shown with an EEG begins this long before it and ends this long after it."""

TRUTH = "truth.csv"

_WINDOW = 800
"""Length of the window of a spectrogram in samples: 4 s, every 2 s."""


@dataclass(frozen=True)
class LabelledWindow:
    """One row of train.csv: 50 s of a recording, from `offset_s`, and the votes of the experts."""

    offset_s: int
    votes_C: NDArray[np.int64]
    share_C: NDArray[np.float64]
    """The probabilities from which the votes were drawn."""


@dataclass(frozen=True)
class Recording:
    """A part of a session that is one EEG file."""

    eeg_id: int
    start_s: int
    """Where it begins in the session."""
    seconds: int
    windows: tuple[LabelledWindow, ...]

    def cut(self, eeg_ET: Signal) -> Signal:
        return eeg_ET[:, self.start_s * SFREQ_HZ : (self.start_s + self.seconds) * SFREQ_HZ]


@dataclass(frozen=True)
class Session:
    """The monitoring of one patient: the EEG (20, T), its spectrogram (400, S), and the recordings in it."""

    patient_id: int
    spectrogram_id: int
    eeg_ET: Signal
    spectrogram_FS: Signal
    recordings: tuple[Recording, ...]


def sessions(patients: int, seed: int, *, recordings: int = 4) -> Iterator[Session]:
    """One session per patient; patient i does not depend on the number of patients."""
    if patients < 1 or recordings < 1:
        raise DataError(f"synthetic HMS needs 1 patient and 1 recording or more, got {patients} and {recordings}")
    for number in range(patients):
        yield _session(np.random.default_rng([seed, number]), number, recordings)


def _session(rng: np.random.Generator, number: int, count: int) -> Session:
    patient = draw_patient(rng)
    episodes, plans, at = _unlabelled(rng, patient, 0, MARGIN_S), [], MARGIN_S
    for _ in range(count):
        name = rng.choice(CLASSES, p=np.asarray(patient.share_by_class))
        # Windows of a recording overlap; half of the recordings have one label only.
        seconds = EEG_SECONDS + (int(rng.integers(1, 16)) * 2 if rng.random() < 0.5 else 0)
        begin, end = at + rng.uniform(-25, 15), at + seconds + rng.uniform(-15, 25)
        if rng.random() < 0.25:
            # The episode begins or ends inside the judged part of the recording, where its labels change.
            change = at + rng.uniform(20, seconds - 20)
            begin, end = (change, end) if rng.random() < 0.5 else (begin, change)
        episodes.append(draw_episode(rng, patient, str(name), begin, end))
        plans.append((at, seconds))
        at += seconds + int(rng.integers(5, 30))
    total_s = plans[-1][0] + plans[-1][1] + MARGIN_S
    total_s += total_s % SECONDS_PER_COLUMN
    episodes += _unlabelled(rng, patient, plans[-1][0] + plans[-1][1], total_s)
    bad = tuple(rng.choice(len(EEG_CHANNELS) - 1, size=1).tolist()) if rng.random() < BAD_CHANNEL_SHARE else ()
    eeg = simulate(rng, patient, total_s, tuple(episodes), bad)
    power = chain_power(eeg)
    cut: list[Recording] = []
    for i, (start_s, seconds) in enumerate(plans):
        regime = MANY if rng.random() < MANY_EXPERTS_SHARE else FEW
        windows: list[LabelledWindow] = []
        before: NDArray[np.float64] | None = None
        for offset in range(0, seconds - EEG_SECONDS + 1, 2):
            share = evidence(episodes, patient.background_uv, start_s + offset)
            # The same experts keep their votes while they see nearly the same EEG.
            if before is None or np.abs(share - before).sum() > 0.25:
                votes, before = draw_votes(rng, share, regime), share
            if offset == 0 or rng.random() < 0.6:
                windows.append(LabelledWindow(offset, votes, before))
        cut.append(Recording(_identity(100 * number + i + 1), start_s, seconds, tuple(windows)))
        if rng.random() < EEG_GAP_SHARE:
            _lose(rng, cut[-1].cut(eeg), longest=seconds * SFREQ_HZ // 4)
    if rng.random() < SPECTROGRAM_GAP_SHARE:
        _lose(rng, power, longest=power.shape[1] // 4)
    return Session(10_000 + number, _identity(100 * number), eeg, power, tuple(cut))


def _unlabelled(rng: np.random.Generator, patient: Patient, begin_s: float, end_s: float) -> list[Episode]:
    """The episodes outside the labelled recordings, drawn as those inside."""
    episodes = []
    at = begin_s + rng.uniform(0, 30)
    while at < end_s - 30:
        stop = min(at + rng.uniform(50, 120), end_s)
        name = str(rng.choice(CLASSES, p=np.asarray(patient.share_by_class)))
        episodes.append(draw_episode(rng, patient, name, at, stop))
        at = stop + rng.uniform(5, 40)
    return episodes


def _identity(number: int) -> int:
    """An id that looks like those of the competition; different for different numbers (an odd factor, modulo 2^32)."""
    return (number * 2_654_435_761 + 1_000_003) % 2**32


def _lose(rng: np.random.Generator, values: Signal, longest: int) -> None:
    """Set a run of columns to NaN, in all rows."""
    length = int(rng.integers(1, longest))
    start = int(rng.integers(0, values.shape[1] - length))
    values[:, start : start + length] = np.nan


def chain_power(eeg_ET: Signal) -> Signal:
    """The values of the spectrogram file (400, S): mean power of the differences of a chain in uV^2 / Hz, every 2 s.

    A Hann window of 4 s, transformed with 1,024 points at 200 Hz: bins 3 to 102 are 0.59 to 19.92 Hz.
    """
    x_ET = mean_for_gaps(chain_differences(eeg_ET))
    hop = SECONDS_PER_COLUMN * SFREQ_HZ
    columns = x_ET.shape[1] // hop
    # The first column is centred at 1 s, as the files' time column says.
    frames = window_frames(extended(x_ET[:, hop // 2 :], _WINDOW, "constant"), _WINDOW, hop)[:, :columns]
    density = np.float32(
        2 / (SFREQ_HZ * 0.375 * _WINDOW) / 4
    )  # a Hann window's power is 3/8; four differences per chain
    by_chain = {
        name: sum(frame_power(f, 1024, 3, BINS_PER_PANEL) for f in frames[4 * i : 4 * i + 4]) * density
        for i, name in enumerate(CHAINS)
    }
    panels: Signal = np.concatenate([by_chain[name].T for name in PANELS])
    return panels


def write_synthetic_hms(
    out: Path,
    patients: int,
    seed: int = 0,
    *,
    recordings: int = 4,
    test_patients: int = 1,
    report: OnProgress = silent,
) -> None:
    """Write train.csv, test.csv, sample_submission.csv and the four folders of signals, as the competition does.

    truth.csv, which the competition does not have, holds the probabilities from which the votes were drawn.

    Parameters
    ----------
    out : Path
        A new folder.
    patients : int
        Number of patients, including those of the test split.
    seed : int, default 0
        Seed of all random numbers.
    recordings : int, default 4
        Number of recordings per patient.
    test_patients : int, default 1
        The last patients are the test split: the first 50 s of their recordings, without votes.
    report : callable
        Receives the progress.

    Raises
    ------
    DataError
        Where `out` already holds such files, or no patient is left to train on.
    """
    if not 0 <= test_patients < patients:
        raise DataError(f"test_patients must leave patients to train on, got {test_patients} of {patients}: lower it")
    if (out / "train.csv").exists():
        raise DataError(f"{out} already holds HMS files: choose another folder")
    train: list[tuple[Any, ...]] = []
    truth: list[tuple[Any, ...]] = []
    test: list[tuple[int, int, int]] = []
    for number, session in enumerate(sessions(patients, seed, recordings=recordings)):
        split = "train" if number < patients - test_patients else "test"
        if split == "train":
            train += _train_rows(session, len(train))
            truth += _truth_rows(session)
            _write_spectrogram(out / "train_spectrograms" / f"{session.spectrogram_id}.parquet", session.spectrogram_FS)
        for recording in session.recordings:
            eeg = recording.cut(session.eeg_ET)
            if split == "test":
                # A test row has a spectrogram of its own, cut so that its windows begin at 0.
                cut_id = session.spectrogram_id + recording.start_s
                test.append((cut_id, recording.eeg_id, session.patient_id))
                begin = (recording.start_s - MARGIN_S) // SECONDS_PER_COLUMN
                power = session.spectrogram_FS[:, begin : begin + SPECTROGRAM_SECONDS // SECONDS_PER_COLUMN]
                _write_spectrogram(out / "test_spectrograms" / f"{cut_id}.parquet", power)
                eeg = eeg[:, : EEG_SECONDS * SFREQ_HZ]
            _write_eeg(out / f"{split}_eegs" / f"{recording.eeg_id}.parquet", eeg)
        report(Progress("patients", number + 1, patients))
    import pandas as pd

    write_csv(out / TRUTH, pd.DataFrame(truth, columns=["eeg_id", "eeg_sub_id", *CLASSES]))
    _write_tables(out, train, test)


def _write_tables(out: Path, train: list[tuple[Any, ...]], test: list[tuple[int, int, int]]) -> None:
    import pandas as pd

    sample = pd.DataFrame({"eeg_id": [row[1] for row in test]}).assign(**dict.fromkeys(VOTE_COLUMNS, 1 / len(CLASSES)))
    tables = {
        "test.csv": pd.DataFrame(test, columns=list(TEST_COLUMNS)),
        "sample_submission.csv": sample,
        # Written last: it marks the folder as complete.
        "train.csv": pd.DataFrame(train, columns=list(TRAIN_COLUMNS)),
    }
    for name in ("test_eegs", "test_spectrograms"):
        (out / name).mkdir(parents=True, exist_ok=True)
    for file, table in tables.items():
        write_csv(out / file, table)


def _train_rows(session: Session, label_id: int) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for recording in session.recordings:
        for sub, window in enumerate(recording.windows):
            in_session = recording.start_s + window.offset_s - MARGIN_S
            rows.append(
                (
                    *(recording.eeg_id, sub, float(window.offset_s)),
                    *(session.spectrogram_id, len(rows), float(in_session)),
                    *(_identity(label_id + len(rows)), session.patient_id),
                    CLASSES[int(window.votes_C.argmax())],
                    *window.votes_C.tolist(),
                )
            )
    return rows


def _truth_rows(session: Session) -> list[tuple[Any, ...]]:
    return [
        (recording.eeg_id, sub, *window.share_C.tolist())
        for recording in session.recordings
        for sub, window in enumerate(recording.windows)
    ]


def _write_eeg(path: Path, eeg_ET: Signal) -> None:
    _write(path, dict(zip(EEG_CHANNELS, np.round(eeg_ET, 2), strict=True)))


def _write_spectrogram(path: Path, power_FS: Signal) -> None:
    time = np.arange(power_FS.shape[1], dtype=np.int64) * SECONDS_PER_COLUMN + 1
    _write(path, {"time": time, **dict(zip(spectrogram_columns(), np.round(power_FS, 2), strict=True))})


def _write(path: Path, columns: dict[str, NDArray[Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_write(path) as part:
        pq.write_table(pa.table(columns), part)
