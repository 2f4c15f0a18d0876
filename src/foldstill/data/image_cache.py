"""Images of one size in one memory-mapped array, made once from their files; parallel and resumable.

N images (rows), H x W image, C channels.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from foldstill.data.array_cache import ArrayCache, ArrayForm
from foldstill.data.array_filling import Backend, Rows, fill_arrays, forget_filling
from foldstill.data.dataset import CONTENT_BYTES, content_digest
from foldstill.data.images import ImageReader
from foldstill.data.journal import Journal
from foldstill.errors import DataError
from foldstill.lock import sole_writer
from foldstill.workers import Work

if TYPE_CHECKING:
    from typing import Self

FORMAT = 1
"""Raised when the pixels change that are made of a file, so that they are made again."""

PIXELS, SUMS, CONTENT = "image", "image_sums", "image_content"
"""Names of the arrays: pixels (N, H, W, C), sum and sum of squares of each row and channel (N, C, 2), and digest of the
content of each row (N, 16)."""

ARRAYS = (SUMS, CONTENT, PIXELS)
"""In the order in which they are finished."""

PART_ROWS = 64
"""Images per part: a killed preparation loses at most this many per process."""

PARTS_PER_PROCESS = 8
"""A process starts in about a second, in which one that runs already reads this many parts."""

MOST_PROBLEMS = 20
"""Reading ends when more images than this cannot be read."""

Encoded = tuple[str, Path | bytes]
"""How messages name an image, and its file or the bytes of a file."""


class EncodedImages(Protocol):
    """Image files of N rows, wherever they are."""

    @property
    def backend(self) -> Backend:
        """Whether processes can read parts, or only threads."""
        ...

    def __len__(self) -> int: ...

    @property
    def made_from(self) -> Mapping[str, Any]:
        """JSON values that change when an image may have changed."""
        ...

    def parts(self) -> Iterator[tuple[Rows, Iterable[Encoded]]]:
        """Rows that are read together, and what gives their images in this order; a process gets the latter pickled."""
        ...


@dataclass(frozen=True)
class ImagePart:
    """What is known of images that were read."""

    rows: Rows
    problems: tuple[str, ...] = ()
    n_deep: int = 0
    """Number of gray images of more than 8 bits."""
    brightest: float = 0.0
    """The brightest pixel of these, as a share of white."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, part: dict[str, Any]) -> "Self":
        return cls(**{**part, "rows": tuple(part["rows"]), "problems": tuple(part["problems"])})


@dataclass(frozen=True)
class ImageCache:
    """The folder in which the pixels of some images are kept."""

    folder: Path
    reader: ImageReader
    images: EncodedImages

    @property
    def arrays(self) -> ArrayCache:
        return ArrayCache(self.folder)

    def is_made(self) -> bool:
        """Whether the pixels are there, of these images as they are now."""
        made_from = self._made_from
        return set(ARRAYS) <= set(self.arrays.finished()) and all(
            self.arrays.sidecar(name)["made_from"] == made_from for name in ARRAYS
        )

    def make(self, work: Work = Work()) -> None:
        """Read all images, or those that an interrupted call has left; does nothing where the pixels are there.

        Pixels of images that have changed since are made again, and the progress says so. While another process makes
        them, this one waits for it; with `force` it raises FileError.
        Raises DataError that names images that cannot be read.
        """
        if self.is_made() and not work.force:
            return
        with sole_writer(self.folder, wait=not work.force):
            if self.is_made() and not work.force:
                return  # another process has made them
            self._make(work)

    def open(self) -> NDArray[Any]:
        """The pixels (N, H, W, C), memory-mapped; raises DataError where they are damaged."""
        images = self.arrays.open(PIXELS)
        facts = self.arrays.sidecar(PIXELS)
        self.reader.check_white(facts["n_deep"], facts["brightest"])
        return images

    @property
    def _made_from(self) -> dict[str, Any]:
        return {"format": FORMAT, "reader": _as_json(self.reader), **self.images.made_from}

    def _make(self, work: Work) -> None:
        n, channels = len(self.images), self.reader.shape[-1]
        made_from = self._made_from  # before the first image is read: one that is replaced meanwhile is noticed
        forms = {
            PIXELS: ArrayForm((n, *self.reader.shape), self.reader.dtype, made_from),
            SUMS: ArrayForm((n, channels, 2), np.dtype(np.uint64), made_from),
            CONTENT: ArrayForm((n, CONTENT_BYTES), np.dtype(np.uint8), made_from),
        }
        note = f"{n:,} images" + (", which have changed" if self.arrays.finished() and not work.force else "")
        for name in forms:
            self.arrays.drop(name)
        try:
            parts = self._fill(forms, work, note)
            problems = [problem for part in parts for problem in part.problems]
            if problems:
                raise DataError(_first(problems, n))
            n_deep, brightest = sum(part.n_deep for part in parts), max(part.brightest for part in parts)
            self.reader.check_white(n_deep, 1.0)
        except DataError:
            forget_filling(self.arrays, list(forms))
            raise
        facts = {"n_deep": n_deep, "brightest": brightest}
        for name in ARRAYS:
            self.arrays.finish(name, forms[name], facts if name == PIXELS else None)
        Journal(self.arrays.journal_file).remove()

    def _fill(self, forms: Mapping[str, ArrayForm], work: Work, note: str) -> list[ImagePart]:
        calls = {rows: (self.arrays, self.reader, rows, encoded) for rows, encoded in self.images.parts()}
        enough = math.ceil(len(calls) / PARTS_PER_PROCESS)
        if work.cpu_workers.kind == "processes" and work.cpu_workers.count > enough:
            work = replace(work, workers=enough)
        return fill_arrays(
            self.arrays, forms, ImagePart, read_part, calls, work, note=note, backend=self.images.backend
        )


