import importlib
import json
import re
import socket
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foldstill.data.journal import Journal
from foldstill.errors import DataError, FileError, FoldstillError, FoldstillWarning
from foldstill.hms import decoding
from foldstill.hms.cache import Cache
from foldstill.hms.decoding import Wanted
from foldstill.hms.files import HmsFolder, read_eeg, read_spectrogram
from foldstill.hms.montage import EEG_CHANNELS, spectrogram_columns
from foldstill.hms.prepare import prepare
from foldstill.hms.record import Record
from foldstill.hms.rows import label_rows
from foldstill.hms.source import HmsData
from foldstill.hms.storage import decode
from foldstill.hms.views_kaggle import KaggleSpectrogram
from foldstill.hms.views_raw import RawEeg
from foldstill.hms.views_spectra import MelSpectrogram
from foldstill.hms.views_wavelet import Denoised
from foldstill.workers import Progress, Work
from made_up import held_by_another_thread

# The package's `prepare` is the function; this is the module it is in.
prepare_module = importlib.import_module("foldstill.hms.prepare")
FORCED = Work(workers=1, force=True)
SMALL = MelSpectrogram(n_mels=16, width=32)
POWER = KaggleSpectrogram(height=16, width=32)


def change_eeg(path: Path, **change) -> None:
    table = pq.read_table(path)
    for name, column in change.items():
        index = table.column_names.index(name)
        table = table.remove_column(index) if column is None else table.set_column(index, name, [column])
    pq.write_table(table, path)


def test_a_second_preparation_by_force_is_refused_while_one_writes_into_the_cache(hms_files, tmp_path):
    """It truncated the unfinished arrays under the first one, which was killed by the system without a message."""
    with held_by_another_thread(tmp_path / "cache"):
        before = sorted((tmp_path / "cache").iterdir())
        with pytest.raises(FileError, match=r"cache is being written by process"):
            prepare(hms_files, tmp_path / "cache", (SMALL,), work=FORCED)
        assert sorted((tmp_path / "cache").iterdir()) == before


def test_prepared_views_are_the_views_of_each_row(hms_files, tmp_path):
    data = HmsData(folder=str(hms_files), cache="cache", views=(SMALL, POWER, RawEeg(bin_size=20)))
    steps = []
    data.prepare(tmp_path, Work(workers=1, report=lambda step: steps.append((step.done, step.total))))
    dataset = data.load(tmp_path)
    rows = label_rows(HmsFolder(hms_files))
    assert dataset.labels.digest == rows.labels().digest
    assert steps[-1] == (len(rows), len(rows))
    assert {name: a.dtype.name for name, a in dataset.views.items()} == {
        "mel": "uint8",
        "kaggle_spectrogram": "uint8",
        "raw_eeg": "float16",
    }
    for i in (0, len(rows) - 1):
        record = Record(
            read_eeg(HmsFolder(hms_files).eeg(rows.recordings_N[i])).values,
            read_spectrogram(HmsFolder(hms_files).spectrogram(rows.spectrograms_N[i])).values,
            rows.eeg_offset_N[i],
            rows.spectrogram_offset_N[i],
        )
        for view in data.views:
            step = 0.01 if view.bounds is None else (view.bounds[1] - view.bounds[0]) / 255 / 2 + 1e-5
            np.testing.assert_allclose(decode(dataset.view(view.name)[i], view.bounds), view.make(record), atol=step)


def test_two_processes_make_the_same_bytes_as_one(hms_files, tmp_path):
    one, two = (prepare(hms_files, tmp_path / str(jobs), (SMALL,), work=Work(workers=jobs)).cache for jobs in (1, 2))
    checksums = {json.loads(c.arrays.sidecar_file("mel").read_text())["checksum"] for c in (one, two)}
    assert len(checksums) == 1


