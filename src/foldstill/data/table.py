"""A data set of features in one CSV or parquet file, with the labels of the same rows.

N rows, F features.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foldstill.data.columns import Columns, read_columns
from foldstill.data.dataset import Dataset, Inputs, group_column
from foldstill.data.features import FeatureTable
from foldstill.data.folds import whole_folds
from foldstill.data.label_columns import LabelColumns, LabelledTable
from foldstill.data.source import PlainSource
from foldstill.data.text import as_strings
from foldstill.errors import DataError, at

if TYPE_CHECKING:
    from typing import Self

VIEW = "features"
"""The view that a feature table gives."""


@dataclass(frozen=True, kw_only=True)
class TableData(LabelledTable, PlainSource, kind="table", title="Feature table"):
    """Reads features and labels from one CSV or parquet file, one row per sample.

    Name the columns of one of votes, shares, annotators, heads or label. Every column that plays no other role is a
    feature of the view `features`. Columns of text and pandas categories are categories; an empty cell is a missing
    value.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     text = "id,carat,color,cut\\na,0.3,E,Good\\nb,,D,Fair\\nc,1.2,E,Good\\n"
    ...     _ = Path(folder, "d.csv").write_text(text)
    ...     dataset = TableData(path="d.csv", label="cut", id="id").load(Path(folder))
    >>> [str(feature) for feature in dataset.view("features").features]
    ['carat (number)', 'color (category with 2 levels)']
    """

    path: str
    """The CSV or parquet file. A relative path starts at the folder of the experiment file."""
    features: tuple[str, ...] = ()
    """Columns of the features; every column that plays no other role when empty."""
    categories: tuple[str, ...] = ()
    """Features whose numbers name categories, such as postcodes."""
    id: str = ""
    """Column of the ids. The row numbers when empty."""
    group: str | tuple[str, ...] = ""
    """Column of what must not be split between folds. `content` puts rows with equal features into one group. Both may
    be given."""
    weight: str = ""
    """Column of the sample weights. All rows weigh the same when empty."""
    fold: str = ""
    """Column of the fold of each row, -1 for locked rows. It takes the place of the settings of `folds`."""
    ignored: tuple[str, ...] = ()
    """Columns that play no role, where `features` is empty."""

    def __post_init__(self) -> None:
        if not self.path:
            raise DataError("data.path is empty: name the CSV or parquet file")
        self.require_labels()
        group_column(self.group)
        if both := sorted(set(self.features) & self._roles):
            raise DataError(
                f"data.features names {both[0]!r}, which plays another role: leave it out, or a member would read the "
                "answer"
            )
        if self.features and self.ignored:
            raise DataError("data.ignored has no effect where data.features names the features: leave it out")

    @classmethod
    def example(cls, folder: Path) -> "tuple[Self, Path]":
        lines = [f"{n},{n % 3 or ''},{'red' if n % 2 else 'blue'},{'a' if n < 6 else 'b'}" for n in range(12)]
        (folder / "data.csv").write_text("\n".join(["id,size,color,label", *lines]), encoding="utf-8")
        return cls(path="data.csv", label="label", id="id"), folder / "data.csv"

    def load(self, root: Path) -> Dataset:
        """Load the data set; raises DataError that names a column which is missing or cannot be a feature."""
        file = read_columns(root / self.path)
        names = self.features or tuple(name for name in file.arrays if name not in self._roles)
        if not names:
            raise DataError(f"{file.path} has no column left for a feature, it has {file.listing}: name more columns")
        table, labels = self._table(file, names), self._label_columns.read(file)
        fold_N = whole_folds(file.get(self.fold, "fold"), f"{self.fold!r} in {file.path}") if self.fold else None
        return Dataset(labels, {VIEW: table}, fold_N=fold_N).grouped_by(self.group, VIEW)

    def inputs(self, path: Path) -> Inputs:
        """New rows of another file with the same columns. The row numbers are the ids when it has none."""
        file = read_columns(path)
        names = self.features or tuple(name for name in file.arrays if name not in self._roles)
        table = self._table(file, names)
        ids = file.text(self.id, "id") if self.id and self.id in file else np.arange(len(table))
        return Inputs(as_strings(ids, f"ids in {path}"), {VIEW: table})

    def _table(self, file: Columns, names: tuple[str, ...]) -> FeatureTable:
        columns = {
            name: file.text(name, "features") if name in self.categories else file.get(name, "features")
            for name in names
        }
        with at(file.path):
            return FeatureTable.of(columns, self.categories)

    @property
    def _roles(self) -> set[str]:
        """The columns that are no features."""
        single = (self.id, self.weight, self.fold, group_column(self.group))
        return {*self.named_columns, *single, *self.ignored} - {""}

    @property
    def _label_columns(self) -> LabelColumns:
        return self.label_columns(group=group_column(self.group), sample_weight=self.weight)
