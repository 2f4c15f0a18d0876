"""A dataset of images in WebDataset shards: tar files whose members of one name are one sample.

`cat/17.jpg`, `cat/17.cls` and `cat/17.json` are the image, the class and further facts of the sample `cat/17`.
"""

import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from foldstill.data.array_filling import Backend, Rows
from foldstill.data.columns import Columns
from foldstill.data.dataset import group_column
from foldstill.data.image_cache import PART_ROWS, Encoded, sizes_and_times
from foldstill.data.image_source import ImageSource
from foldstill.data.images import IMAGE_SUFFIXES
from foldstill.errors import DataError

if TYPE_CHECKING:
    from typing import Self

    from foldstill.data.labels import Labels
    from foldstill.data.text import Strings

KEY = "__key__"
"""Column of the names of the samples, as WebDataset calls it."""

PICKLES = ("pyd", "pickle", "pkl", "pth", "pt", "npy", "npz")
"""Members that can hold Python objects, which are never opened."""


@dataclass(frozen=True, kw_only=True)
class WebDatasetData(ImageSource, kind="webdataset", title="WebDataset shards"):
    """Reads images and their labels from tar files in the format of WebDataset.

    A label is a member of text, such as `cls`, or a key of the member `json`: name those of one of votes, shares,
    annotators or label. Members with pickled Python objects are never opened.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data, _ = WebDatasetData.example(Path(folder))
    ...     dataset = data.load(Path(folder))
    >>> dataset.view("image").shape, dataset.labels.ids.tolist()
    ((4, 8, 8, 3), ['0000', '0001', '0002', '0003'])
    """

    path: str
    """The tar file, or a folder whose tar files are read in the order of their names. A relative path starts at the
    folder of the experiment file."""
    image: str = ""
    """Extension of the images, such as `jpg`, where a sample has several. By default the one image of a sample."""
    id: str = ""
    """Key of the ids in the member `json`. The names of the samples when empty."""
    which_images: ClassVar[tuple[str, ...]] = ("path", "image")

    def __post_init__(self) -> None:
        if not self.path:
            raise DataError("data.path must name tar files, got an empty path: set it")
        self.require_labels()
        super().__post_init__()

    @classmethod
    def example(cls, folder: Path) -> "tuple[Self, Path]":
        from PIL import Image

        with tarfile.open(folder / "shard-000.tar", "w") as shard:
            for shade in range(4):
                with BytesIO() as stream:
                    Image.new("RGB", (8, 8), (60 * shade, 0, 0)).save(stream, "PNG")
                    members = {"png": stream.getvalue(), "cls": b"0" if shade < 2 else b"1"}
                for extension, content in members.items():
                    member = tarfile.TarInfo(f"{shade:04d}.{extension}")
                    member.size = len(content)
                    shard.addfile(member, BytesIO(content))
        return cls(path="shard-000.tar", label="cls", size=8), folder / "shard-000.tar"

    def _labelled(self, root: Path) -> "tuple[TarImages, Labels]":
        images = self._images(root)
        columns = self.label_columns(id=self.id or KEY, group=group_column(self.group))
        return images, columns.read(_columns(images, self._facts))

    def _images(self, root: Path) -> "TarImages":
        return TarImages.of(root / self.path, self.image)

    def _new(self, path: Path) -> "tuple[TarImages, Strings]":
        images = TarImages.of(path, self.image)
        ids = _columns(images, [self.id or KEY]).text(self.id or KEY, "id")
        return images, np.asarray(ids, np.str_)

    @property
    def _facts(self) -> list[str]:
        """What must be known of every sample: members of text, or keys of the member `json`."""
        return [name for name in (self.id or KEY, group_column(self.group), *self.named_columns) if name]


