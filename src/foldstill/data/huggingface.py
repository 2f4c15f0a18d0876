"""Datasets of images from objects of the library `datasets` of Hugging Face, in Python."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foldstill.data.array_filling import Backend, Rows
from foldstill.data.columns import Columns, series_array
from foldstill.data.dataset import Dataset, group_column
from foldstill.data.image_cache import PART_ROWS, Encoded
from foldstill.data.parquet_images import ParquetImagesData
from foldstill.errors import DataError

WHERE = Path("the Hugging Face dataset")
"""How messages name it."""


def from_huggingface(
    dataset: Any,
    *,
    image: str = "image",
    label: str = "",
    size: int | tuple[int, int] = 224,
    cache: str | Path | None = None,
    **settings: Any,
) -> Dataset:
    """Make a dataset of images and labels from a dataset of Hugging Face.

    Parameters
    ----------
    dataset : datasets.Dataset
        One split of a dataset; every row is one sample.
    image : str, default "image"
        Column of the images.
    label : str, default ""
        Column of hard labels. The names of a `ClassLabel` become the class names.
    size : int or (int, int), default 224
        Size to which every image is scaled: one number for a square, or (height, width).
    cache : str or Path, optional
        Folder in which the scaled images are kept, so that the next call finds them. By default they are kept in a
        temporary file as long as the returned dataset is used.
    **settings
        Other settings of `foldstill.data.ParquetImagesData`: `votes`, `shares` or `annotators` in place of `label`,
        and `classes`, `id`, `group`, `stratum`, `color`, `depth`, `background`, `white`.

    Returns
    -------
    Dataset
        The images are the view `image`.

    Raises
    ------
    DataError
        For a column that is missing or has no images, and for images that cannot be read.

    Examples
    --------
    >>> import datasets  # doctest: +SKIP
    >>> train = datasets.load_dataset("cifar10", split="train")  # doctest: +SKIP
    >>> foldstill.from_huggingface(train, image="img", label="label", size=32)  # doctest: +SKIP
    """
    columns = getattr(dataset, "column_names", None)
    if not isinstance(columns, list):
        raise DataError(
            f"from_huggingface wants one split of a dataset (datasets.Dataset), got {type(dataset).__name__}: choose a "
            'split, such as dataset["train"]'
        )
    source = ParquetImagesData(path=str(WHERE), image=image, label=label, size=size, **settings)
    images = HuggingFaceImages.of(dataset, image)
    names = getattr(dataset.features.get(label), "names", None) or ()
    others = dataset.select_columns([name for name in columns if name != image]).to_pandas()
    labels = source.label_columns(tuple(names), group=group_column(source.group)).read(
        Columns(WHERE, {str(name): series_array(others[name]) for name in others.columns})
    )
    return source.dataset_of(images, labels, None if cache is None else Path(cache))


@dataclass(frozen=True, eq=False)
class HuggingFaceImages:
    """The images in a column, not yet decoded."""

    dataset: Any
    column: str
    made_from: Mapping[str, Any]
    backend: Backend = "threading"  # a table that is in memory would be copied to every process

    @classmethod
    def of(cls, dataset: Any, column: str) -> "HuggingFaceImages":
        from datasets import Image

        kind = dataset.features.get(column)
        if not isinstance(kind, Image):
            raise DataError(
                f"{WHERE} has no images in {column!r}, its columns are {dataset.features}: name a column of images, or "
                "cast it with dataset.cast_column(name, datasets.Image())"
            )
        undecoded = dataset.with_format(None).cast_column(column, Image(decode=False))
        return cls(undecoded, column, {"fingerprint": dataset._fingerprint, "column": column})

    def __len__(self) -> int:
        return len(self.dataset)

    def parts(self) -> Iterator[tuple[Rows, "HuggingFaceRows"]]:
        for start in range(0, len(self), PART_ROWS):
            stop = min(start + PART_ROWS, len(self))
            yield tuple(range(start, stop)), HuggingFaceRows(self, start, stop)


@dataclass(frozen=True, eq=False)
class HuggingFaceRows:
    """Some rows, read when they are needed."""

    images: HuggingFaceImages
    start: int
    stop: int

    def __iter__(self) -> Iterator[Encoded]:
        found = self.images.dataset[self.start : self.stop][self.images.column]
        for row, value in enumerate(found, start=self.start):
            content, path = (value or {}).get("bytes"), (value or {}).get("path")
            yield f"image {row} of {WHERE}", content or (Path(path) if path else b"")
