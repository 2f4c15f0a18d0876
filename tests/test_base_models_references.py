"""Jobs carry references to arrays: what is written, what a worker opens, and what it refuses."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from foldstill.base_models import references
from foldstill.base_models.planned_jobs import planned_jobs
from foldstill.base_models.references import ArrayFile, Shipment, Store, store_in
from foldstill.data.dataset import Dataset
from foldstill.data.labels import Labels
from foldstill.errors import FoldstillError
from made_up import SMALL, folds_of

SMALL_ARRAY, LARGE = np.arange(10.0), np.arange(400_000.0)


def received(value: object, store: Store) -> object:
    shipment = pickle.loads(pickle.dumps(Shipment.of(value, store)))
    return pickle.loads(pickle.dumps(shipment)).value()  # the scheduler of Dask sends it on


def test_an_array_in_memory_is_written_once_and_opened_once(tmp_path: Path) -> None:
    with store_in(tmp_path / "run") as store:
        jobs = [{"number": number, "large": LARGE, "small": SMALL_ARRAY, "middle": LARGE[:9999]} for number in (1, 2)]
        one, two = received(jobs, store)
        assert [each["number"] for each in (one, two)] == [1, 2]
        assert isinstance(one["large"], np.memmap)
        assert one["large"] is two["large"] is received(jobs, store)[0]["large"]
        assert not one["large"].flags.writeable, "a job must not change what the next one gets"
        one["middle"][0] = 5.0  # a copy, as in a process of joblib
        np.testing.assert_array_equal(one["large"], LARGE)
        np.testing.assert_array_equal(two["middle"], LARGE[:9999])
        np.testing.assert_array_equal(one["small"], SMALL_ARRAY)
        files = list((tmp_path / "run").rglob("*.npy"))
        assert sum(path.stat().st_size > LARGE.nbytes for path in files) == 1
    assert not list(tmp_path.iterdir())


def test_a_memory_map_is_read_where_it_is(tmp_path: Path) -> None:
    np.save(tmp_path / "view.npy", LARGE.reshape(-1, 8))
    view = np.load(tmp_path / "view.npy", mmap_mode="r")
    with store_in(tmp_path / "run") as store:
        for part in (view, view[100:], view[100:200], view.view(np.ndarray)):
            np.testing.assert_array_equal(received(part, store), part)
        assert not list((tmp_path / "run").rglob("*.npy"))
        # Every second row is no part of the file in one piece.
        np.testing.assert_array_equal(received(view[::2], store), view[::2])
        assert len(list((tmp_path / "run").rglob("*.npy"))) == 1


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(LARGE.reshape(-1, 8)),
        np.array([f"patient {number}" for number in range(30_000)]),
        np.array([f"patient {number}" for number in range(3_000)], dtype=object),
        np.zeros(3_000, [("a", "i4"), ("b", "f8")]),
        np.zeros((0, 5)),
        np.arange(200_000, dtype=">i8"),
    ],
    ids=["columns first", "text", "objects", "fields", "empty", "big-endian"],
)
def test_any_array_arrives_as_it_left(array: np.ndarray, tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        arrived = received(array, store)
    np.testing.assert_array_equal(arrived, array)
    assert (arrived.dtype, arrived.flags.c_contiguous) == (array.dtype, array.flags.c_contiguous)


def test_a_worker_that_sees_no_such_file_or_another_one_says_so(tmp_path: Path) -> None:
    np.save(tmp_path / "view.npy", LARGE)
    file = ArrayFile.of(np.load(tmp_path / "view.npy", mmap_mode="r"))
    os.utime(tmp_path / "view.npy", (0, 0))
    with pytest.raises(FoldstillError, match=r"the worker on \S+ sees another version of .*view.npy: keep the data"):
        file.open()
    (tmp_path / "view.npy").unlink()
    with pytest.raises(FoldstillError, match=r"the worker on \S+ does not see .*view.npy: keep the data"):
        file.open()


def test_the_map_of_a_file_that_is_gone_is_not_kept(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        received(LARGE, store)
        assert any(kept.path.startswith(str(tmp_path)) for kept in references._kept)
    with store_in(tmp_path) as store:
        received(LARGE + 1, store)
        assert len([kept for kept in references._kept if kept.path.startswith(str(tmp_path))]) == 1


@pytest.mark.parametrize("n", [12_000, pytest.param(1_200_000, marks=pytest.mark.slow)])
def test_a_job_of_many_rows_is_a_small_message(n: int, tmp_path: Path) -> None:
    """The size that is promised for 1.2 million rows; it does not grow with them."""
    votes = np.random.default_rng(0).multinomial(5, [1 / 6] * 6, n)
    labels = Labels.from_votes(votes, groups=np.arange(n) // 50)
    view = np.lib.format.open_memmap(tmp_path / "view.npy", "w+", np.uint8, (n, 16, 16, 3))
    data = Dataset(labels, {"image": np.load(tmp_path / "view.npy", mmap_mode="r")}, units_N=labels.ids)
    del view
    jobs = planned_jobs([SMALL], data, folds_of(data, 5), tmp_path, 0, left_out=1)
    with store_in(tmp_path) as store:
        sizes = [len(pickle.dumps(Shipment.of(job, store))) for job in jobs]
        assert max(sizes) < 30_000
        [last] = [received(job, store) for job in jobs[-1:]]
        np.testing.assert_array_equal(last.training_set.rows, jobs[-1].training_set.rows)
        assert Path(last.training_set.views["image"].filename) == tmp_path / "view.npy"
