"""A data set of image files and a CSV or parquet file with one row an image: its name and its votes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.columns import Columns, read_frame
from foldstill.data.dataset import CONTENT, Dataset, Inputs, group_column
from foldstill.data.labels import Labels
from foldstill.errors import DataError
from foldstill.settings import Settings

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
"""What counts as an image when a folder without a table is read."""


@dataclass(frozen=True, kw_only=True)
class FolderData(Settings):
    """Where the images and their labels are; one of votes, shares or label is named."""

    kind: Literal["folder"] = "folder"
    path: str
    """The folder of images; a relative path starts at the experiment file's folder."""
    table: str
    """CSV or parquet file with one row an image; a relative path starts at the experiment file's folder."""
    file: str = "file"
    """Column of the file name below the folder."""
    suffix: str = ""
    """What file names in the column lack, such as `.png`."""
    size: int | tuple[int, int] = 224
    """Height and width every image is brought to (bilinear): one number for a square, or (height, width)."""
    color: Literal["rgb", "gray"] = "rgb"
    """Three channels or one."""
    votes: tuple[str, ...] = ()
    """Columns of vote counts, one a class; they name the classes."""
    shares: tuple[str, ...] = ()
    """Columns of vote shares, one a class; they name the classes."""
    total: str | float = 1.0
    """With shares: column of the number of votes behind each row, or one number for all rows."""
    label: str = ""
    """Column of hard labels: class index or name."""
    classes: tuple[str, ...] = ()
    """Class names, in order; those of the columns, or the different values of the label, when empty."""
    id: str = ""
    """Column of the ids; the file name when empty."""
    group: str | tuple[str, ...] = ""
    """Column of what must not be split between folds; `content` makes pixel-identical images one group; or both."""
    stratum: str = ""
    """Column of the stratum of each row; by number of votes when empty."""

    def __post_init__(self) -> None:
        if not (self.path and self.table):
            raise DataError("data needs path (the folder of images) and table (the CSV of their votes): set both")
        named = [name for name in ("votes", "shares", "label") if getattr(self, name)]
        if len(named) != 1:
            raise DataError(f"data must name one of votes, shares or label, got {named or 'none'}: keep one")
        if self.total != 1.0 and not self.shares:
            raise DataError("data.total goes with data.shares only: counts and hard labels carry their own total")
        if min(self._height_width) < 1:
            raise DataError(f"data.size must be positive, got {self.size}: use for example 224 or (128, 256)")
        group_column(self.group)

    def load(self, root: Path) -> Dataset:
        """The data set, every image read once into one uint8 array; raises DataError naming files that are missing."""
        table = read_frame(root / self.table)
        files = [f"{name}{self.suffix}" for name in table.get(self.file, "file").tolist()]
        labels = self._labels(table)
        dataset = Dataset(labels, {"image": self._read(root / self.path, files)})
        by_content = self.group == CONTENT or CONTENT in tuple(self.group)
        return dataset.grouped_by_content("image") if by_content else dataset

    def inputs(self, path: Path) -> Inputs:
        """Every image file below another folder, in the order of their names, which are the ids."""
        if not path.is_dir():
            raise DataError(f"no folder of images at {path}: give a folder as data.path is one")
        names = sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        if not names:
            raise DataError(f"no images below {path}: wanted files that end in {', '.join(IMAGE_SUFFIXES)}")
        return Inputs(np.asarray(names), {"image": self._read(path, names)})

    @property
    def _height_width(self) -> tuple[int, int]:
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def _read(self, folder: Path, files: list[str]) -> NDArray[np.uint8]:
        from PIL import Image, UnidentifiedImageError

        missing = [f for f in files if not (folder / f).is_file()]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(files)} images are not in {folder}; first: {missing[:3]}: "
                "correct data.path or data.file, or set data.suffix"
            )
        height, width = self._height_width
        images = np.empty((len(files), height, width, 3 if self.color == "rgb" else 1), dtype=np.uint8)
        for out, name in zip(images, files, strict=True):
            try:
                with Image.open(folder / name) as image:
                    pixels = image.convert("RGB" if self.color == "rgb" else "L")
                    out[:] = np.asarray(pixels.resize((width, height), Image.Resampling.BILINEAR)).reshape(out.shape)
            except (UnidentifiedImageError, OSError) as error:
                raise DataError(
                    f"{folder / name} cannot be read as an image ({error}): replace the file or drop its row"
                ) from error
        return images

    def _labels(self, table: Columns) -> Labels:
        columns: dict[str, Any] = {"ids": table.get(self.id or self.file, "id")}
        if group := group_column(self.group):
            columns["groups"] = table.get(group, "group")
        if self.stratum:
            columns["stratum"] = table.get(self.stratum, "stratum")
        if self.label:
            return Labels.from_hard(table.get(self.label, "label"), classes=self.classes or None, **columns)
        names = self.votes or self.shares
        columns["classes"] = self.classes or names
        values = np.stack([table.get(name, "votes") for name in names], axis=1)
        if self.votes:
            return Labels.from_votes(values, **columns)
        total = table.get(self.total, "total") if isinstance(self.total, str) else self.total
        return Labels.from_shares(values, total, **columns)
