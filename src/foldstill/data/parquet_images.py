"""A dataset of images in parquet files: a column of image bytes, as Hugging Face stores them, beside columns of labels.

N rows.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from foldstill.data.array_filling import Backend, Rows
from foldstill.data.columns import PARQUET, Columns, read_columns
from foldstill.data.dataset import group_column
from foldstill.data.image_cache import Encoded, sizes_and_times
from foldstill.data.image_source import ImageSource
from foldstill.data.text import as_strings
from foldstill.errors import DataError

if TYPE_CHECKING:
    from typing import Self

    from foldstill.data.labels import Labels
    from foldstill.data.text import Strings

GROUP_ROWS = 1024
"""Rows of a part. A row group of more is read in parts, and each part passes over the rows before it."""

FEW_PARTS = 16
"""Parts of a very large row group, so that its rows are passed over at most half as often."""

BATCH_ROWS = 32
"""Images that are in memory at once."""


@dataclass(frozen=True, kw_only=True)
class ParquetImagesData(ImageSource, kind="parquet_images", title="Parquet files of images"):
    """Reads images and their labels from parquet files that hold the bytes of image files in a column.

    The column has bytes, or the structure {bytes, path} of Hugging Face. Name the columns of one of votes, shares,
    annotators or label. Class names that Hugging Face keeps in the file are used for a label of class indices.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data, _ = ParquetImagesData.example(Path(folder))
    ...     dataset = data.load(Path(folder))
    >>> dataset.view("image").shape, dataset.labels.classes
    ((4, 8, 8, 3), ('a', 'b'))
    """

    path: str
    """The parquet file, or a folder whose parquet files are read in the order of their names. A relative path starts
    at the folder of the experiment file."""
    image: str = "image"
    """Column of the bytes of the images."""
    id: str = ""
    """Column of the ids. The row numbers when empty."""
    which_images: ClassVar[tuple[str, ...]] = ("path", "image")

    def __post_init__(self) -> None:
        if not self.path or not self.image:
            raise DataError(
                f"data.path must name parquet files and data.image a column of them, got {self.path!r} and "
                f"{self.image!r}"
            )
        self.require_labels()
        super().__post_init__()

    @classmethod
    def example(cls, folder: Path) -> "tuple[Self, Path]":
        import pyarrow as pa
        import pyarrow.parquet as pq
        from PIL import Image

        images = []
        for shade in range(4):
            with BytesIO() as stream:
                Image.new("RGB", (8, 8), (60 * shade, 0, 0)).save(stream, "PNG")
                images.append({"bytes": stream.getvalue(), "path": f"{shade}.png"})
        pq.write_table(pa.table({"image": images, "label": ["a", "a", "b", "b"]}), folder / "images.parquet")
        return cls(path="images.parquet", label="label", size=8), folder / "images.parquet"

    def _labelled(self, root: Path) -> "tuple[ParquetImages, Labels]":
        images = self._images(root)
        columns = self.label_columns(images.class_names(self.label), group=group_column(self.group))
        return images, columns.read(images.other_columns())

    def _images(self, root: Path) -> "ParquetImages":
        return ParquetImages.of(root / self.path, self.image, self.id)

    def _new(self, path: Path) -> "tuple[ParquetImages, Strings]":
        """The images of other files. The row numbers are the ids when these have none."""
        columns = ParquetImages.of(path, self.image).other_columns()
        has_ids = self.id in columns
        images = ParquetImages.of(path, self.image, self.id if has_ids else "")
        ids = columns.text(self.id, "id") if has_ids else np.arange(len(images))
        return images, as_strings(ids, f"ids in {path}")


@dataclass(frozen=True)
class ParquetImages:
    """The images in a column of parquet files, in the order of the files."""

    path: Path
    files: tuple[Path, ...]
    columns: tuple[str, ...]
    """The column of images, and that of the ids if there is one."""
    made_from: Mapping[str, Any]
    groups: tuple[tuple[Path, int, int], ...]
    """File, number and number of rows of each row group."""
    backend: Backend = "loky"

    @classmethod
    def of(cls, path: Path, column: str, id_column: str = "") -> "Self":
        """The images of a file or a folder; raises DataError where there is no such column, or no bytes in it."""
        import pyarrow.parquet as pq

        files, groups = _parquet_files(path), []
        for file in files:
            with _named(file), pq.ParquetFile(file) as opened:
                _require_bytes(opened.schema_arrow, column, file)
                metadata = opened.metadata
                groups += [(file, g, metadata.row_group(g).num_rows) for g in range(metadata.num_row_groups)]
        if not sum(n for _, _, n in groups):
            raise DataError(f"{path} has no rows: check the filter that made it")
        versions = sizes_and_times(files, [file.name for file in files])
        made_from = {"files": versions, "column": column}
        return cls(path, tuple(files), (column, *([id_column] if id_column else [])), made_from, tuple(groups))

    def __len__(self) -> int:
        return sum(n for _, _, n in self.groups)

    def parts(self) -> Iterator[tuple[Rows, "GroupRows"]]:
        before = 0
        for file, group, n in self.groups:
            step = max(GROUP_ROWS, -(-n // FEW_PARTS))
            for start in range(0, n, step):
                stop = min(start + step, n)
                part = GroupRows(file, self.columns, group, start, stop, before)
                yield tuple(range(before + start, before + stop)), part
            before += n

    def other_columns(self) -> Columns:
        """All columns but that of the images."""
        import pyarrow.parquet as pq

        if any(pq.read_schema(file).names == [*self.columns[:1]] for file in self.files):
            return Columns(self.path, {})
        parts = [read_columns(file, without=self.columns[:1]) for file in self.files]
        names = [name for name in parts[0].arrays if all(name in part for part in parts)]
        return Columns(self.path, {name: np.concatenate([part.arrays[name] for part in parts]) for name in names})

    def class_names(self, label: str) -> tuple[str, ...]:
        """The names that Hugging Face keeps in the first file for the classes of a column; none where it keeps none."""
        import pyarrow.parquet as pq

        text = (pq.read_schema(self.files[0]).metadata or {}).get(b"huggingface", b"{}")
        try:
            names = json.loads(text)["info"]["features"][label]["names"]
        except (ValueError, KeyError, TypeError):
            return ()
        return tuple(str(name) for name in names)


@dataclass(frozen=True)
class GroupRows:
    """Some rows of one row group of a file, each with its id or its number in the data set."""

    file: Path
    columns: tuple[str, ...]
    """The column of images, and that of the ids if there is one."""
    group: int
    start: int
    stop: int
    before: int
    """Number of rows before this row group."""

    def __iter__(self) -> Iterator[Encoded]:
        import pyarrow.parquet as pq

        first = 0
        # Mapped and not buffered ahead, so that a row group larger than memory is read batch by batch.
        with _named(self.file), pq.ParquetFile(self.file, memory_map=True, pre_buffer=False) as opened:
            for batch in opened.iter_batches(BATCH_ROWS, row_groups=[self.group], columns=list(self.columns)):
                wanted = range(max(self.start, first), min(self.stop, first + batch.num_rows))
                for row in wanted:
                    image, *ids = (batch.column(name)[row - first].as_py() for name in self.columns)
                    content = image["bytes"] if isinstance(image, dict) else image
                    yield f"image {ids[0] if ids else self.before + row} of {self.file}", content or b""
                first += batch.num_rows
                if first >= self.stop:
                    return


def _parquet_files(path: Path) -> list[Path]:
    """The file, or the parquet files of the folder, sorted by name."""
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if each.suffix.lower() in PARQUET and each.name[0] != ".")
        if not files:
            raise DataError(f"no parquet file in {path}: wanted files that end in {', '.join(PARQUET)}")
        return files
    if not path.exists():
        raise DataError(f"no file {path}: give a parquet file, or a folder of them")
    return [path]


def _require_bytes(schema: Any, column: str, file: Path) -> None:
    """Raise DataError unless a column holds the bytes of images."""
    import pyarrow as pa

    if column not in schema.names:
        raise DataError(f"{file} has no column {column!r} (for image), it has {schema.names}: name one of these")
    kind = schema.field(column).type
    if pa.types.is_struct(kind):
        kind = next((kind.field(i).type for i in range(kind.num_fields) if kind.field(i).name == "bytes"), kind)
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise DataError(
            f"{column!r} in {file} must hold the bytes of image files, or the structure {{bytes, path}} of Hugging "
            f"Face, got {schema.field(column).type}: name another column in data.image"
        )


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """Errors in a parquet file name it."""
    import pyarrow as pa

    try:
        yield
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{file} is not a parquet file, or damaged ({reason}): write it again") from error