def test_a_stopped_preparation_goes_on_where_it_was(hms_files, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_module, "PART_ROWS", 2)
    wanted = prepare(hms_files, tmp_path / "whole", (SMALL,)).cache

    done_before = []

    def stop(progress: Progress):
        done_before.append(progress.done)
        if progress.done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(hms_files, tmp_path / "cache", (SMALL,), work=Work(workers=1, report=stop))
    with pytest.raises(DataError, match="no finished preparation"):
        Cache(tmp_path / "cache").rows()
    journal = tmp_path / "cache" / "progress.jsonl"
    first, *parts = journal.read_bytes().splitlines(keepends=True)
    # A byte changed, so that a row would count as unreadable, and the process was killed within a line.
    damaged = parts[0].replace(b'"unreadable": []', b'"unreadable": [3]')
    assert damaged != parts[0]
    journal.write_bytes(b"".join([first, damaged, *parts[1:], b'{"digest": "0']))
    made_rows = []
    make = prepare_module.make_part
    monkeypatch.setattr(prepare_module, "make_part", lambda *args: made_rows.extend(args[2]) or make(*args))
    resumed = prepare(hms_files, tmp_path / "cache", (SMALL,)).cache
    n = len(label_rows(HmsFolder(hms_files)))
    assert len(made_rows) == n - done_before[-1] + len(json.loads(parts[0])["value"]["rows"])
    assert 0 < len(made_rows) < n
    assert resumed.rows()[1].all()
    np.testing.assert_array_equal(np.load(resumed.arrays.array_file("mel")), np.load(wanted.arrays.array_file("mel")))
    assert not resumed.arrays.journal_file.exists()


@pytest.mark.parametrize("content", [b"", b"null\n", b"{}\n", b"\xff\xfe", b"[[[\n", b"7\nnull\n"])
def test_a_damaged_journal_counts_as_none(tmp_path, content):
    (tmp_path / "progress.jsonl").write_bytes(content)
    assert Journal(tmp_path / "progress.jsonl").read() == (None, [])


@pytest.mark.parametrize("name", ["problems.csv", "sources.csv", "manifest.json"])
def test_a_damaged_table_of_a_cache_is_refused_by_its_name(hms_files, tmp_path, name):
    first = prepare(hms_files, tmp_path, (SMALL,))
    path = tmp_path / name
    before = path.read_bytes()
    for content in (b"", b"null", b"\xff\xfe", before[:-20], before.replace(b"f", b"g", 1)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"{re.escape(name)}.*: (restore|remove) it"):
            prepare(hms_files, tmp_path, (SMALL,))
    path.unlink()
    if name == "manifest.json":
        assert prepare(hms_files, tmp_path, (SMALL,)) == first
        assert path.read_bytes() == before
    else:
        with pytest.raises(DataError, match=rf"{re.escape(name)} was removed"):
            prepare(hms_files, tmp_path, (SMALL,))
        (tmp_path / "manifest.json").unlink()  # an unfinished preparation, whose tables have no digest yet
        path.write_bytes(b"\xff")
        with pytest.raises(DataError, match=rf"{re.escape(name)} must be a CSV with the columns"):
            prepare(hms_files, tmp_path, (SMALL,))


def test_a_finished_cache_is_read_without_a_lock(hms_files, tmp_path):
    """It can be read-only, or another process can be at work in it."""
    first = prepare(hms_files, tmp_path, (SMALL, POWER))
    with held_by_another_thread(tmp_path):
        before = {path: path.stat().st_mtime_ns for path in (tmp_path, *tmp_path.iterdir())}
        assert prepare(hms_files, tmp_path, (SMALL,)) == first
        assert {path: path.stat().st_mtime_ns for path in before} == before
        with pytest.raises(FileError, match="is being written by process"):
            prepare(hms_files, tmp_path, (SMALL,), work=FORCED)


def test_the_lock_of_a_writer_that_was_killed_at_the_end_is_removed(hms_files, tmp_path):
    first = prepare(hms_files, tmp_path, (SMALL,))
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    lock = {"host": socket.gethostname(), "pid": int(gone.stdout), "since": 0.0}
    (tmp_path / ".lock").write_text(json.dumps(lock), encoding="utf-8")
    with warnings.catch_warnings(action="ignore", category=FoldstillWarning):
        assert prepare(hms_files, tmp_path, (SMALL,)) == first
    assert not (tmp_path / ".lock").exists()


def test_what_is_finished_stays_and_a_new_view_is_added(hms_files, tmp_path):
    prepare(hms_files, tmp_path, (SMALL,))
    before = (tmp_path / "mel.npy").stat().st_mtime_ns
    prepare(hms_files, tmp_path, (SMALL, POWER))
    assert (tmp_path / "mel.npy").stat().st_mtime_ns == before
    assert set(Cache(tmp_path).views((SMALL, POWER))) == {"mel", "kaggle_spectrogram"}
    assert json.loads((tmp_path / "manifest.json").read_text())["views"] == ["kaggle_spectrogram", "mel"]


