import json
import os
from pathlib import Path

import numpy as np
import pytest

from foldstill.data.array_cache import ArrayCache, ArrayForm, stored_digest
from foldstill.data.features import view_digest
from foldstill.digests import digest, file_digest, npy_digest
from foldstill.errors import DataError


def made(folder: Path, values: np.ndarray) -> ArrayCache:
    cache = ArrayCache(folder)
    np.save(cache.part_file("x"), values)
    cache.finish("x", ArrayForm(values.shape, values.dtype, {"from": "here"}))
    return cache


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float64"])
def test_the_digest_of_a_file_is_that_of_its_array(tmp_path, rng, dtype):
    values = (255 * rng.random((7, 3, 2))).astype(dtype)
    np.save(tmp_path / "x.npy", values)
    assert npy_digest(tmp_path / "x.npy") == (file_digest(tmp_path / "x.npy"), digest(values))


def test_a_whole_array_of_a_cache_has_the_digest_of_its_sidecar_and_a_part_has_none(tmp_path, rng):
    values = rng.integers(0, 255, (6, 4), dtype=np.uint8)
    array = made(tmp_path, values).open("x")
    assert stored_digest(array) == digest(values) == digest(array)
    for other in (array[:5], array[1:], array[::-1], array.T, array.view(np.int8), array[[0, 1, 2, 3, 4, 5]], values):
        assert stored_digest(other) is None


def test_an_array_that_changed_after_it_was_written_is_refused_and_has_no_stored_digest(tmp_path, rng):
    cache = made(tmp_path, rng.integers(0, 255, (6, 4), dtype=np.uint8))
    array = cache.open("x")
    file = cache.array_file("x")
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    os.utime(file, ns=(0, cache.sidecar_file("x").stat().st_mtime_ns + 1))
    assert stored_digest(array) is None
    with pytest.raises(DataError, match=r"x\.npy must have the checksum \w+ of its sidecar, got \w+"):
        cache.open("x")


def test_an_array_beside_json_of_somebody_else_has_no_stored_digest(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))
    array = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert stored_digest(array) is None
    for content in ("{}", "7", json.dumps({"made_from": {}, "checksum": "0", "digest": "0"})):
        (tmp_path / "x.json").write_text(content)
        assert stored_digest(array) is None


def test_a_view_of_a_cache_and_its_copy_have_one_digest_and_some_of_its_rows_are_not_read_whole(tmp_path, rng):
    values = rng.integers(0, 255, (600, 4, 4, 3), dtype=np.uint8)
    array, rows = made(tmp_path, values).open("x"), np.arange(0, 600, 2)
    assert view_digest(array) == view_digest(values)
    assert view_digest(values, rows) == digest(values[rows])
    assert view_digest(array, rows) == digest(digest(values), rows)
    assert view_digest(array, rows) != view_digest(array, rows[1:])
