"""What a job carries to a worker: references to arrays, which the worker opens from files of a disk that both see.

A job of a million rows is some kilobytes, and a worker of any kind reads a view from the disk once for all its jobs.
"""

import io
import itertools
import mmap
import pickle
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.errors import FoldstillError

INLINE_BYTES = 4096
"""Smaller arrays go with the job."""
MAPPED_BYTES = 2**20
"""Larger arrays are memory maps that a worker keeps; what is smaller is read per job, so that it can be written to."""


@dataclass(frozen=True)
class ArrayFile:
    """Where the values of an array lie in a file."""

    path: str
    offset: int
    dtype: str
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    version: tuple[int, int]
    """Bytes of the file, and its time of change in nanoseconds: a file is another one when either differs."""

    @classmethod
    def of(cls, array: NDArray[Any]) -> "ArrayFile | None":
        """The file behind a memory map, or a part of one; None for an array in memory."""
        whole: Any = array
        while isinstance(whole, np.ndarray) and not isinstance(whole.base, mmap.mmap):
            whole = whole.base
        filename = getattr(whole, "filename", None)
        if filename is None or not array.flags.forc or not Path(filename).exists():
            return None
        order: Literal["C", "F"] = "C" if array.flags.c_contiguous else "F"
        start = array.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
        path = Path(filename).resolve()
        return cls(str(path), whole.offset + start, array.dtype.str, array.shape, order, _version(path))

    def open(self) -> NDArray[Any]:
        """The array; a memory map is kept for the next job.

        Raises FoldstillError where the file is not there, or is not the one that is meant.
        """
        for other in [kept for kept in _kept if not Path(kept.path).exists()]:
            del _kept[other]  # its space on the disk is free only when no map is left
        if self not in _kept:
            path = Path(self.path)
            if not path.exists() or _version(path) != self.version:
                problem = "does not see" if not path.exists() else "sees another version of"
                raise FoldstillError(
                    f"the worker on {socket.gethostname()} {problem} {path}: keep the data and the run's folder on a "
                    "disk that all machines share"
                )
            array: NDArray[Any] = np.memmap(path, np.dtype(self.dtype), "r", self.offset, self.shape, self.order)
            if array.nbytes < MAPPED_BYTES:
                return np.array(array, order="K", subok=False)
            _kept[self] = array
        return _kept[self]


_kept: dict[ArrayFile, NDArray[Any]] = {}
"""The memory maps that this process has open for jobs."""


def _version(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


class Shipment:
    """A value on its way to a worker: pickled, it has references in the place of its arrays.

    It may be pickled again on its way, as by the scheduler of Dask, and the arrays are opened where the value is used.
    """

    def __init__(self, pack: Callable[[], bytes], value: Callable[[], Any]) -> None:
        self._pack = pack
        self._value = value

    @classmethod
    def of(cls, value: Any, store: "Store") -> "Shipment":
        return cls(cache(lambda: store.pack(value)), lambda: value)

    @classmethod
    def received(cls, packed: bytes) -> "Shipment":
        return cls(lambda: packed, lambda: _Unpacker(io.BytesIO(packed)).load())

    def value(self) -> Any:
        return self._value()

    def __reduce__(self) -> tuple[Any, ...]:
        return Shipment.received, (self._pack(),)


class Store:
    """Arrays as files in a folder, each written once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count()
        # The arrays stay, because another one could get the number of one that is gone.
        self._files: dict[int, tuple[NDArray[Any], ArrayFile]] = {}

    def pack(self, value: Any) -> bytes:
        """The value as a pickle with references to its arrays."""
        # Takes functions and classes of a notebook too; imported late for its import time.
        from cloudpickle import CloudPickler

        store = self

        class Packer(CloudPickler):  # type: ignore[misc]
            def persistent_id(self, part: Any) -> ArrayFile | None:
                return store.file_of(part) if type(part) in (np.ndarray, np.memmap) else None

        stream = io.BytesIO()
        Packer(stream, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
        return stream.getvalue()

    def file_of(self, array: NDArray[Any]) -> ArrayFile | None:
        """Where the array is, which is written if no file holds it; None for an array that goes with the job."""
        if array.nbytes < INLINE_BYTES or array.dtype.hasobject or array.dtype.names:
            return None
        if id(array) not in self._files:
            file = ArrayFile.of(array)
            if file is None:
                path = self.folder / f"{next(self._numbers)}.npy"
                np.save(path, array)
                file = ArrayFile.of(np.load(path, mmap_mode="r"))
                assert file is not None, "a file that was just written is there"
            self._files[id(array)] = array, file
        return self._files[id(array)][1]


@contextmanager
def store_in(folder: Path) -> Iterator[Store]:
    """A store in a new folder inside this one, which is removed at the end."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="jobs-") as place:
        yield Store(Path(place))
    if is_new:
        with suppress(OSError):  # somebody else may have put something there
            folder.rmdir()


class _Unpacker(pickle.Unpickler):
    """Reads what this process got from the one that started it, as joblib, Dask and Ray do; never a file."""

    def persistent_load(self, file: ArrayFile) -> NDArray[Any]:
        return file.open()