@dataclass(frozen=True)
class Member:
    """Where the bytes of a member of a tar file are."""

    shard: Path
    name: str
    offset: int
    size: int

    def read(self) -> bytes:
        with self.shard.open("rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.size)


@dataclass(frozen=True)
class Sample:
    """The members of one sample by their extension."""

    key: str
    shard: Path
    members: Mapping[str, Member]


@dataclass(frozen=True)
class Members:
    """Images of some samples; their bytes are read when they are needed."""

    members: tuple[Member, ...]

    def __iter__(self) -> Iterator[Encoded]:
        for member in self.members:
            yield f"{member.name} in {member.shard}", member.read()


@dataclass(frozen=True)
class TarImages:
    """One image per sample. The headers of the tar files are read when somebody asks for more than `made_from`."""

    path: Path
    extension: str
    made_from: Mapping[str, Any]
    backend: Backend = "loky"

    @classmethod
    def of(cls, path: Path, extension: str) -> "Self":
        """The images of a tar file, or of the tar files of a folder."""
        shards = _shards(path)
        versions = sizes_and_times(shards, [shard.name for shard in shards])
        return cls(path, extension, {"files": versions, "image": extension})

    @cached_property
    def samples(self) -> list[Sample]:
        """All samples; raises DataError for names that repeat, and where there is none."""
        return read_samples(self.path)

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """The image of each sample; raises DataError naming a sample without one, or with several."""
        return tuple(_image_of(sample, self.extension) for sample in self.samples)

    def __len__(self) -> int:
        return len(self.members)

    def parts(self) -> Iterator[tuple[Rows, Members]]:
        for start in range(0, len(self), PART_ROWS):
            stop = min(start + PART_ROWS, len(self))
            yield tuple(range(start, stop)), Members(self.members[start:stop])


def read_samples(path: Path) -> list[Sample]:
    """The samples of a tar file, or of the tar files of a folder; raises DataError for names that repeat."""
    samples = [sample for shard in _shards(path) for sample in _samples_of(shard)]
    if not samples:
        raise DataError(f"{path} holds no sample: check the command that wrote it")
    seen: dict[str, Sample] = {}
    for sample in samples:
        if sample.key in seen:
            raise DataError(
                f"the sample {sample.key!r} is in {seen[sample.key].shard} and again in {sample.shard}: give each "
                "sample a name of its own"
            )
        seen[sample.key] = sample
    return samples


def _samples_of(shard: Path) -> list[Sample]:
    members: dict[str, dict[str, Member]] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for info in archive:
                folder, _, file = info.name.rpartition("/")
                stem, _, extension = file.partition(".")
                # Hidden files, such as those of macOS, have no name before the first dot.
                if info.isfile() and stem and extension:
                    key = f"{folder}/{stem}" if folder else stem
                    of_sample = members.setdefault(key.removeprefix("./"), {})
                    if extension.lower() in of_sample:
                        raise DataError(f"{shard} holds the member {info.name} twice: write it again")
                    of_sample[extension.lower()] = Member(shard, info.name, info.offset_data, info.size)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(
            f"{shard} is not a tar file without compression ({str(error).splitlines()[0]}): write it again with tar -cf"
        ) from error
    return [Sample(key, shard, found) for key, found in members.items()]


def _shards(path: Path) -> list[Path]:
    """The tar file, or the tar files of the folder, sorted by name."""
    if path.is_dir():
        shards = sorted(each for each in path.iterdir() if each.suffix.lower() == ".tar" and each.name[0] != ".")
        if not shards:
            raise DataError(f"no tar file in {path}: wanted shards that end in .tar, without compression")
        return shards
    if not path.exists():
        raise DataError(f"no file {path}: give a tar file, or a folder of them")
    return [path]


def _image_of(sample: Sample, extension: str) -> Member:
    found = [one for one in sample.members if f".{one}" in IMAGE_SUFFIXES]
    if extension:
        found = [extension.lower()] if extension.lower() in sample.members else []
    if len(found) != 1:
        cure = "name one in data.image" if found else "remove the sample, or name its extension in data.image"
        raise DataError(
            f"the sample {sample.key!r} of {sample.shard} must have one image, it has the members "
            f"{sorted(sample.members)}: {cure}"
        )
    return sample.members[found[0]]


def _columns(images: TarImages, names: Sequence[str]) -> Columns:
    """What is known of every sample by name: the text of a member, or a value of the member `json`."""
    values: dict[str, list[Any]] = {name: [] for name in names}
    for sample in images.samples:
        facts: dict[str, Any] = {KEY: sample.key}
        if "json" in sample.members and not all(name in (KEY, *sample.members) for name in names):
            facts = _json_of(sample) | facts
        for name in names:
            values[name].append(_fact(sample, name, facts))
    return Columns(images.path, {name: _array(of_name) for name, of_name in values.items()})


def _fact(sample: Sample, name: str, facts: Mapping[str, Any]) -> Any:
    if name in PICKLES:
        raise DataError(
            f"members .{name} can hold pickled Python objects, which are never opened: name a member of text such as "
            "cls, or a key of the member json"
        )
    if name in sample.members and name != "json":
        try:
            return sample.members[name].read().decode().strip()
        except ValueError as error:
            raise DataError(f"{sample.members[name].name} in {sample.shard} is no text: name another member") from error
    if isinstance(facts.get(name), list | dict):
        raise DataError(
            f"{name!r} in the member json of the sample {sample.key!r} of {sample.shard} must be one number or text, "
            f"got {facts[name]}: name keys with one value each"
        )
    if name in facts:
        return facts[name]
    known = sorted({*sample.members, *facts} - {KEY})
    raise DataError(
        f"the sample {sample.key!r} of {sample.shard} has no {name!r}, it has {known}: name another member, or a key "
        "of the member json, or remove the sample"
    )


def _json_of(sample: Sample) -> dict[str, Any]:
    """The values of the member `json` of a sample."""
    member = sample.members["json"]
    try:
        found = json.loads(member.read())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{member.name} in {sample.shard} is no JSON ({error}): write the shard again") from error
    return found if isinstance(found, dict) else {}


def _array(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Values of a column: numbers where all are numbers, or text that is written as whole numbers are."""
    if all(isinstance(value, str) for value in values):
        whole = all(value.isdecimal() and str(int(value)) == value for value in values)
        return np.asarray([int(value) for value in values] if whole else values)
    return np.asarray(values) if all(isinstance(value, int | float) for value in values) else np.asarray(values, object)