def test_changed_settings_and_changed_files_are_named(hms_copy, tmp_path):
    out = tmp_path / "cache"
    prepare(hms_copy, out, (SMALL,))
    with pytest.raises(DataError, match=r"made from other inputs: view\.n_mels was 16, is 24"):
        prepare(hms_copy, out, (replace(SMALL, n_mels=24),))
    with pytest.raises(DataError, match=r"other settings: n_mels was 16, is 24"):
        Cache(out).views((replace(SMALL, n_mels=24),))
    victim = next((hms_copy / "train_eegs").glob("*.parquet"))
    change_eeg(victim, O2=None)
    with pytest.raises(DataError, match=r"files was"):
        prepare(hms_copy, out, (SMALL,))
    prepare(hms_copy, out, (SMALL,), work=FORCED)


def test_views_of_other_rows_never_share_a_cache(hms_files, tmp_path):
    prepare(hms_files, tmp_path, (SMALL,), rows="recording")
    with pytest.raises(DataError, match=r"holds views of other rows \(mel\)"):
        prepare(hms_files, tmp_path, (POWER,), rows="window")
    assert len(Cache(tmp_path).rows()[0]) == len(Cache(tmp_path).views((SMALL,))["mel"])
    prepare(hms_files, tmp_path, (POWER,), rows="window", work=FORCED)
    with pytest.raises(DataError, match="is not in"):
        Cache(tmp_path).views((SMALL,))


def test_a_missing_package_stops_it_and_is_no_problem_of_the_files(hms_files, tmp_path, monkeypatch):
    monkeypatch.setattr("foldstill.errors.find_spec", lambda name: None)
    with pytest.raises(FoldstillError, match=r"needs pywt, which is not installed: .*'foldstill\[wavelets\]'"):
        prepare(hms_files, tmp_path, (Denoised(of=SMALL),))
    assert not Cache(tmp_path).manifest_file.exists()


def test_problems_are_reported_by_file_and_kill_nothing(hms_copy, tmp_path):
    files = sorted((hms_copy / "train_eegs").glob("*.parquet"))
    rows = label_rows(HmsFolder(hms_copy))
    dead = rows.recordings_N == files[0].stem
    files[0].write_bytes(files[0].read_bytes()[:5000])
    n = pq.read_metadata(files[1]).num_rows
    gap = np.where(np.arange(n) < 400, np.nan, 1.0).astype(np.float32)
    change_eeg(files[1], T3=None, EKG=np.zeros(n, np.float32), Fz=gap)
    table = pq.read_table(files[2])
    pq.write_table(table.rename_columns(["A1" if c == "O1" else c for c in table.column_names]), files[2])
    pq.write_table(pq.read_table(files[3])[: 49 * 200], files[3])
    files[4].unlink()

    done = prepare(hms_copy, tmp_path / "cache", (SMALL,))
    found = {(p.file, p.what): p.detail for p in done.problems}
    assert found[files[1].name, "missing columns"] == "T3"
    assert found[files[1].name, "missing values"].endswith(f"longest run 400 of {n}")
    assert "EKG" in found[files[1].name, "flat channels"]
    assert found[files[2].name, "unknown columns"] == "A1"
    assert found[files[3].name, "too short"].startswith("49 s")
    assert f"recording {files[3].stem} has 49 s" in found[files[3].name, "shorter than its label offset"]
    left_out = [detail for (_, what), detail in found.items() if what == "left out"]
    assert any("cut short" in detail for detail in left_out)
    assert any("no file" in detail for detail in left_out)
    assert files[1].name in (tmp_path / "cache" / "problems.csv").read_text()

    data = HmsData(folder=str(hms_copy), cache="cache", views=(SMALL,))
    with pytest.warns(UserWarning, match="could not be read and are left out"):
        dataset = data.load(tmp_path)
    lost = dead | (rows.recordings_N == files[4].stem)
    assert set(dataset.labels.ids) == set(rows.ids_N[~lost])
    assert len(dataset.view("mel")) == len(dataset.labels)

    with pytest.raises(DataError, match="or prepare without strict"):
        prepare(hms_copy, tmp_path / "strict", (SMALL,), strict=True)


