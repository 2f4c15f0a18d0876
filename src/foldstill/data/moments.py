"""Mean and standard deviation of a data set that does not fit in memory: one pass over training rows only."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.errors import DataError

BLOCK_ROWS = 64


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations; two of them add up to those of both parts.

    `mean` and `squares` have the shape that is kept apart: () for the whole data set, (channels,) for one of each.
    """

    count: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[Any], axes: tuple[int, ...]) -> "Moments":
        """Of one block, over `axes`; missing values are not allowed here."""
        block = np.asarray(values, dtype=np.float64)
        mean = block.mean(axis=axes, keepdims=True)
        squares = np.square(block - mean).sum(axis=axes)
        return cls(int(np.prod([block.shape[a] for a in axes])), mean.reshape(squares.shape), squares)

    def __add__(self, other: "Moments") -> "Moments":
        """Chan, Golub and LeVeque (1979), equation 2.1: never the difference of two large sums."""
        count = self.count + other.count
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / count)
        squares = self.squares + other.squares + shift**2 * (self.count * other.count / count)
        return Moments(count, mean, squares)

    @property
    def std(self) -> NDArray[np.float64]:
        return np.sqrt(self.squares / self.count)


def dataset_moments(
    array: NDArray[Any], training_rows: NDArray[np.intp], *, per: Literal["all", "channel"] = "all"
) -> Moments:
    """Moments of the training rows of a view, images (N, H, W, channels) or signals (N, channels, T), in one pass.

    Rows are named, not optional: numbers of held-out rows in a normalisation are a leak. `per="channel"` keeps
    channels (panels) apart. Reads a memory map block by block. Raises DataError when there are no rows, or values that
    are not finite.
    """
    rows = np.sort(np.asarray(training_rows))
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or len(rows) == 0:
        raise DataError("the moments of a data set need the index of its training rows: pass plan.training(fold)")
    channel = array.ndim - 1 if array.ndim == 4 else 1
    axes = tuple(a for a in range(array.ndim) if per == "all" or a != channel)
    total: Moments | None = None
    for start in range(0, len(rows), BLOCK_ROWS):
        part = Moments.of(array[rows[start : start + BLOCK_ROWS]], axes)
        total = part if total is None else total + part
    assert total is not None
    if not np.isfinite(total.squares).all():
        raise DataError("the training rows hold NaN or infinite values: fill them where the view is made")
    return total
