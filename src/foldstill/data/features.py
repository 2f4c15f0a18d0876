"""Feature tables: the view of a sample whose columns are numbers and categories.

N samples (rows), F features.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.array_cache import stored_digest
from foldstill.data.classes import in_order
from foldstill.data.columns import series_array
from foldstill.data.text import as_strings, is_missing
from foldstill.digests import digest, rows_digest
from foldstill.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Feature:
    """One column of a feature table.

    Examples
    --------
    >>> print(Feature("depth"), Feature("color", ("D", "E")), sep="; ")
    depth (number); color (category with 2 levels)
    """

    name: str
    levels: tuple[str, ...] | None = None
    """Names of the categories; None for a column of numbers."""

    @property
    def kind(self) -> str:
        return "number" if self.levels is None else "category"

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}" + ("" if self.levels is None else f" with {len(self.levels)} levels") + ")"


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """The features of N samples: one matrix of floats, and the name and kind of each column.

    A category is stored as the position of its level, and a missing value of either kind as NaN. The matrix is a plain
    array, so that processes share it by memory map. Indexing selects rows.

    Parameters
    ----------
    values_NF : array of float, shape (N, F)
        Numbers, and positions of levels; NaN where a value is missing.
    features : tuple of Feature
        Name and levels of each column.

    Raises
    ------
    DataError
        For repeated names, infinite values, and positions that are not those of a level.

    Examples
    --------
    >>> import pandas as pd
    >>> table = FeatureTable.of(pd.DataFrame({"carat": [0.2, None, 1.1], "color": ["E", "D", "E"]}))
    >>> table.shape, table.features[1].levels, table.values_NF[:, 1].tolist()
    ((3, 2), ('D', 'E'), [1.0, 0.0, 1.0])
    """

    values_NF: NDArray[np.floating[Any]]
    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        values, names = self.values_NF, self.names
        if values.ndim != 2 or values.dtype.kind != "f" or values.shape[1] != len(names) or not names:
            raise DataError(
                f"a feature table must be a matrix of floats (rows, features) with {len(names)} named columns, got "
                f"{values.dtype} of shape {values.shape}"
            )
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise DataError(f"features must have different names, {repeated[:3]} appear twice: rename one")
        if np.isinf(values).any():
            wrong = [name for name, lost in zip(names, np.isinf(values).any(axis=0), strict=True) if lost]
            raise DataError(f"feature {wrong[0]!r} holds infinite values: give finite numbers, or leave them empty")
        for index, feature in enumerate(self.features):
            if feature.levels is not None:
                code_N = values[:, index][~np.isnan(values[:, index])]
                if not np.isin(code_N, np.arange(len(feature.levels))).all():
                    raise DataError(
                        f"feature {feature.name!r} has {len(feature.levels)} levels, got codes from {code_N.min():g} "
                        f"to {code_N.max():g}: make the table with FeatureTable.of"
                    )

    @classmethod
    def of(cls, values: Any, categories: Sequence[str] = ()) -> "FeatureTable":
        """The feature table of a pandas or polars frame, of a mapping of columns, or of an array (N, F).

        Text and pandas categories become categories, and so do the columns named in `categories`. The columns of an
        array are numbers, named f0, f1 and so on.
        """
        if isinstance(values, FeatureTable):
            return values
        if isinstance(values, np.ndarray):
            if values.ndim != 2 or values.dtype.kind not in "fiub":
                raise DataError(
                    f"features must be an array of numbers (rows, features), got {values.dtype} of shape "
                    f"{values.shape}: give a frame where columns are of different types"
                )
            numbers = values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
            return cls(numbers, tuple(Feature(f"f{index}") for index in range(values.shape[1])))
        columns = values if isinstance(values, Mapping) else _columns_of(values)
        if not columns:
            raise DataError("features must have one column or more, got none")
        if lost := sorted(set(categories) - set(columns)):
            raise DataError(f"categories name {lost[0]!r}, which is none of the features {list(columns)}: rename it")
        made = [_column(name, column, category=name in categories) for name, column in columns.items()]
        return cls(np.stack([value_N for _, value_N in made], axis=1), tuple(feature for feature, _ in made))

    def __len__(self) -> int:
        return len(self.values_NF)

    def __getitem__(self, rows: Any) -> "FeatureTable":
        """The rows selected by a slice, an index or a mask."""
        return replace(self, values_NF=self.values_NF[rows])

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)

    @property
    def shape(self) -> tuple[int, int]:
        n, f = self.values_NF.shape
        return n, f

    @property
    def ndim(self) -> int:
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values_NF.dtype

    @property
    def categories(self) -> list[int]:
        """Positions of the columns that are categories."""
        return [index for index, feature in enumerate(self.features) if feature.levels is not None]

    @property
    def empty(self) -> list[str]:
        """Names of the columns without any value."""
        lost_F = np.isnan(self.values_NF).all(axis=0)
        return [name for name, lost in zip(self.names, lost_F, strict=True) if lost]

    def observed(self) -> tuple[Feature, ...]:
        """The features with those levels only that a row has."""
        kept = []
        for feature, value_N in zip(self.features, self.values_NF.T, strict=True):
            if feature.levels is not None:
                codes = np.unique(value_N[~np.isnan(value_N)]).astype(int)
                feature = replace(feature, levels=tuple(feature.levels[code] for code in codes))
            kept.append(feature)
        return tuple(kept)

    def aligned(self, features: Sequence[Feature], owner: str = "the model") -> "FeatureTable":
        """The same rows with these features in this order, matched by name; other columns are left out.

        A level that `features` does not have becomes a missing value. Raises DataError for a column that is missing or
        of another kind; `owner` says in the message whose features they are.
        """
        if tuple(features) == self.features:
            return self
        position = {name: index for index, name in enumerate(self.names)}
        if lost := [feature.name for feature in features if feature.name not in position]:
            raise DataError(
                f"{owner} wants the features {[feature.name for feature in features][:12]}, and the rows lack "
                f"{lost[:3]}: give every feature under the name that it had in training"
            )
        columns = []
        for feature in features:
            own, value_N = self.features[position[feature.name]], self.values_NF[:, position[feature.name]]
            # A column without any value has no kind of its own.
            if feature.kind != own.kind and not np.isnan(value_N).all():
                raise DataError(
                    f"{owner} wants feature {feature.name!r} as a {feature.kind}, as in training, got a {own.kind}: "
                    f"{_KIND_CURE[feature.kind]}"
                )
            columns.append(_recoded(value_N, own.levels, feature.levels))
        return FeatureTable(np.stack(columns, axis=1), tuple(features))

    def frame(self) -> "pd.DataFrame":
        """The table as a pandas frame; categories have the dtype `category`."""
        import pandas as pd

        if all(feature.levels is None for feature in self.features):
            # One block of numbers, which scikit-learn takes without another copy.
            return pd.DataFrame(self.values_NF, columns=[feature.name for feature in self.features], copy=True)
        columns: dict[str, Any] = {}
        for feature, value_N in zip(self.features, self.values_NF.T, strict=True):
            if feature.levels is None:
                columns[feature.name] = value_N
            else:
                codes: NDArray[np.int64] = np.where(np.isnan(value_N), -1, value_N).astype(np.int64)
                columns[feature.name] = pd.Categorical.from_codes(codes, categories=pd.Index(feature.levels))
        return pd.DataFrame(columns)

    def joined(self, more: "FeatureTable") -> "FeatureTable":
        """These rows, and further rows with the same features after them."""
        return replace(self, values_NF=np.concatenate([self.values_NF, more.aligned(self.features).values_NF]))


View = NDArray[Any] | FeatureTable
"""The values of one view: images, signals or features; the rows come first."""


def array_of(view: View, name: str) -> NDArray[Any]:
    """The array of a view of images or signals; raises DataError for a table of features."""
    if isinstance(view, FeatureTable):
        raise DataError(f"the view {name!r} is a table of features, wanted images or signals: name another view")
    return view


def as_view(values: Any) -> Any:
    """A frame or an array (N, F) as a feature table; anything else is left as it is."""
    is_matrix = isinstance(values, np.ndarray) and values.ndim == 2 and values.dtype.kind in "fiub"
    return FeatureTable.of(values) if is_matrix or _is_frame(values) else values


def features_as_json(features: Sequence[Feature]) -> list[dict[str, Any]]:
    """Names and levels of features as JSON values."""
    return [{"name": each.name, "levels": None if each.levels is None else list(each.levels)} for each in features]


def view_digest(view: View, rows: NDArray[np.intp] | None = None) -> str:
    """Digest of the values of a view, or of some of its rows.

    An array of a cache is not read: its sidecar has the digest of its values.
    """
    if isinstance(view, FeatureTable):
        table = view if rows is None else view[rows]
        return digest(table.values_NF, features_as_json(table.features))
    stored = stored_digest(view)
    if rows is None:
        return stored or digest(view)
    return rows_digest(view, rows) if stored is None else digest(stored, np.asarray(rows))


_KIND_CURE = {
    "number": "write plain numbers",
    "category": "give text, or name the column in `categories`",
}


def _is_frame(values: Any) -> bool:
    """Whether this is a frame of pandas or polars; neither is imported to see it."""
    return hasattr(values, "columns") and hasattr(values, "to_numpy") and not isinstance(values, np.ndarray)


def _columns_of(frame: Any) -> dict[str, Any]:
    """The columns of a frame by name, as arrays; pandas categories as objects, which are never numbers."""
    if not _is_frame(frame):
        raise DataError(
            f"features must be a pandas or polars frame, or an array (rows, features), got {type(frame).__name__}"
        )
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise DataError(f"features must have different names, got {names}: rename one")
    columns = [frame[name] for name in frame.columns]
    if type(frame).__module__.startswith("polars"):
        return dict(zip(names, (column.to_numpy() for column in columns), strict=True))
    return dict(zip(names, map(series_array, columns), strict=True))


def _column(name: str, values: Any, *, category: bool) -> tuple[Feature, NDArray[np.floating[Any]]]:
    """A column with its values as floats; text, objects and what is named a category are categories."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"feature {name!r} must have one value per row, got shape {array.shape}")
    if array.dtype.kind in "mM":
        raise DataError(
            f"feature {name!r} holds dates or times ({array.dtype}): give numbers, such as days since a fixed date"
        )
    if array.dtype.kind in "fiub" and not category:
        return Feature(name), array.astype(np.float64, copy=False)
    if array.dtype.kind not in "fiubOUST":
        raise DataError(f"feature {name!r} must hold numbers or text, got {array.dtype}")
    entries = array.tolist()
    missing_N = np.asarray([is_missing(entry) for entry in entries], dtype=bool)
    if missing_N.all():
        return Feature(name), np.full(len(array), np.nan)
    present = array[~missing_N]
    level_N = as_strings(present if present.dtype.kind != "O" else np.asarray(present.tolist(), object), name)
    levels, code_N = np.unique(level_N, return_inverse=True)
    order = in_order(levels.tolist())
    position = {level: float(index) for index, level in enumerate(order)}
    value_N = np.full(len(array), np.nan)
    value_N[~missing_N] = np.asarray([position[level] for level in levels.tolist()])[code_N]
    return Feature(name, tuple(order)), value_N


def _recoded(
    value_N: NDArray[np.floating[Any]], levels: Iterable[str] | None, wanted: tuple[str, ...] | None
) -> NDArray[np.floating[Any]]:
    """Positions of levels as positions in other levels; NaN for a level that is not among them."""
    if wanted is None or levels is None or tuple(levels) == wanted:
        return value_N
    position = {level: float(index) for index, level in enumerate(wanted)}
    code = np.asarray([*(position.get(level, np.nan) for level in levels), np.nan])
    return np.asarray(code[np.where(np.isnan(value_N), -1, value_N).astype(int)])