def test_columns_of_other_types_are_read_and_those_of_words_are_refused(hms_copy):
    path = next((hms_copy / "train_eegs").glob("*.parquet"))
    n = pq.read_metadata(path).num_rows
    whole, half = np.arange(n, dtype=np.int64), np.ones(n, np.float16)
    gaps = pa.array([None if i % 7 == 0 else float(i) for i in range(n)])
    change_eeg(path, Fz=pa.array(whole), Cz=pa.array(half), Pz=gaps)
    read = read_eeg(path)
    rows = dict(zip(EEG_CHANNELS, read.values, strict=True))
    assert read.values.dtype == np.float32
    assert read.values.flags.c_contiguous
    np.testing.assert_array_equal(rows["Fz"], whole)
    np.testing.assert_array_equal(rows["Cz"], 1)
    np.testing.assert_array_equal(rows["Pz"], np.where(whole % 7 == 0, np.nan, whole))
    change_eeg(path, O1=pa.array(["word"] * n))
    with pytest.raises(DataError, match=r"parquet has columns that do not hold numbers .*word"):
        read_eeg(path)
    pq.write_table(pa.table({c: pa.array([], pa.float32()) for c in EEG_CHANNELS}), path)
    assert [p.what for p in read_eeg(path).problems] == ["too short"]


@pytest.mark.parametrize("decode", [decoding._by_arrow, decoding._by_polars])
def test_both_decoders_give_the_same_array_and_refuse_the_same_files(hms_files, decode):
    rng = np.random.default_rng(0)
    columns = spectrogram_columns()
    values = {c: rng.normal(size=9).astype(np.float32) for c in columns[1:]}
    values[columns[5]] = np.arange(9)
    gaps = pa.array([None, *range(8)], pa.float64())
    table = pa.table({"time": np.arange(9), **values, columns[7]: gaps, "odd": ["x"] * 9})

    def stored(table):
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        return sink.getvalue().to_pybytes()

    content = stored(table)
    got = decode(Path("s.parquet"), content, Wanted(columns))
    assert set(got.names) == set(table.column_names)
    wanted = np.stack([table[c].to_numpy().astype(np.float32) for c in columns[1:]])
    np.testing.assert_array_equal(got.values, wanted)
    assert got.values.dtype == np.float32
    assert got.values.flags.c_contiguous
    assert decode(Path("s.parquet"), content, Wanted(["none"])).values.shape == (0, 9)
    with pytest.raises(DataError, match=r"s\.parquet has columns that do not hold numbers"):
        decode(Path("s.parquet"), content, Wanted(["odd"]))
    for broken in (b"", content[:-20], content[100:]):
        with pytest.raises(DataError, match=r"s\.parquet cannot be read .*cut short or not a parquet file"):
            decode(Path("s.parquet"), broken, Wanted(columns))


def test_a_label_beyond_its_recording_is_left_out_and_named(hms_copy, tmp_path):
    import pandas as pd

    frame = pd.read_csv(hms_copy / "train.csv")
    recording = int(frame.eeg_id[0])
    frame.loc[frame.eeg_id == recording, "eeg_label_offset_seconds"] += 1000
    frame.to_csv(hms_copy / "train.csv", index=False)
    done = prepare(hms_copy, tmp_path / "cache", (SMALL,))
    named = [p for p in done.problems if p.what == "shorter than its label offset"]
    assert named
    assert all(str(recording) in p.detail and p.fatal for p in named)
    ids = label_rows(HmsFolder(hms_copy)).ids_N[list(done.unreadable_rows)]
    assert len(ids) >= 1
    assert all(i.startswith(f"{recording}-") for i in ids)


def test_eeg_views_refuse_rows_that_name_no_recording(hms_files, tmp_path):
    with pytest.raises(DataError, match="gives samples of several recordings"):
        prepare(hms_files, tmp_path, (SMALL,), rows="spectrogram")
    prepare(hms_files, tmp_path, (POWER,), rows="spectrogram")


def test_the_test_split_is_prepared_in_its_order_without_votes(hms_files, tmp_path):
    data = HmsData(folder=str(hms_files), views=(SMALL, POWER))
    cache = prepare(hms_files, tmp_path, data.views, split="test").cache
    rows, readable = cache.rows()
    import pandas as pd

    assert rows.ids_N.tolist() == pd.read_csv(hms_files / "test.csv").eeg_id.astype(str).tolist()
    assert rows.votes_NC is None
    assert readable.all()
    assert len(cache.views(data.views)["mel"]) == len(rows)


