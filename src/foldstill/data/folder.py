"""A dataset of image files, and a CSV or parquet file with one row per image: its file name and its votes."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.columns import read_columns
from foldstill.data.dataset import Dataset, Inputs, group_column
from foldstill.data.images import IMAGE_SUFFIXES, ImageReader
from foldstill.data.label_columns import LabelColumns, require_one_form
from foldstill.data.source import PlainSource
from foldstill.data.text import as_strings
from foldstill.errors import DataError

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True, kw_only=True)
class FolderData(PlainSource, kind="folder", title="Image folder"):
    """Reads image files from a folder and their labels from a CSV or parquet file.

    Name the columns of one of votes, shares or label. All files are read to one range, whatever their bit depth. They
    are turned as their EXIF orientation says.

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
    table: str
    """CSV or parquet file with one row per image. A relative path starts at the folder of the experiment file."""
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
    votes: tuple[str, ...] = ()
    """Columns of vote counts, one per class. Their names are the names of the classes."""
    shares: tuple[str, ...] = ()
    """Columns of vote shares, one per class. Their names are the names of the classes."""
    total: str | float = 1.0
    """With shares: column of the number of votes per row, or one number for all rows."""
    label: str = ""
    """Column of hard labels: class indices or names."""
    classes: tuple[str, ...] = ()
    """Class names, in order. When empty, the names of the columns, or the different values of the label."""
    id: str = ""
    """Column of the ids. The file names when empty."""
    group: str | tuple[str, ...] = ""
    """Column of what must not be split between folds. `content` puts pixel-identical images into one group. Both may be
    given."""
    stratum: str = ""
    """Column of the stratum of each row. By number of votes when empty."""

    def __post_init__(self) -> None:
        if not (self.path and self.table):
            raise DataError("data needs path (the folder of images) and table (the CSV of their votes): set both")
        require_one_form("data", {name: getattr(self, name) for name in ("votes", "shares", "label")}, self.total)
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
        table = read_columns(root / self.table)
        files = [
            f"{name}{self.suffix}"
            for name in as_strings(table.text(self.file, "file"), f"{self.file} in {table.path}").tolist()
        ]
        labels = self._label_columns.read(table)
        images = self._read(root / self.path, files)
        dataset = Dataset(labels, {"image": images}, recipes={"image": self._reader.recipe})
        return dataset.grouped_by(self.group, "image")

    def inputs(self, path: Path) -> Inputs:
        """Every image file in another folder and its subfolders, sorted by name. The names are the ids."""
        if not path.is_dir():
            raise DataError(f"no folder of images at {path}: give a folder like the one in data.path")
        names = sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        if not names:
            raise DataError(f"no images below {path}: wanted files that end in {', '.join(IMAGE_SUFFIXES)}")
        return Inputs(np.asarray(names), {"image": self._read(path, names)}, recipes={"image": self._reader.recipe})

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
