import numpy as np
import pandas as pd
import pytest

from foldstill.data import FoldPlan, make_plan
from foldstill.data.dataset import one_of_each
from foldstill.errors import DataError, FoldError
from foldstill.hms.files import TRAIN_COLUMNS, HmsFolder
from foldstill.hms.montage import CLASSES
from foldstill.hms.rows import LabelRows, label_rows

A, B = (3, 0, 0, 0, 0, 0), (1, 0, 0, 0, 0, 12)


def write_table(folder, rows):
    """rows: (eeg, sub, eeg offset, spectrogram, spectrogram offset, patient, votes)."""
    columns = dict.fromkeys(TRAIN_COLUMNS, 0)
    made = []
    for eeg, sub, eeg_s, power, power_s, patient, votes in rows:
        made.append(
            {
                **columns,
                "eeg_id": eeg,
                "eeg_sub_id": sub,
                "eeg_label_offset_seconds": eeg_s,
                "spectrogram_id": power,
                "spectrogram_label_offset_seconds": power_s,
                "patient_id": patient,
                "expert_consensus": CLASSES[int(np.argmax(votes))],
                **dict(zip(TRAIN_COLUMNS[-6:], votes, strict=True)),
            }
        )
    pd.DataFrame(made).to_csv(folder / "train.csv", index=False)
    for name in ("train_eegs", "train_spectrograms"):
        (folder / name).mkdir(exist_ok=True)
    return HmsFolder(folder)


@pytest.fixture
def folder(tmp_path):
    # One recording whose votes go A A B A, and one with a single label; both in one spectrogram.
    return write_table(
        tmp_path,
        [
            (7, 0, 0.0, 5, 10.0, 1, A),
            (7, 1, 6.0, 5, 16.0, 1, A),
            (7, 2, 8.0, 5, 18.0, 1, B),
            (7, 3, 20.0, 5, 30.0, 1, A),
            (4, 0, 0.0, 5, 70.0, 1, B),
        ],
    )


def test_every_rule_gives_its_rows_with_the_middle_of_their_offsets(folder):
    unique = label_rows(folder, "unique_votes")
    assert unique.ids_N.tolist() == ["4-0", "7-0", "7-2"]
    assert unique.eeg_offset_N.tolist() == [0, 10, 8]  # A spans 0 to 20
    assert unique.spectrogram_offset_N.tolist() == [70, 20, 18]
    assert unique.votes_NC.tolist() == [list(B), list(A), list(B)]

    stationary = label_rows(folder, "stationary")
    assert stationary.ids_N.tolist() == ["4-0", "7-0", "7-2", "7-3"]
    assert stationary.eeg_offset_N.tolist() == [0, 3, 8, 20]

    recording = label_rows(folder, "recording")
    assert recording.ids_N.tolist() == ["4", "7"]
    assert recording.votes_NC.tolist() == [list(B), [10, 0, 0, 0, 0, 12]]
    assert recording.eeg_offset_N.tolist() == [0, 10]

    spectrogram = label_rows(folder, "spectrogram")
    assert (spectrogram.ids_N.tolist(), spectrogram.recordings_N.tolist()) == (["5"], [""])
    assert spectrogram.votes_NC.tolist() == [[11, 0, 0, 0, 0, 24]]

    assert len(label_rows(folder, "window")) == 5
    with pytest.raises(DataError, match="must be one of unique_votes"):
        label_rows(folder, "random")


def test_labels_have_patients_as_groups_and_strata_by_votes(folder):
    labels = label_rows(folder, "unique_votes").labels()
    assert labels.groups.tolist() == ["1", "1", "1"]
    assert labels.stratum_N.tolist() == [">=10", "3-9", ">=10"]
    assert labels.classes == CLASSES


