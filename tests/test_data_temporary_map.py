import tempfile

import numpy as np
import pytest

import foldstill.data.temporary_map as module
from foldstill.data.temporary_map import joined_rows, some_rows


@pytest.fixture
def mapped(tmp_path, rng, monkeypatch) -> np.ndarray:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(module, "BLOCK_ROWS", 3)
    np.save(tmp_path / "x.npy", rng.integers(0, 255, (10, 4, 2), dtype=np.uint8))
    return np.load(tmp_path / "x.npy", mmap_mode="r")


@pytest.mark.parametrize("rows", [[9, 0, 4, 4], [], list(range(10))])
def test_rows_of_a_map_are_a_map_that_leaves_no_file(mapped, tmp_path, rows):
    found = some_rows(mapped, np.array(rows, np.intp))
    assert isinstance(found, np.memmap)
    assert (found == np.array(mapped)[rows]).all()
    assert found.shape == (len(rows), 4, 2)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_rows_after_those_of_a_map_are_a_map(mapped, tmp_path):
    more = np.full((5, 4, 2), 7, np.uint8)
    found = joined_rows(mapped, more)
    assert isinstance(found, np.memmap)
    assert (found == np.concatenate([mapped, more])).all()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_arrays_in_memory_stay_there(mapped):
    values = np.array(mapped)
    assert type(some_rows(values, np.array([1]))) is np.ndarray
    assert type(joined_rows(values, values)) is np.ndarray
