"""Inputs and labels of the same samples; each input has the name of a view."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.arguments import require_types
from foldstill.data.array_cache import stored_beside
from foldstill.data.features import FeatureTable, View, as_view, view_digest
from foldstill.data.labels import Labels
from foldstill.data.row_form import Recipe
from foldstill.data.text import Strings
from foldstill.digests import digest
from foldstill.errors import DataError

_BLOCK_ROWS = 256


@dataclass(frozen=True)
class Dataset:
    """Labels and the values of each view, all of the same samples.

    Parameters
    ----------
    labels : Labels
        Votes, ids and groups of N samples.
    views : mapping of str to array
        Name of a view to images (N, H, W, channels), uint8 or float, signals (N, channels, T), float or integer, or
        features: a pandas or polars frame or an array (N, F), which becomes a `FeatureTable`. Arrays may be memory
        maps.
    units_N : array of str, shape (N,), optional
        Name of the unit, such as a recording, of which each row is one of several windows. None by default: each row is
        its own unit.
    recipes : mapping of str to mapping, optional
        Name of a view to how its inputs were prepared, as JSON values such as size and scaling. It is kept with the
        models, and new rows that were prepared otherwise are refused.
    fold_N : array of int, shape (N,), optional
        Fold of each row, -1 for locked rows, where the data come with folds. None by default: folds are made.

    Raises
    ------
    DataError
        If there is no view, or a view has other rows than the labels, is neither images, signals nor features, or is
        not finite; features may be missing (NaN).

    Examples
    --------
    >>> import numpy as np, foldstill as fs
    >>> labels = fs.Labels.from_hard([0, 1, 1], classes=["cat", "dog"])
    >>> fs.Dataset(labels, {"image": np.zeros((3, 32, 32, 3), np.uint8)}).view("image").shape
    (3, 32, 32, 3)
    """

    labels: Labels
    views: Mapping[str, View] = field(default_factory=dict)
    units_N: Strings | None = None
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    fold_N: NDArray[np.int16] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.views, Mapping):
            object.__setattr__(self, "views", {name: as_view(values) for name, values in self.views.items()})
        require_types(Dataset, vars(self))
        if self.units_N is not None and self.units_N.dtype.kind not in "UT":
            raise DataError(f"units_N must hold text, got {self.units_N.dtype}: give the name of the unit of each row")
        if self.units_N is not None and len(self.units_N) != len(self.labels):
            raise DataError(f"units_N has {len(self.units_N)} rows, the labels {len(self.labels)}: align them")
        if not self.views:
            raise DataError(
                "a dataset needs at least one view: pass images (N, H, W, channels), signals (N, channels, T) or "
                "features (N, F)"
            )
        for name, array in self.views.items():
            if array.ndim not in (2, 3, 4):
                raise DataError(
                    f"view {name!r} must be images (N, H, W, channels), signals (N, channels, T) or features (N, F), "
                    f"got shape {array.shape}: add the missing axis"
                )
            if len(array) != len(self.labels):
                raise DataError(f"view {name!r} has {len(array)} rows, the labels {len(self.labels)}: align them")
            if array.dtype.kind not in "uif":
                raise DataError(f"view {name!r} must hold numbers, got {array.dtype}")
            require_finite(name, array, self.labels.ids)
            if isinstance(array, FeatureTable) and (empty := array.empty):
                raise DataError(
                    f"view {name!r}: feature {empty[0]!r} is missing in every row: leave the column out (data.ignored "
                    "in an experiment file)"
                )

    def view(self, name: str) -> View:
        """The values of one view; raises DataError that lists the views if there is none of this name."""
        if name not in self.views:
            raise DataError(
                f"no view {name!r}, the dataset has {sorted(self.views)}: name one of these in the member's `view`"
            )
        return self.views[name]

    @cached_property
    def digest(self) -> str:
        """Digest of labels and inputs; everything that is trained on this data records it."""
        parts = [part for name in sorted(self.views) for part in (name, view_digest(self.views[name]))]
        return digest(self.labels.digest, *parts, *(() if self.units_N is None else (self.units_N,)))

    def grouped_by(self, group: str | tuple[str, ...], view: str) -> "Dataset":
        """The dataset, with rows of equal content in a view in one group where the setting `group` asks for it."""
        return self.grouped_by_content(view) if group == CONTENT or CONTENT in tuple(group) else self

    def grouped_by_content(self, view: str) -> "Dataset":
        """The dataset with groups merged that share an identical input of this view."""
        groups = content_groups(self.view(view), self.labels.groups)
        return replace(self, labels=replace(self.labels, groups=groups))


def one_of_each(
    units_N: NDArray[Any], rows: NDArray[np.intp], *, epoch: int | None = None, seed: int = 0
) -> NDArray[np.intp]:
    """One row of each unit among `rows`: a random row that changes with the epoch, or the middle row without an epoch.

    Train with an epoch and validate without one: otherwise chance decides which epoch looks best.
    """
    rows = np.asarray(rows)
    _, unit = np.unique(units_N[rows], return_inverse=True)
    order = np.argsort(unit, kind="stable")
    count = np.bincount(unit)
    start = np.cumsum(count) - count
    pick = count // 2 if epoch is None else np.random.default_rng([seed, epoch]).integers(count)
    return np.sort(rows[order[start + pick]])


CONTENT = "content"
"""The name of a group that puts identical inputs into one group."""


def group_column(group: str | tuple[str, ...]) -> str:
    """The key or column in a `group` setting without CONTENT, or ""; raises DataError when there are several."""
    names = [name for name in ((group,) if isinstance(group, str) else group) if name and name != CONTENT]
    if len(names) > 1:
        raise DataError(f"data.group names {names}: give one key or column, with or without {CONTENT!r}")
    return names[0] if names else ""


@dataclass(frozen=True)
class Inputs:
    """Samples without labels, to be predicted: ids and the values of each view."""

    ids: Strings
    views: Mapping[str, View]
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    """How the rows of each view were prepared, where that is known."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "views", {name: as_view(values) for name, values in self.views.items()})
        for name, array in self.views.items():
            require_finite(name, array, self.ids)


