"""A data set in one `.npz`: arrays of images or signals beside votes, shares or hard labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.columns import Columns, read_npz
from foldstill.data.dataset import CONTENT, Dataset, Inputs, group_column
from foldstill.data.labels import Labels, as_strings
from foldstill.errors import DataError
from foldstill.settings import Settings


@dataclass(frozen=True, kw_only=True)
class NpzData(Settings):
    """Where the arrays of a data set are in an `.npz`; one of votes, shares, annotators or labels is named."""

    kind: Literal["npz"] = "npz"
    path: str
    """The file; a relative path starts at the experiment file's folder."""
    images: str = ""
    """Key of images (N, H, W, channels) or (N, H, W), the view named `image`."""
    signals: str = ""
    """Key of signals (N, channels, T), the view named `signal`."""
    views: Mapping[str, str] = field(default_factory=dict)
    """Further views: key of the array -> name of the view."""
    votes: str = ""
    """Key of vote counts (N, C)."""
    shares: str = ""
    """Key of vote shares (N, C), rows summing to one."""
    total: str | float = 1.0
    """With shares: key of the number of votes behind each row, or one number for all rows."""
    annotators: str = ""
    """Key of the class each annotator chose (N, annotators); -1 or NaN where one did not vote."""
    labels: str = ""
    """Key of hard labels (N,): class index or name."""
    classes: str | tuple[str, ...] = ""
    """Key of the class names, or the names themselves."""
    id: str = ""
    """Key of the ids; the row number when empty."""
    group: str | tuple[str, ...] = ""
    """Key of what must not be split between folds; `content` makes pixel-identical inputs one group; or both."""
    stratum: str = ""
    """Key of the stratum of each row; by number of votes when empty."""

    def __post_init__(self) -> None:
        if not self.path:
            raise DataError("data.path is empty: name the .npz file")
        if not (self.images or self.signals or self.views):
            raise DataError("data names no input: set images, signals or views to keys of the .npz")
        named = [name for name in ("votes", "shares", "annotators", "labels") if getattr(self, name)]
        if len(named) != 1:
            raise DataError(
                f"data must name one of votes, shares, annotators or labels, got {named or 'none'}: keep one"
            )
        if self.total != 1.0 and not self.shares:
            raise DataError("data.total goes with data.shares only: counts and hard labels carry their own total")
        group_column(self.group)

    def load(self, root: Path) -> Dataset:
        """The data set; raises DataError for a missing file or key, listing the keys there are."""
        arrays = read_npz(root / self.path)
        views = self._views(arrays)
        dataset = Dataset(self._labels(arrays), views)
        by_content = self.group == CONTENT or CONTENT in tuple(self.group)
        return dataset.grouped_by_content(next(iter(views))) if by_content else dataset

    def inputs(self, path: Path) -> Inputs:
        """New rows in another `.npz` with the same keys; ids are the row numbers when it has none."""
        arrays = read_npz(path)
        views = self._views(arrays)
        n = len(next(iter(views.values())))
        ids = arrays.get(self.id, "ids") if self.id and self.id in arrays else np.arange(n)
        return Inputs(as_strings(ids, "ids"), views)

    def _views(self, arrays: Columns) -> dict[str, NDArray[Any]]:
        views = {self.views[key]: arrays.get(key, "views") for key in self.views}
        if self.images:
            views["image"] = _channels_last(arrays.get(self.images, "images"), self.images)
        if self.signals:
            views["signal"] = arrays.get(self.signals, "signals")
        return views

    def _labels(self, arrays: Columns) -> Labels:
        columns: dict[str, Any] = {}
        for name, key in (("ids", self.id), ("groups", group_column(self.group)), ("stratum", self.stratum)):
            if key:
                columns[name] = arrays.get(key, name)
        classes = self._classes(arrays)
        if self.votes:
            return Labels.from_votes(arrays.get(self.votes, "votes"), classes=classes, **columns)
        if self.shares:
            total = arrays.get(self.total, "total") if isinstance(self.total, str) else self.total
            return Labels.from_shares(arrays.get(self.shares, "shares"), total, classes=classes, **columns)
        if self.annotators:
            return Labels.from_annotators(arrays.get(self.annotators, "annotators"), classes=classes, **columns)
        return Labels.from_hard(arrays.get(self.labels, "labels"), classes=classes, **columns)

    def _classes(self, arrays: Columns) -> tuple[str, ...] | None:
        if not self.classes:
            return None
        names = arrays.get(self.classes, "classes").tolist() if isinstance(self.classes, str) else self.classes
        return tuple(str(name) for name in names)


def _channels_last(images: NDArray[Any], key: str) -> NDArray[Any]:
    if images.ndim == 3:
        return images[..., None]
    if images.ndim == 4 and images.shape[1] <= 4 < images.shape[3]:
        raise DataError(
            f"images {key!r} of shape {images.shape} look channels-first, wanted (N, H, W, channels): "
            "transpose them with numpy.moveaxis(images, 1, -1)"
        )
    return images
