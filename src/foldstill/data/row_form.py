"""What a row of a view must look like for a model: its shape, its type, and how it was prepared."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from foldstill.errors import DataError
from foldstill.manifest import changes

if TYPE_CHECKING:
    from typing import Self

Recipe = Mapping[str, Any]
"""How inputs were prepared, as JSON values: size, resampling, channels, scaling and the like."""


class Shaped(Protocol):
    """Rows of some shape and type: an array or a table of features."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...


@dataclass(frozen=True)
class RowForm:
    """The form of the rows that a model was trained on; new rows must have the same.

    Examples
    --------
    >>> form = RowForm.of(np.zeros((5, 32, 32, 3), np.uint8), {"size": [32, 32], "resampling": "bilinear"})
    >>> print(form)
    (32, 32, 3) of uint8; size 32 x 32, resampling bilinear
    """

    shape: tuple[int, ...]
    """Shape of one row."""
    dtype: str
    recipe: Recipe = field(default_factory=dict)
    """How the rows were prepared; empty where that is not known."""

    @classmethod
    def of(cls, array: NDArray[Any], recipe: Recipe | None = None) -> "Self":
        """The form of the rows of an array (N, ...)."""
        return cls(tuple(array.shape[1:]), array.dtype.name, recipe or {})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Self":
        """The form that `as_json` described."""
        return cls(tuple(value["shape"]), value["dtype"], value["recipe"])

    def as_json(self) -> dict[str, Any]:
        """The form as JSON values."""
        return {"shape": list(self.shape), "dtype": self.dtype, "recipe": dict(self.recipe)}

    def check(self, array: Shaped, view: str, recipe: Recipe | None = None) -> None:
        """Raises DataError for rows of another shape or type, and for rows that are known to be prepared otherwise.

        Floats of different precision mean the same. Any other change of type changes the range of the values.
        """
        if array.shape[1:] != self.shape:
            raise DataError(
                f"the view {view!r} wants rows of shape {self.shape}, got {tuple(array.shape[1:])}: prepare them as "
                "the training rows were"
            )
        if array.dtype.name != self.dtype and not array.dtype.kind == np.dtype(self.dtype).kind == "f":
            raise DataError(
                f"the view {view!r} wants {self.dtype} as in training, got {array.dtype.name}: give unscaled rows, "
                "since the model scales them itself"
            )
        if self.recipe and recipe and (changed := changes(self.recipe, recipe)):
            raise DataError(
                f"the view {view!r} wants rows prepared as in training: {'; '.join(changed)}: prepare them again"
            )

    def __str__(self) -> str:
        recipe = ", ".join(f"{name} {shown(value)}" for name, value in self.recipe.items())
        return f"{self.shape} of {self.dtype}" + (f"; {recipe}" if recipe else "")


def shown(value: Any) -> str:
    """A value of a recipe as a reader sees it.

    >>> shown([32, 64])
    '32 x 64'
    """
    return " x ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
