"""Rows of memory-mapped arrays that are put together anew, on the disk for temporary files and not in memory."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.array_cache import release_pages

BLOCK_ROWS = 256


def some_rows(array: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[Any]:
    """Rows of an array; those of a memory map are a memory map again.

    >>> some_rows(np.arange(5), np.array([3, 1])).tolist()
    [3, 1]
    """
    if not isinstance(array, np.memmap):
        return array[rows]
    return _mapped(_blocks(array, rows), (len(rows), *array.shape[1:]), array.dtype)


def joined_rows(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """The rows of two arrays of one type, one after the other; a memory map if the first is one.

    >>> joined_rows(np.arange(2), np.arange(3)).tolist()
    [0, 1, 0, 1, 2]
    """
    if not isinstance(first, np.memmap):
        return np.concatenate([first, second])
    blocks = (block for array in (first, second) for block in _blocks(array, np.arange(len(array))))
    return _mapped(blocks, (len(first) + len(second), *first.shape[1:]), first.dtype)


def _blocks(array: NDArray[Any], rows: NDArray[np.intp]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(rows), BLOCK_ROWS):
        yield array[rows[start : start + BLOCK_ROWS]]
        release_pages(array)


def _mapped(blocks: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """A map of a file that is removed at once; its room is freed when nobody needs the array."""
    with TemporaryDirectory(prefix="foldstill-rows-") as folder:
        path, start = Path(folder) / "rows.npy", 0
        whole = np.lib.format.open_memmap(path, "w+", dtype, shape)
        for block in blocks:
            whole[start : start + len(block)] = block
            start += len(block)
            whole.flush()
            release_pages(whole)
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return array