def read_part(cache: ArrayCache, reader: ImageReader, rows: Rows, encoded: Iterable[Encoded]) -> ImagePart:
    """Read some images and write them into the unfinished arrays."""
    arrays = {name: np.load(cache.part_file(name), mmap_mode="r+", allow_pickle=False) for name in ARRAYS}
    problems: list[str] = []
    deep: list[float] = []
    for row, (name, source) in zip(rows, encoded, strict=True):
        try:
            image, brightness = reader.read(source, name)
        except DataError as error:
            problems.append(str(error))
            if len(problems) > MOST_PROBLEMS:
                raise DataError(_first(problems, len(arrays[PIXELS]))) from error
            continue
        arrays[PIXELS][row], arrays[SUMS][row] = image, sums_of(image)
        arrays[CONTENT][row] = np.frombuffer(content_digest(image), np.uint8)
        deep += [] if brightness is None else [brightness]
    for array in arrays.values():
        array.flush()  # before the journal says that the part is finished, so that a power cut loses none
    return ImagePart(rows, tuple(problems), len(deep), max(deep, default=0.0))


def sums_of(image_HWC: NDArray[Any]) -> NDArray[np.uint64]:
    """Sum and sum of squares per channel, (C, 2), exact.

    >>> sums_of(np.array([[[1, 2], [3, 2]]], np.uint8)).tolist()
    [[4, 10], [4, 8]]
    """
    # Squares of 16 bits fit into 32. Channels first is 15 times faster than channels last.
    channels = np.ascontiguousarray(image_HWC.reshape(-1, image_HWC.shape[-1]).T).astype(np.uint32)
    parts = [values.sum(axis=1, dtype=np.uint64) for values in (channels, channels * channels)]
    return np.stack(parts, axis=-1)


def read_once(reader: ImageReader, images: EncodedImages, work: Work = Work()) -> NDArray[Any]:
    """The pixels (N, H, W, C) of images that are read this once: a memory map of a file that is removed at once.

    Its room on the disk for temporary files is freed when nobody needs the array.
    """
    with TemporaryDirectory(prefix="foldstill-images-") as folder:
        cache = ImageCache(Path(folder) / "once", reader, images)
        cache.make(work)
        return cache.open()


def _first(problems: list[str], n: int) -> str:
    return problems[0] if len(problems) == 1 else f"{len(problems)} of {n} images cannot be used; first: {problems[0]}"


def _as_json(reader: ImageReader) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(reader).items()}


def sizes_and_times(paths: Sequence[Path], names: Sequence[str]) -> list[list[Any]]:
    """Name, size and time of change of each file."""
    status = [path.stat() for path in paths]
    return [[name, one.st_size, one.st_mtime_ns] for name, one in zip(names, status, strict=True)]
