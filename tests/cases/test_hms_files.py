"""HMS files as other tools leave them, and preparations that are killed while they finish."""

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foldstill.errors import DataError
from foldstill.hms.cache import Cache
from foldstill.hms.files import HmsFolder, read_eeg
from foldstill.hms.prepare import prepare
from foldstill.hms.rows import label_rows
from foldstill.hms.source import HmsData
from foldstill.hms.views_kaggle import KaggleSpectrogram
from foldstill.hms.views_raw import RawEeg
from foldstill.hms.views_spectra import MelSpectrogram
from foldstill.workers import Work

# The package's `prepare` is the function; this is the module it is in.
prepare_module = importlib.import_module("foldstill.hms.prepare")
array_cache_module = importlib.import_module("foldstill.data.array_cache")
MEL = MelSpectrogram(n_mels=16, width=32)
POWER = KaggleSpectrogram(height=16, width=32)
RAW = RawEeg(bin_size=40)


def rewrite(path: Path, change) -> None:
    table = pq.read_table(path)
    pq.write_table(pa.table({name: change(table[name].to_numpy()) for name in table.column_names}), path)


def negated(power: np.ndarray) -> np.ndarray:
    return -np.abs(np.nan_to_num(power)) - 1


def problems(prepared) -> dict[tuple[str, str], str]:
    return {(p.file, p.what): p.detail for p in prepared.problems}


@pytest.mark.parametrize("column", ["eeg_label_offset_seconds", "spectrogram_label_offset_seconds"])
def test_a_negative_offset_is_refused_with_its_line(hms_copy, tmp_path, column):
    frame = pd.read_csv(hms_copy / "train.csv")
    frame[column] = frame[column].astype(float)
    frame.loc[2, column] = -1e6
    frame.to_csv(hms_copy / "train.csv", index=False)
    with pytest.raises(
        DataError, match=rf"in each row of {column}, got '-1000000.0' in line 4 .*offsets are 0 or more"
    ):
        prepare(hms_copy, tmp_path / "cache", (MEL,))
    assert not (tmp_path / "cache").exists()


def test_blank_inputs_are_problems(hms_copy, tmp_path):
    rows = label_rows(HmsFolder(hms_copy))
    spectrograms = sorted((hms_copy / "train_spectrograms").glob("*.parquet"))
    empty, negative = spectrograms[:2]
    pq.write_table(pq.read_table(empty)[:0], empty)
    rewrite(negative, negated)
    flat = sorted((hms_copy / "train_eegs").glob("*.parquet"))
    of_third = next(f for f in flat if rows.spectrograms_N[rows.recordings_N == f.stem][0] == spectrograms[2].stem)
    rewrite(of_third, np.zeros_like)
    done = prepare(hms_copy, tmp_path / "cache", (POWER, MEL, RAW))
    found = problems(done)
    assert found[empty.name, "empty"] == "it has no rows"
    assert found[negative.name, "negative values"].startswith("100.00% of values")
    blank = {(p.file, p.detail) for p in done.problems if p.what == "blank input"}
    of_negative = rows.ids_N[rows.spectrograms_N == negative.stem]
    of_flat = rows.ids_N[rows.recordings_N == of_third.stem]
    assert blank == {
        *((f"sample {i}", "view kaggle_spectrogram has the same value everywhere") for i in of_negative),
        *((f"sample {i}", f"view {v} has the same value everywhere") for i in of_flat for v in ("mel", "raw_eeg")),
    }
    lost = rows.ids_N[list(done.unreadable_rows)]
    assert sorted(lost) == sorted(rows.ids_N[rows.spectrograms_N == empty.stem])


def test_a_preparation_without_any_content_is_refused_and_leaves_nothing(hms_copy, tmp_path):
    for path in (hms_copy / "train_eegs").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"none of the \d+ samples of .*train.csv could be read; sample .*: no file"):
        prepare(hms_copy, tmp_path / "cache", (MEL,))
    assert not (tmp_path / "cache").exists()
    for path in (hms_copy / "train_spectrograms").iterdir():
        rewrite(path, negated)
    with pytest.raises(
        DataError, match=r"view kaggle_spectrogram has the same value everywhere in all \d+ readable samples"
    ):
        prepare(hms_copy, tmp_path / "cache", (POWER,))
    assert not (tmp_path / "cache").exists()


