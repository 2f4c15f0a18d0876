"""Arrays on disk that are made once and memory-mapped: each has a sidecar that says what it was made from."""

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.digests import file_digest, npy_digest
from foldstill.errors import DataError
from foldstill.files import Inside, sync
from foldstill.json_files import read_json, write_json

SIDECAR = {"made_from": dict, "checksum": str}
"""Keys of a sidecar and their types."""


@dataclass(frozen=True)
class ArrayForm:
    """What an array is: its shape, its type, and the JSON values that decide its content."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    made_from: Mapping[str, Any]


@dataclass(frozen=True)
class ArrayCache:
    """A folder of arrays, each with a sidecar. The sidecar is written last, so an array that has one is finished.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     cache = ArrayCache(Path(folder))
    ...     np.save(cache.part_file("image"), np.arange(6.0))
    ...     cache.finish("image", ArrayForm((6,), np.dtype(float), {"size": 6}))
    ...     array = cache.open("image")
    ...     cache.finished(), cache.sidecar("image")["made_from"], array.sum()
    (['image'], {'size': 6}, np.float64(15.0))
    """

    root: Path

    journal_file = Inside("progress.jsonl")
    """The finished parts of unfinished arrays."""

    def array_file(self, name: str) -> Path:
        return self.root / f"{name}.npy"

    def sidecar_file(self, name: str) -> Path:
        return self.root / f"{name}.json"

    def part_file(self, name: str) -> Path:
        """The array while it is unfinished."""
        return self.root / f".{name}.part.npy"

    def finished(self) -> list[str]:
        """Names of the finished arrays."""
        arrays = sorted(path.stem for path in self.root.glob("[!.]*.npy"))
        return [name for name in arrays if self.sidecar_file(name).exists()]

    def sidecar(self, name: str) -> dict[str, Any]:
        """What is known of a finished array; raises DataError if the sidecar is damaged."""
        cure = "remove it, and prepare again"
        found: dict[str, Any] = read_json(self.sidecar_file(name), SIDECAR, error=DataError, cure=cure)
        return found

    def finish(self, name: str, form: ArrayForm, facts: Mapping[str, Any] | None = None) -> None:
        """Give an array its final name, and write its sidecar with further `facts` (JSON values)."""
        array = self.array_file(name)
        if self.part_file(name).exists():
            self.part_file(name).replace(array)
        sync(array)
        sync(self.root)
        checksum, values = npy_digest(array)
        sidecar = {
            **(facts or {}),
            "made_from": dict(form.made_from),
            "shape": list(form.shape),
            "dtype": form.dtype.name,
            "checksum": checksum,
            "digest": values,
        }
        write_json(self.sidecar_file(name), sidecar, sealed=True)

    def check(self, name: str, *, every_byte: bool = True) -> None:
        """Raise DataError if a finished array does not have the bytes that were written.

        Without `every_byte`, an array that was not changed after its sidecar was written is not read.
        """
        sidecar, array = self.sidecar(name), self.array_file(name)
        if not every_byte and _is_older(array, self.sidecar_file(name)):
            return
        if (found := file_digest(array)) != sidecar["checksum"]:
            raise DataError(
                f"{array} must have the checksum {sidecar['checksum']} of its sidecar, got {found}: it was "
                "damaged after it was written; force it to be made again"
            )

    def open(self, name: str) -> NDArray[Any]:
        """A finished array, memory-mapped; raises DataError where it was damaged or changed after it was written."""
        try:
            self.check(name, every_byte=False)
            array: NDArray[Any] = np.load(self.array_file(name), mmap_mode="r", allow_pickle=False)
        except DataError:
            raise
        except (OSError, ValueError) as error:
            raise DataError(f"{self.array_file(name)} cannot be read ({error}): force it to be made again") from error
        return array

    def drop(self, name: str) -> None:
        """Let an array count as unfinished."""
        self.sidecar_file(name).unlink(missing_ok=True)


def stored_digest(array: Any) -> str | None:
    """The digest of the values of a memory-mapped array of a cache, as its sidecar has it; None for other arrays.

    It is what `digest` gives for the same values in memory, and costs no look at them.
    """
    if not isinstance(array, np.memmap) or not isinstance(array.filename, str | Path):
        return None
    path = Path(array.filename)
    sidecar_file = path.with_suffix(".json")
    # A slice of a map names the same file, and covers less of it.
    if not (path.suffix == ".npy" and path.exists() and sidecar_file.exists() and array.flags.c_contiguous):
        return None
    if array.offset + array.nbytes != path.stat().st_size:
        return None
    try:
        found = read_json(sidecar_file, SIDECAR, error=DataError)
    except DataError:
        return None  # JSON that belongs to somebody else
    if (found.get("shape"), found.get("dtype")) != (list(array.shape), array.dtype.name):
        return None
    return str(found["digest"]) if "digest" in found and _is_older(path, sidecar_file) else None


def stored_beside(array: Any, facts: str) -> NDArray[Any] | None:
    """Facts per row of a memory-mapped array of a cache, which were found when it was made; None where there are none.

    Those called `facts` of the array `image` are the array `image_facts` of the same cache.
    """
    if stored_digest(array) is None:
        return None
    path = Path(array.filename)
    cache, name = ArrayCache(path.parent), f"{path.stem}_{facts}"
    return cache.open(name) if name in cache.finished() else None


def release_pages(array: Any) -> None:
    """Take the pages of a memory-mapped array out of the memory of this process; they come back when they are read.

    The system keeps the file in memory as long as nobody else needs the room. Other arrays are left as they are.
    """
    pages = getattr(array, "_mmap", None)
    if isinstance(pages, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)


def _is_older(array: Path, sidecar: Path) -> bool:
    """Whether an array is as it was when its sidecar was written, by the times of change."""
    return array.stat().st_mtime_ns <= sidecar.stat().st_mtime_ns
