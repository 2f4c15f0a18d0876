"""A dataset in one `.npz`: arrays of images, signals or features beside votes, shares or hard labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.columns import Columns, read_npz
from foldstill.data.dataset import Dataset, Inputs, group_column
from foldstill.data.label_columns import LabelColumns, require_one_form
from foldstill.data.source import PlainSource
from foldstill.data.text import as_strings
from foldstill.errors import DataError

if TYPE_CHECKING:
    from typing import Self


MAX_BYTE = 255
BEYOND_ONE = 2.0
"""A value that resampling does not reach from values up to 1."""
ENOUGH = 10
"""Number of images of which one is surely not nearly black."""


@dataclass(frozen=True, kw_only=True)
class NpzData(PlainSource, kind="npz", title="NPZ file"):
    """Reads images, signals or features and their labels from one NumPy .npz file.

    Name the keys of its inputs and of one of votes, shares, annotators, heads or labels.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/d.npz", x=np.zeros((4, 8, 8, 3), np.uint8), y=[0, 1, 1, 0], patient=[1, 1, 2, 3])
    ...     dataset = NpzData(path="d.npz", images="x", labels="y", group="patient").load(Path(folder))
    >>> dataset.labels.votes_NC.sum(axis=0).tolist()
    [2.0, 2.0]
    """

    path: str
    """The file. A relative path starts at the folder of the experiment file."""
    images: str = ""
    """Key of images (N, H, W, channels) or (N, H, W), the view named `image`. Floats from 0 to 1 and from 0 to 255 are
    told apart: a model that learned one refuses the other."""
    signals: str = ""
    """Key of signals (N, channels, T), the view named `signal`."""
    features: str = ""
    """Key of numbers (N, F), the view named `features`; NaN is a missing value."""
    views: Mapping[str, str] = field(default_factory=dict)
    """Further views: key of the array, then name of the view."""
    votes: str = ""
    """Key of vote counts (N, C)."""
    shares: str = ""
    """Key of vote shares (N, C); rows sum to 1."""
    total: str | float = 1.0
    """With shares: key of the number of votes per row, or one number for all rows."""
    annotators: str = ""
    """Key of the class index that each annotator chose (N, annotators); -1 or NaN where an annotator did not vote."""
    heads: str = ""
    """Key of the labels of a multi-label problem (N, H): 1, 0 or a share between them, NaN where it is not known. Each
    head is a question of its own, and members have one sigmoid output per head."""
    labels: str = ""
    """Key of hard labels (N,): class indices or names."""
    classes: str | tuple[str, ...] = ""
    """Key of the names of classes or heads, or the names themselves."""
    id: str = ""
    """Key of the ids. The row numbers when empty."""
    group: str | tuple[str, ...] = ""
    """Key of what must not be split between folds. `content` puts pixel-identical inputs into one group. Both may be
    given."""
    stratum: str = ""
    """Key of the stratum of each row. By number of votes when empty."""

    def __post_init__(self) -> None:
        if not self.path:
            raise DataError("data.path is empty: name the .npz file")
        if not (self.images or self.signals or self.features or self.views):
            raise DataError("data names no input: set images, signals, features or views to keys of the .npz")
        usual = {"image": self.images, "signal": self.signals, "features": self.features}
        names = [*(view for view, key in usual.items() if key), *self.views.values()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise DataError(
                f"data.views names the view {twice[0]!r} twice: images, signals and features become the views 'image', "
                "'signal' and 'features', so give other arrays other names"
            )
        forms = {name: getattr(self, name) for name in ("votes", "shares", "annotators", "heads", "labels")}
        require_one_form("data", forms, self.total)
        group_column(self.group)

    @classmethod
    def example(cls, folder: Path) -> "tuple[Self, Path]":
        images = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4, 1)
        np.savez(folder / "data.npz", images=images, labels=np.array(["a", "b"] * 3), id=np.arange(6))
        return cls(path="data.npz", images="images", labels="labels", id="id"), folder / "data.npz"

    def load(self, root: Path) -> Dataset:
        """Load the dataset; raises DataError for a missing file or key, with a list of the keys in the file."""
        arrays = read_npz(root / self.path)
        views = self._views(arrays)
        recipes = {name: {"scaling": scale} for name, scale in self._scales(views).items()}
        dataset = Dataset(self._label_columns.read(arrays), views, recipes=recipes)
        return dataset.grouped_by(self.group, next(iter(views)))

    def inputs(self, path: Path) -> Inputs:
        """New rows from another `.npz` with the same keys. The row numbers are the ids when it has none."""
        arrays = read_npz(path)
        views = self._views(arrays)
        n = len(next(iter(views.values())))
        ids = arrays.get(self.id, "ids") if self.id and self.id in arrays else np.arange(n)
        recipes = {name: {"scaling": scale} for name, scale in self._scales(views).items()}
        return Inputs(as_strings(ids, "ids"), views, recipes=recipes)

    def _scales(self, views: Mapping[str, NDArray[Any]]) -> dict[str, str]:
        """The scale of the images, where their values tell it."""
        scale = float_scale(views["image"]) if "image" in views else ""
        return {"image": scale} if scale else {}

    def _views(self, arrays: Columns) -> dict[str, NDArray[Any]]:
        views = {self.views[key]: arrays.get(key, "views") for key in self.views}
        if self.images:
            views["image"] = _channels_last(arrays.get(self.images, "images"), self.images)
        if self.signals:
            views["signal"] = arrays.get(self.signals, "signals")
        if self.features:
            views["features"] = arrays.get(self.features, "features")
        return views

    @property
    def _label_columns(self) -> LabelColumns:
        return LabelColumns.of(self, label=self.labels, group=group_column(self.group))


def float_scale(images: NDArray[Any]) -> str:
    """`black 0, white 1` or `black 0, white 255` for floats that are surely one of both; empty for all other images.

    Integers show their scale by their type, floats only by their values.

    >>> rows = np.linspace(0, 1, 64).reshape(16, 2, 2, 1)
    >>> float_scale(rows), float_scale(255 * rows), float_scale(rows - 0.5)
    ('black 0, white 1', 'black 0, white 255', '')
    """
    if images.dtype.kind != "f" or not images.size or images.min() < 0 or images.max() > MAX_BYTE:
        return ""
    if images.max() > BEYOND_ONE:
        return f"black 0, white {MAX_BYTE}"
    # A few rows, or zeros and ones alone, may be nearly black images of bytes.
    return "black 0, white 1" if len(images) >= ENOUGH and images.max() <= 1 and (images % 1 > 0).any() else ""


def _channels_last(images: NDArray[Any], key: str) -> NDArray[Any]:
    if images.ndim == 3:
        return images[..., None]
    if images.ndim == 4 and images.shape[1] <= 4 < images.shape[3]:
        raise DataError(
            f"images {key!r} of shape {images.shape} look channels-first, wanted (N, H, W, channels): "
            "transpose them with numpy.moveaxis(images, 1, -1)"
        )
    return images
