"""The columns of a feature table that a model was trained on, and the numbers that a network makes of them.

N samples (rows), F features, E encoded columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.features import Feature, FeatureTable, View, array_of, features_as_json
from foldstill.data.row_form import Recipe, RowForm

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True)
class FeatureForm:
    """The columns that a model was trained on; new rows must have them under the same names and of the same kinds.

    Examples
    --------
    >>> form = FeatureForm((Feature("carat"), Feature("color", ("D", "E"))), gaps=("carat",))
    >>> FeatureForm.from_json(form.as_json()) == form, form.shape
    (True, (2,))
    >>> form.encoded_names
    ('carat', 'carat is missing', 'color = D', 'color = E')
    """

    features: tuple[Feature, ...]
    recipe: Recipe = field(default_factory=dict)
    gaps: tuple[str, ...] = ()
    """Names of the numbers that are missing in some training rows."""

    @classmethod
    def of(cls, table: FeatureTable, recipe: Recipe | None = None) -> "Self":
        """The form of these rows, with those levels only that one of them has."""
        lost_F = np.isnan(table.values_NF).any(axis=0)
        gaps = [each.name for each, lost in zip(table.features, lost_F, strict=True) if lost and each.levels is None]
        return cls(table.observed(), recipe or {}, tuple(gaps))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Self":
        """The form that `as_json` described."""
        return cls(
            tuple(
                Feature(each["name"], None if each["levels"] is None else tuple(each["levels"]))
                for each in value["features"]
            ),
            value["recipe"],
            tuple(value.get("gaps", ())),
        )

    def as_json(self) -> dict[str, Any]:
        """The form as JSON values."""
        return {"features": features_as_json(self.features), "recipe": dict(self.recipe), "gaps": list(self.gaps)}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return (len(self.features),)

    @property
    def encoded_names(self) -> tuple[str, ...]:
        """Names of the E columns that a network gets: the numbers, whether some are missing, and one per level."""
        numbers = [each.name for each in self.features if each.levels is None]
        levels = [f"{each.name} = {level}" for each in self.features for level in each.levels or ()]
        return (*numbers, *(f"{name} is missing" for name in self.gaps), *levels)

    def check(self, view: View, name: str, recipe: Recipe | None = None) -> None:
        """Raises DataError for rows that lack a feature, or have one of another kind."""
        FeatureTable.of(view)[:1].aligned(self.features, f"the view {name!r}")

    def array(self, view: View, name: str) -> NDArray[np.floating[Any]]:
        """The rows (N, F) of a view with these columns; a level that no training row had is a missing value."""
        return FeatureTable.of(view).aligned(self.features, f"the view {name!r}").values_NF

    def __str__(self) -> str:
        return ", ".join(map(str, self.features))


Form = RowForm | FeatureForm
"""What the rows of a view must look like for a model."""


def form_of(view: View, rows: NDArray[np.intp], recipe: Recipe | None = None) -> Form:
    """The form of these rows of a view."""
    if isinstance(view, FeatureTable):
        return FeatureForm.of(view[rows], recipe)
    return RowForm.of(view, recipe)


def form_from_json(value: Mapping[str, Any]) -> Form:
    """The form that `as_json` described."""
    return FeatureForm.from_json(value) if "features" in value else RowForm.from_json(value)


def array_in(form: Form, view: View, name: str) -> NDArray[Any]:
    """All rows of a view as one array, as a network takes them; raises DataError for rows of another form."""
    form.check(view, name)
    return form.array(view, name) if isinstance(form, FeatureForm) else array_of(view, name)