def require_finite(view: str, array: View, ids: Strings) -> None:
    """Raises DataError with the first ids whose row of a view holds NaN or infinity."""
    if array.dtype.kind != "f" or isinstance(array, FeatureTable):
        return  # features may be missing, and their table refuses infinity
    bad: list[str] = []
    for start in range(0, len(array), _BLOCK_ROWS):
        block = array[start : start + _BLOCK_ROWS]
        if not np.isfinite(block).all():
            lost = ~np.isfinite(block).reshape(len(block), -1).all(axis=1)
            bad += ids[start : start + _BLOCK_ROWS][lost].tolist()
    if bad:
        raise DataError(
            f"view {view!r} must be finite, {len(bad)} of {len(array)} rows hold NaN or infinity; first: {bad[:3]}: "
            "fill the missing values or drop these rows"
        )


def content_of(view: View, rows: NDArray[np.intp] | None = None) -> Strings:
    """A digest of the content of each row, (N,), or of these rows only."""
    array = view.values_NF if isinstance(view, FeatureTable) else view
    stored = stored_beside(array, "content")
    if stored is not None:
        return np.asarray([each.tobytes().hex() for each in (stored if rows is None else stored[rows])])
    return np.asarray([content_digest(row).hex() for row in (array if rows is None else (array[row] for row in rows))])


CONTENT_BYTES = 16


def content_digest(row: NDArray[Any]) -> bytes:
    """Digest of the content of one row."""
    return hashlib.blake2b(np.ascontiguousarray(row).data, digest_size=CONTENT_BYTES).digest()


def content_groups(array: View, groups: Strings) -> Strings:
    """Groups of the rows of `array` (N, ...), with groups merged that share an identical input.

    Copies of one input under different ids would otherwise be split between folds. A merged group takes the name of the
    group of its first row.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(groups)
    content = content_of(array)
    _, by_group = np.unique(groups, return_inverse=True)
    _, by_content = np.unique(content, return_inverse=True)
    # Rows, groups and contents are the nodes of one graph; each connected component is one group.
    rows = np.arange(n)
    source = np.concatenate([rows, rows])
    sink = np.concatenate([n + by_group, n + by_group.max() + 1 + by_content])
    size = n + by_group.max() + 1 + by_content.max() + 1
    _, part = connected_components(coo_array((np.ones(2 * n), (source, sink)), shape=(size, size)), directed=False)
    _, first, inverse = np.unique(part[:n], return_index=True, return_inverse=True)
    return groups[first][inverse]