def test_a_patient_never_crosses_folds_although_rows_do_not_name_him(tmp_path):
    """A reference project cut shuffled rows in five: overlapping labels of one patient were on both sides."""
    rng = np.random.default_rng(0)
    rows = [
        (100 * p + e, s, 2.0 * s, 9000 + p, 2.0 * s, p, tuple(rng.multinomial(12, np.full(6, 1 / 6)).tolist()))
        for p in range(40)
        for e in range(3)
        for s in range(4)
    ]
    table = label_rows(write_table(tmp_path, rows), "window")
    plan = make_plan(table.labels(), n_folds=5, test_share=0.1)
    for by in (table.patients_N, table.recordings_N, table.spectrograms_N):
        assert all(len(set(plan.fold_N[by == name].tolist())) == 1 for name in np.unique(by))
    shuffled = np.random.default_rng(1).permutation(len(table)) % 5
    with pytest.raises(FoldError, match="is in fold"):
        FoldPlan.from_folds(table.labels(), shuffled)


def test_a_recording_of_two_patients_is_refused(tmp_path):
    folder = write_table(tmp_path, [(7, 0, 0.0, 5, 0.0, 1, A), (7, 1, 2.0, 5, 2.0, 2, A)])
    with pytest.raises(DataError, match=r"eeg_id have several patients; first: \[7\]"):
        label_rows(folder)


def test_one_window_each_is_random_by_epoch_in_training_and_fixed_in_validation(rng):
    """A reference project drew a random label row in validation too, so its scores compared epochs by luck."""
    recordings = np.repeat([str(i) for i in range(30)], 7)
    training = np.arange(0, 105)
    first, again, second = (one_of_each(recordings, training, epoch=e, seed=3) for e in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()
    assert len(set(recordings[first])) == len(first) == 15
    assert set(first) <= set(training.tolist())
    held_out = np.arange(105, 210)
    np.testing.assert_array_equal(one_of_each(recordings, held_out), 105 + 7 * np.arange(15) + 3)
    drawn = {int(one_of_each(recordings, training, epoch=e)[0]) for e in range(60)}
    assert drawn == set(range(7))  # every window has its turn


def test_rows_are_written_and_read_back(folder, tmp_path):
    rows = label_rows(folder, "stationary")
    rows.write(tmp_path / "rows.parquet")
    assert LabelRows.read(tmp_path / "rows.parquet").digest == rows.digest


def test_a_wrong_folder_names_everything_that_is_missing(tmp_path):
    (tmp_path / "train_eegs").mkdir()
    with pytest.raises(DataError, match=r"has no train\.csv, train_spectrograms: unpack"):
        HmsFolder(tmp_path)
    with pytest.raises(DataError, match=r"test\.csv, test_eegs, test_spectrograms"):
        HmsFolder(tmp_path, "test")


def test_a_table_without_its_columns_is_refused(folder):
    frame = pd.read_csv(folder.table).drop(columns=["patient_id", "lpd_vote"])
    frame.to_csv(folder.table, index=False)
    with pytest.raises(DataError, match=r"has no columns \['patient_id', 'lpd_vote'\]"):
        label_rows(folder)


@pytest.mark.parametrize("content", [b"", bytes(range(256)), b"\xff\xfe\x00PAR1", b'"a,b\n1,2\n'])
def test_a_table_that_is_no_csv_is_refused(folder, content):
    folder.table.write_bytes(content)
    with pytest.raises(DataError, match=r"train\.csv"):
        label_rows(folder)


@pytest.mark.parametrize("column", ["eeg_id", "patient_id", "eeg_label_offset_seconds", "lpd_vote"])
@pytest.mark.parametrize("value", ["", "many"])
def test_a_table_with_something_else_than_numbers_is_refused_with_its_line(folder, column, value):
    frame = pd.read_csv(folder.table, dtype=str)
    frame.loc[2, column] = value
    frame.to_csv(folder.table, index=False)
    with pytest.raises(DataError, match=rf"a number in each row of {column}, got '(nan|many)' in line 4 \(1 such"):
        label_rows(folder)


@pytest.mark.parametrize(("votes", "wrong"), [(-1, "negative"), (0, "no vote at all")])
def test_votes_that_are_none_are_refused_before_any_view_is_made(folder, votes, wrong):
    frame = pd.read_csv(folder.table)
    frame.loc[3, list(TRAIN_COLUMNS[-6:])] = votes
    frame.to_csv(folder.table, index=False)
    with pytest.raises(DataError, match=wrong):
        label_rows(folder, "window")