def test_electrodes_are_found_by_all_their_names(hms_files, hms_copy):
    path = next((hms_copy / "train_eegs").glob("*.parquet"))
    whole = read_eeg(path)
    table = pq.read_table(path)
    other = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8", "EKG": "ECG"}
    order = np.random.default_rng(0).permutation(len(table.column_names))
    renamed = table.rename_columns([other.get(c, c).upper() for c in table.column_names])
    pq.write_table(renamed.select([renamed.column_names[i] for i in order]), path)
    again = read_eeg(path)
    np.testing.assert_array_equal(again.values, whole.values)
    assert again.problems == whole.problems
    # A column of the very name comes first, and the alias is an unknown column.
    pq.write_table(table.append_column("T7", table["O1"]), path)
    both = read_eeg(path)
    np.testing.assert_array_equal(both.values, whole.values)
    assert ("unknown columns", "T7") in {(p.what, p.detail) for p in both.problems}
    pq.write_table(renamed.append_column("fp1", table["O1"]), path)
    with pytest.raises(DataError, match=r"has the columns 'FP1' and 'fp1' for Fp1: leave one out"):
        read_eeg(path)


def test_new_recordings_that_are_blank_are_named(hms_copy):
    path = next((hms_copy / "test_spectrograms").glob("*.parquet"))
    rewrite(path, negated)
    with pytest.warns(UserWarning, match=r"1 inputs of 2 recordings are blank; first: sample \d+, view kaggle_spec"):
        HmsData(folder="elsewhere", views=(POWER,)).inputs(hms_copy)


class Killed(BaseException):
    """Ends a preparation as a signal does."""


def steps(monkeypatch, stop_at: int | None, *, after: bool) -> list[str]:
    """Count the writes that finish a preparation, and end it before or after one of them."""
    done: list[str] = []

    def counted(name, write):
        def step(*args, **kwargs):
            if stop_at == len(done) and not after:
                raise Killed
            write(*args, **kwargs)
            done.append(name)
            if stop_at == len(done) - 1 and after:
                raise Killed

        return step

    monkeypatch.setattr(prepare_module, "write_csv", counted("csv", prepare_module.write_csv))
    for module in (prepare_module, array_cache_module):
        monkeypatch.setattr(module, "write_json", counted("json", module.write_json))
    monkeypatch.setattr(Path, "replace", counted("replace", Path.replace))
    return done


def content(cache: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in cache.iterdir()}


def test_a_preparation_killed_at_any_step_of_its_end_is_resumed_to_the_same_files(hms_copy, tmp_path):
    victim = min((hms_copy / "train_eegs").iterdir())
    victim.write_bytes(victim.read_bytes()[:5000])
    views = (MEL, POWER)
    whole = prepare(hms_copy, tmp_path / "whole", views)
    assert whole.unreadable_rows
    with pytest.MonkeyPatch.context() as patch:
        n_steps = len(steps(patch, None, after=False))
        done = steps(patch, None, after=False)
        prepare(hms_copy, tmp_path / "counted", views)
        n_steps = len(done)
    assert n_steps >= 7
    for force in (False, True):
        for after in (False, True):
            for step in range(n_steps):
                out = tmp_path / f"{force}-{after}-{step}"
                if force:
                    prepare(hms_copy, out, views)
                with pytest.MonkeyPatch.context() as patch:
                    steps(patch, step, after=after)
                    with pytest.raises(Killed):
                        prepare(hms_copy, out, views, work=Work(workers=1, force=force))
                resumed = prepare(hms_copy, out, views, work=Work(workers=1, force=force and step % 2 == 0))
                assert content(out) == content(tmp_path / "whole"), (force, after, step)
                assert resumed.unreadable_rows == whole.unreadable_rows
                assert Cache(out).rows()[1].sum() == len(Cache(out).rows()[0]) - len(whole.unreadable_rows)


def test_a_view_that_is_made_again_does_not_make_rows_of_others_readable(hms_copy, tmp_path):
    victim = min((hms_copy / "train_eegs").iterdir())
    victim.write_bytes(victim.read_bytes()[:5000])
    lost = prepare(hms_copy, tmp_path / "cache", (MEL,)).unreadable_rows
    assert lost
    assert prepare(hms_copy, tmp_path / "cache", (POWER,), work=Work(workers=1, force=True)).unreadable_rows == lost
    assert (~Cache(tmp_path / "cache").rows()[1]).nonzero()[0].tolist() == list(lost)
