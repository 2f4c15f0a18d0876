"""What data sources of image files share: how images become arrays, and where these are kept. N images."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.dataset import Dataset, Inputs, group_column
from foldstill.data.image_cache import EncodedImages, ImageCache, read_once
from foldstill.data.images import ImageReader
from foldstill.data.label_columns import LabelledTable
from foldstill.data.source import PlainSource
from foldstill.digests import digest
from foldstill.workers import Work

if TYPE_CHECKING:
    from foldstill.data.labels import Labels
    from foldstill.data.text import Strings

VIEW = "image"
"""The view that image files give."""


@dataclass(frozen=True, kw_only=True)
class ImageSource(LabelledTable, PlainSource, ABC):
    """Settings of all data sources whose images are read once, into one memory-mapped array."""

    size: int | tuple[int, int] = 224
    """Size to which every image is scaled (bilinear): one number for a square, or (height, width)."""
    color: Literal["rgb", "gray"] = "rgb"
    """Three channels (`rgb`) or one (`gray`)."""
    depth: Literal[8, 16] = 8
    """Bits per channel: black is 0, and white is 255 (8) or 65,535 (16). Files with more bits are scaled to it."""
    background: str = "black"
    """Color behind transparent pixels: a name, or `#rrggbb`."""
    white: float = 0.0
    """Value of white in gray files of more than 8 bits, such as 4095 for 12 bits stored in 16. By default the highest
    value that the depth of a file allows, and 1 in float files."""
    cache: str = "image-cache"
    """Folder in which the scaled images are kept. A relative path starts at the folder of the experiment file."""
    group: str | tuple[str, ...] = ""
    """Column of what must not be split between folds. `content` puts pixel-identical images into one group. Both may be
    given."""

    which_images: ClassVar[tuple[str, ...]]
    """Fields that say which images are read."""

    def __post_init__(self) -> None:
        _ = self._reader
        group_column(self.group)

    @abstractmethod
    def _labelled(self, root: Path) -> tuple[EncodedImages, "Labels"]:
        """The images and labels of the data set, in the same order; no image is read."""

    def _images(self, root: Path) -> EncodedImages:
        """The images of the data set, without a look at the labels where these are elsewhere."""
        return self._labelled(root)[0]

    @abstractmethod
    def _new(self, path: Path) -> tuple[EncodedImages, "Strings"]:
        """The images at another path, and their ids; no image is read."""

    def is_prepared(self, root: Path) -> bool:
        """Whether the array of the images is there, of these images as they are now."""
        return self._cache(root, self._images(root)).is_made()

    def prepare(self, root: Path, work: Work = Work()) -> str:
        """Make the array of the images where it is missing or the images have changed, and return where it is."""
        images, _ = self._labelled(root)
        cache = self._cache(root, images)
        cache.make(work)
        height, width, channels = self._reader.shape
        return f"{len(images):,} images of {height} x {width} x {channels} are in {cache.folder}"

    def load(self, root: Path) -> Dataset:
        """The data set, its images memory-mapped; the array of the images is made first where it is missing.

        Raises DataError naming images that are missing or cannot be read.
        """
        images, labels = self._labelled(root)
        cache = self._cache(root, images)
        cache.make()
        return self._dataset(cache.open(), labels)

    def dataset_of(self, images: EncodedImages, labels: "Labels", folder: Path | None) -> Dataset:
        """The data set of other images in this form; without a folder, its array is kept as long as it is used."""
        kept = None if folder is None else self._cache(folder, images)
        if kept is None:
            return self._dataset(read_once(self._reader, images), labels)
        kept.make()
        return self._dataset(kept.open(), labels)

    def inputs(self, path: Path) -> Inputs:
        """New images, of which no array is kept."""
        images, ids = self._new(path)
        return Inputs(np.asarray(ids), {VIEW: read_once(self._reader, images)}, recipes={VIEW: self._reader.recipe})

    def _dataset(self, pixels: NDArray[Any], labels: "Labels") -> Dataset:
        dataset = Dataset(labels, {VIEW: pixels}, recipes={VIEW: self._reader.recipe})
        return dataset.grouped_by(self.group, VIEW)

    @property
    def _reader(self) -> ImageReader:
        size = (self.size, self.size) if isinstance(self.size, int) else self.size
        return ImageReader(size, self.color, self.depth, self.background, self.white)

    def _cache(self, root: Path, images: EncodedImages) -> ImageCache:
        """The folder of these images in this form: other settings have a folder of their own."""
        reader, which = self._reader, {name: getattr(self, name) for name in self.which_images}
        height, width, channels = reader.shape
        settings = digest(self.kind, which, vars(reader))
        return ImageCache(root / self.cache / f"{height}x{width}x{channels}-{settings}", reader, images)