def test_new_rows_of_a_folder_are_its_test_split_and_unreadable_ones_stay_as_blank_rows(hms_copy, tmp_path):
    data = HmsData(folder="elsewhere", views=(SMALL, POWER))
    whole = data.inputs(hms_copy)
    assert whole.ids.tolist() == label_rows(HmsFolder(hms_copy, "test")).ids_N.tolist()
    (hms_copy / "test_eegs" / f"{whole.ids[1]}.parquet").unlink()
    with pytest.warns(UserWarning, match="1 of 2 recordings could not be read"):
        damaged = data.inputs(hms_copy)
    assert damaged.ids.tolist() == whole.ids.tolist()
    np.testing.assert_array_equal(damaged.views["mel"][0], whole.views["mel"][0])
    assert not damaged.views["mel"][1].any()


def test_loading_before_preparing_says_what_to_run(hms_files, tmp_path):
    with pytest.raises(DataError, match="run `foldstill prepare`"):
        HmsData(folder=str(hms_files), cache="nowhere").load(tmp_path)


def test_views_need_different_names():
    with pytest.raises(DataError, match="different names"):
        HmsData(folder="x", views=(SMALL, SMALL))


def test_real_files_are_read_whole(real):
    folder = real / "hms_eeg_sample"
    for name in ("train_eeg_1000913311", "test_eeg_3911565283_rounded2dp"):
        eeg = read_eeg(folder / f"{name}.parquet")
        assert eeg.values.shape == (len(EEG_CHANNELS), 10_000)
        assert eeg.problems == ()
        table = pq.read_table(folder / f"{name}.parquet")
        np.testing.assert_array_equal(eeg.values[18], table["O2"].to_numpy())
    power = read_spectrogram(folder / "train_spectrogram_1000189855.parquet")
    assert power.values.shape == (400, 690)
    assert power.problems == ()
    assert pq.read_schema(folder / "train_spectrogram_1000189855.parquet").names[1:] == list(spectrogram_columns())


def test_the_data_set_mean_reads_every_training_row_once_and_equals_two_passes_to_1e_4(
    hms_files, tmp_path, monkeypatch
):
    """A reference project kept only the last file's sum; another normalised with held-out rows."""
    pytest.importorskip("torch")
    from foldstill.base_models import inputs
    from foldstill.base_models.inputs import DeviceInputs

    monkeypatch.setattr(inputs, "_BLOCK_ROWS", {"cpu": 1})  # several blocks, as a whole data set has
    data = HmsData(folder=str(hms_files), cache="cache", views=(SMALL,))
    data.prepare(tmp_path)
    array = data.load(tmp_path).view("mel")
    rows, read = np.arange(0, len(array), 2), []
    values = DeviceInputs._values

    def spy(self, rows_N):
        read.extend(rows_N.tolist())
        return values(self, rows_N)

    monkeypatch.setattr(DeviceInputs, "_values", spy)
    mean, std = DeviceInputs(array).scaling(rows)
    assert sorted(read) == rows.tolist()
    training = np.asarray(array[rows], np.float64)
    two_pass = training.mean(axis=(0, 1, 2))
    np.testing.assert_allclose(mean, two_pass, rtol=1e-4)
    np.testing.assert_allclose(std, np.sqrt(((training - two_pass) ** 2).mean(axis=(0, 1, 2))), rtol=1e-4)


def test_labels_of_one_recording_are_windows_of_one_unit(hms_files, tmp_path):
    data = HmsData(folder=str(hms_files), cache="cache", rows="window", views=(POWER,))
    data.prepare(tmp_path)
    dataset = data.load(tmp_path)
    assert dataset.units_N.tolist() == label_rows(HmsFolder(hms_files), "window").recordings_N.tolist()
    assert len(set(dataset.units_N)) < len(dataset.labels)


def test_a_view_that_was_damaged_after_it_was_written_is_found_and_can_be_made_again(hms_files, tmp_path):
    prepare(hms_files, tmp_path, (POWER,))
    array = tmp_path / "kaggle_spectrogram.npy"
    whole = array.read_bytes()
    array.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match=r"kaggle_spectrogram\.npy must have the checksum \w+ of its sidecar, got \w+"):
        prepare(hms_files, tmp_path, (POWER,))
    array.write_bytes(whole[:1000])
    with pytest.raises(DataError, match=r"kaggle_spectrogram\.npy must have the checksum .*; force it to be made"):
        Cache(tmp_path).views((POWER,))
    prepare(hms_files, tmp_path, (POWER,), work=FORCED)
    assert array.read_bytes() == whole
    array.unlink()  # removed with its sidecar left: made again
    prepare(hms_files, tmp_path, (POWER,))
    assert array.read_bytes() == whole
