"""A dataset of image files, with one subfolder per class, or a CSV or parquet file with one row per image."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.columns import read_columns
from foldstill.data.dataset import Dataset, Inputs, group_column
from foldstill.data.images import IMAGE_SUFFIXES, ImageReader
from foldstill.data.label_columns import LabelColumns, LabelledTable
from foldstill.data.labels import Labels
from foldstill.data.source import PlainSource
from foldstill.data.text import as_strings
from foldstill.errors import DataError

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True, kw_only=True)
class FolderData(LabelledTable, PlainSource, kind="folder", title="Image folder"):
    """Reads image files from a folder, with one subfolder per class, or with labels in a CSV or parquet file.

    Without a table, `cat/1.png` is an image of class cat. With one, name the columns of one of votes, shares or label.
    All files are read to one range, whatever their bit depth. They are turned as their EXIF orientation says.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("a.png", "b.png"):
    ...         Image.new("RGB", (20, 10)).save(f"{folder}/{name}")
    ...     _ = Path(folder, "votes.csv").write_text("file,cat,dog\\na.png,3,1\\nb.png,0,5\\n")
    ...     dataset = FolderData(path=".", table="votes.csv", size=16, votes=("cat", "dog")).load(Path(folder))
    >>> dataset.view("image").shape, dataset.labels.total_N.tolist()
    ((2, 16, 16, 3), [4.0, 5.0])
    """

    path: str
    """The folder of images. A relative path starts at the folder of the experiment file."""
    table: str = ""
    """CSV or parquet file with one row per image. A relative path starts at the folder of the experiment file. When
    empty, the folder has one subfolder per class."""
    file: str = "file"
    """Column of the file names, relative to the folder."""
    suffix: str = ""
    """Added to every file name in the column, such as `.png`."""
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
    id: str = ""
    """Column of the ids. The file names when empty."""
    group: str | tuple[str, ...] = ""
    """Column of what must not be split between folds. `content` puts pixel-identical images into one group. Both may be
    given."""

    def __post_init__(self) -> None:
        if not self.path:
            raise DataError("data.path must be the folder of images, got an empty path: set it")
        if self.table:
            self.require_labels()
        else:
            self._refuse_columns()
        _ = self._reader
        group_column(self.group)

    @classmethod
    def example(cls, folder: Path) -> "tuple[Self, Path]":
        from PIL import Image

        (folder / "images").mkdir()
        for shade in range(4):
            Image.new("RGB", (8, 8), (60 * shade, 0, 0)).save(folder / "images" / f"{shade}.png")
        (folder / "labels.csv").write_text("file,label\n0.png,a\n1.png,a\n2.png,b\n3.png,b\n", encoding="utf-8")
        return cls(path="images", table="labels.csv", label="label", size=8), folder / "images"

    def load(self, root: Path) -> Dataset:
        """Load the dataset into one array; raises DataError naming files that are missing or cannot be read."""
        files, labels = self._by_table(root / self.table) if self.table else self._by_subfolder(root / self.path)
        images = self._read(root / self.path, files)
        dataset = Dataset(labels, {"image": images}, recipes={"image": self._reader.recipe})
        return dataset.grouped_by(self.group, "image")

    def inputs(self, path: Path) -> Inputs:
        """Every image file in another folder and its subfolders, sorted by name. The names are the ids."""
        names = _image_files(path)
        return Inputs(np.asarray(names), {"image": self._read(path, names)}, recipes={"image": self._reader.recipe})

    def _by_table(self, path: Path) -> tuple[list[str], Labels]:
        """Files and labels of the rows of the table."""
        table = read_columns(path)
        names = as_strings(table.text(self.file, "file"), f"{self.file} in {table.path}").tolist()
        return [f"{name}{self.suffix}" for name in names], self._label_columns.read(table)

    def _by_subfolder(self, path: Path) -> tuple[list[str], Labels]:
        """Every image below the folder, labelled by the subfolder that holds it; the file names are the ids."""
        files = _image_files(path)
        if loose := [name for name in files if "/" not in name]:
            raise DataError(
                f"{path} must have one subfolder of images per class, got {len(loose)} images beside them, first "
                f"{loose[0]}: move them into subfolders, or give a table of labels with data.table"
            )
        names = [name.split("/")[0] for name in files]
        return files, Labels.from_hard(np.asarray(names), ids=files, classes=self.classes or sorted(set(names)))

    def _refuse_columns(self) -> None:
        """Raise DataError for columns of a table that is not there."""
        columns = ("suffix", "votes", "shares", "label", "id", "stratum")
        if given := [name for name in columns if getattr(self, name)]:
            raise DataError(
                f"data.{given[0]} names a column of data.table, and there is no table: set data.table, or leave "
                f"data.{given[0]} out where each subfolder is a class"
            )
        if self.group not in ("", "content"):
            raise DataError(
                f"data.group must be 'content' or empty where there is no data.table, got {self.group!r}: give a table "
                "with a column of groups"
            )

    @property
    def _reader(self) -> ImageReader:
        size = (self.size, self.size) if isinstance(self.size, int) else self.size
        return ImageReader(size, self.color, self.depth, self.background, self.white)

    def _read(self, folder: Path, files: list[str]) -> NDArray[Any]:
        missing = [f for f in files if not (folder / f).is_file()]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(files)} images are not in {folder}; first: {missing[:3]}: "
                "correct data.path or data.file, or set data.suffix"
            )
        return self._reader.read(folder, files)

    @property
    def _label_columns(self) -> LabelColumns:
        return LabelColumns.of(
            self,
            classes=self.classes or self.votes or self.shares,
            id=self.id or self.file,
            group=group_column(self.group),
        )


def _image_files(path: Path) -> list[str]:
    """Every image file in a folder and its subfolders, sorted by name; hidden files are left out."""
    if not path.is_dir():
        raise DataError(f"no folder of images at {path}: give a folder like the one in data.path")
    names = sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    names = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    if not names:
        raise DataError(f"no images below {path}: wanted files that end in {', '.join(IMAGE_SUFFIXES)}")
    return names
