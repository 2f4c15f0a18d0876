"""A small dataset that needs no file: the digits of scikit-learn with the votes of simulated annotators."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from foldstill.data.dataset import Dataset, Inputs
from foldstill.data.features import array_of
from foldstill.data.labels import Labels
from foldstill.data.npz import NpzData
from foldstill.data.source import PlainSource
from foldstill.errors import DataError

if TYPE_CHECKING:
    from typing import Self

ROWS = 1797
"""Number of digits in scikit-learn."""

MAX_VOTES = 28
"""Maximum number of votes per row, as in HMS."""


@dataclass(frozen=True, kw_only=True)
class DigitsData(PlainSource, kind="digits"):
    """Takes the handwritten digits of scikit-learn and simulates annotators; needs no file.

    Handwritten digits as images (N, size, size, 1), with 1 to 28 simulated votes per row and simulated writers.

    Examples
    --------
    >>> from pathlib import Path
    >>> dataset = DigitsData(rows=100, size=16).load(Path())
    >>> dataset.view("image").shape, len(set(dataset.labels.groups.tolist()))
    ((100, 16, 16, 1), 8)
    """

    rows: int = ROWS
    """Number of digits, drawn at random from 1,797."""
    size: int = 32
    """Height and width of the images, a multiple of 8. Pixels are repeated."""
    rows_per_group: float = 12.0
    """Mean number of rows per simulated writer. The numbers are log-normal."""
    disagreement: float = 1.0
    """How much annotators disagree about digits that look alike: 0 makes them agree, 1 gives an entropy of 0.7 nats."""
    seed: int = 0
    """Seed for the choice of rows, the writers and the votes."""

    def __post_init__(self) -> None:
        if not 20 <= self.rows <= ROWS:
            raise DataError(f"data.rows must be 20 to {ROWS}, got {self.rows}")
        if self.seed < 0:
            raise DataError(f"data.seed must be 0 or more, got {self.seed}")
        if self.size < 8 or self.size % 8:
            raise DataError(f"data.size must be a multiple of 8, got {self.size}: use 16, 32 or 64")
        if self.rows_per_group < 1:
            raise DataError(f"data.rows_per_group must be 1 or more, got {self.rows_per_group}")
        if not 0 <= self.disagreement <= 1:
            raise DataError(f"data.disagreement must be between 0 and 1, got {self.disagreement}")

    @classmethod
    def example(cls, folder: Path) -> "tuple[Self, Path]":
        data = cls(rows=20, size=8)
        np.savez(folder / "new.npz", image=array_of(data.load(folder).view("image"), "image"))
        return data, folder / "new.npz"

    def load(self, root: Path) -> Dataset:
        """Make the dataset, always the same for the same settings; `root` is not used."""
        from sklearn.datasets import load_digits

        rng = np.random.default_rng(self.seed)
        digits = load_digits()
        opinion = _opinions(digits.data, digits.target, self.disagreement)
        rows = np.sort(rng.permutation(ROWS)[: self.rows])
        writer = _writers(rng, self.rows, self.rows_per_group)
        # Half of the rows get few votes and half get many: the two regimes of HMS.
        few = rng.random(self.rows) < 0.5
        total = np.where(few, rng.integers(1, 8, self.rows), rng.integers(10, MAX_VOTES + 1, self.rows))
        votes = rng.multinomial(total, _by_writer(rng, opinion[rows], writer, self.disagreement))
        images = np.rint(digits.images[rows] * (255 / 16)).astype(np.uint8)
        repeat = self.size // 8
        images = images.repeat(repeat, axis=1).repeat(repeat, axis=2)[..., None]
        labels = Labels.from_votes(
            votes,
            ids=np.char.add("digit-", rows.astype(np.str_)),
            groups=np.char.add("writer-", writer.astype(np.str_)),
            classes=[str(c) for c in range(10)],
        )
        recipe = {
            "size": [self.size, self.size],
            "resampling": "pixels repeated",
            "channels": "gray",
            "scaling": "paper 0, ink 255",
        }
        return Dataset(labels, {"image": images}, recipes={"image": recipe})

    def inputs(self, path: Path) -> Inputs:
        """New images (N, size, size, 1), uint8, from the key `image` of an `.npz`; how they were made is not known."""
        return NpzData(path=str(path), images="image", labels="-").inputs(path)


def _opinions(pixels_NF: NDArray[np.float64], truth_N: NDArray[np.int64], disagreement: float) -> NDArray[np.float64]:
    """Share of annotators who see each digit: the classes of the nearest images, weighted by their distance.

    It is a function of the pixels, so that a network can learn it and an ambiguous image stays ambiguous.
    """
    square = (pixels_NF**2).sum(axis=1)
    distance = square[:, None] + square[None, :] - 2 * pixels_NF @ pixels_NF.T
    np.fill_diagonal(distance, np.inf)
    truth_NC = np.eye(10)[truth_N]
    nearest = distance.min(axis=1, keepdims=True)
    # The nearest image of another digit is farther by about 600 in squared distance than the nearest of the same digit.
    share_NC = np.exp(-(distance - nearest) / 260.0) @ truth_NC
    share_NC /= share_NC.sum(axis=1, keepdims=True)
    opinion: NDArray[np.float64] = (1 - disagreement) * truth_NC + disagreement * share_NC
    return opinion


def _writers(rng: np.random.Generator, n: int, mean_size: float) -> NDArray[np.int64]:
    """The writer of each row, in random order; numbers of rows per writer are log-normal and at least 1."""
    n_groups = max(1, min(n, round(n / mean_size)))
    weight = rng.lognormal(0.0, 0.6, n_groups)
    writer = np.concatenate([np.arange(n_groups), rng.choice(n_groups, n - n_groups, p=weight / weight.sum())])
    return rng.permutation(writer)


def _by_writer(
    rng: np.random.Generator, opinion_NC: NDArray[np.float64], writer_N: NDArray[np.int64], disagreement: float
) -> NDArray[np.float64]:
    """`opinion_NC` shifted by the habit of each writer's annotators, which makes the rows of a writer alike."""
    habit = rng.normal(0.0, 0.3 * disagreement, (writer_N.max() + 1, opinion_NC.shape[1]))
    tilted: NDArray[np.float64] = opinion_NC * np.exp(habit[writer_N])
    tilted /= tilted.sum(axis=1, keepdims=True)
    return tilted
