"""A dataset of image files, with one subfolder per class, or a CSV or parquet file with one row per image."""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from foldstill.data.array_filling import Backend
from foldstill.data.columns import read_columns
from foldstill.data.dataset import group_column
from foldstill.data.image_cache import PART_ROWS
from foldstill.data.image_source import ImageSource
from foldstill.data.images import IMAGE_SUFFIXES
from foldstill.data.label_columns import LabelColumns
from foldstill.data.labels import Labels
from foldstill.data.text import as_strings
from foldstill.digests import digest
from foldstill.errors import DataError

if TYPE_CHECKING:
    from typing import Self

    from foldstill.data.text import Strings


@dataclass(frozen=True, kw_only=True)
class FolderData(ImageSource, kind="folder", title="Image folder"):
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
    id: str = ""
    """Column of the ids. The file names when empty."""
    which_images: ClassVar[tuple[str, ...]] = ("path", "table", "file", "suffix")

    def __post_init__(self) -> None:
        if not self.path:
            raise DataError("data.path must be the folder of images, got an empty path: set it")
        if self.table:
            self.require_labels()
        else:
            self._refuse_columns()
        super().__post_init__()

    @classmethod
    def example(cls, folder: Path) -> "tuple[Self, Path]":
        from PIL import Image

        (folder / "images").mkdir()
        for shade in range(4):
            Image.new("RGB", (8, 8), (60 * shade, 0, 0)).save(folder / "images" / f"{shade}.png")
        (folder / "labels.csv").write_text("file,label\n0.png,a\n1.png,a\n2.png,b\n3.png,b\n", encoding="utf-8")
        return cls(path="images", table="labels.csv", label="label", size=8), folder / "images"

    def _labelled(self, root: Path) -> "tuple[FolderImages, Labels]":
        files, labels = self._by_table(root / self.table) if self.table else self._by_subfolder(root / self.path)
        return FolderImages.of(root / self.path, files), labels

    def _new(self, path: Path) -> "tuple[FolderImages, Strings]":
        """Every image file in another folder and its subfolders, sorted by name. The names are the ids."""
        names = _image_files(path)
        return FolderImages.of(path, names), np.asarray(names)

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
        columns = ("suffix", "votes", "shares", "heads", "label", "id", "stratum")
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
    def _label_columns(self) -> LabelColumns:
        return self.label_columns(id=self.id or self.file, group=group_column(self.group))


@dataclass(frozen=True)
class FolderImages:
    """Image files by their names relative to a folder."""

    folder: Path
    names: tuple[str, ...]
    made_from: Mapping[str, Any]
    backend: Backend = "loky"

    @classmethod
    def of(cls, folder: Path, names: list[str]) -> "Self":
        """The files with these names; raises DataError naming those that are missing."""
        versions, missing = [], []
        for name in names:
            try:
                status = os.stat(os.path.join(folder, name))
            except OSError:
                missing.append(name)
                continue
            versions.append([name, status.st_size, status.st_mtime_ns])
            if not stat.S_ISREG(status.st_mode):
                missing.append(name)
        if missing:
            raise DataError(
                f"{len(missing)} of {len(names)} images are not in {folder}; first: {missing[:3]}: "
                "correct data.path or data.file, or set data.suffix"
            )
        return cls(folder, tuple(names), {"files": digest(versions)})

    def __len__(self) -> int:
        return len(self.names)

    def parts(self) -> Iterator[tuple[tuple[int, ...], list[tuple[str, Path]]]]:
        for start in range(0, len(self), PART_ROWS):
            rows = tuple(range(start, min(start + PART_ROWS, len(self))))
            paths = [self.folder / self.names[row] for row in rows]
            yield rows, [(str(path), path) for path in paths]


def _image_files(path: Path) -> list[str]:
    """Every image file in a folder and its subfolders, sorted by name; hidden files are left out."""
    if not path.is_dir():
        raise DataError(f"no folder of images at {path}: give a folder like the one in data.path")
    names = []
    for parent, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(parent).relative_to(path).as_posix()
        found = [name for name in files if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")]
        names += found if below == "." else [f"{below}/{name}" for name in found]
    names.sort()
    if not names:
        raise DataError(f"no images below {path}: wanted files that end in {', '.join(IMAGE_SUFFIXES)}")
    return names
