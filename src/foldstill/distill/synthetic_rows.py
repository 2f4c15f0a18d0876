"""Synthetic rows of a feature table, each made of two near rows of one fold, for a teacher to label.

A network that compresses an ensemble needs more rows than there are labels (Buciluă, Caruana and Niculescu-Mizil, 2006,
*Model compression*, whose MUNGE this is). N rows, F features, S synthetic rows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldstill.data.feature_form import FeatureForm
from foldstill.data.features import FeatureTable
from foldstill.data.training import Rows
from foldstill.errors import DistillError
from foldstill.settings import Settings

NEIGHBOURS = 5
"""A partner is drawn from this many nearest rows."""


@dataclass(frozen=True)
class SyntheticRows(Settings):
    """Synthetic rows for students of feature tables, labelled by the teacher alone.

    Each is a training row, some features of which are taken from one of its nearest rows in the same fold. Members that
    saw neither row label it, combined by a fit that saw neither.

    Examples
    --------
    >>> SyntheticRows(per_row=2).swap
    0.5
    """

    per_row: float = 1.0
    """Number of synthetic rows per training row."""
    swap: float = 0.5
    """Probability with which a feature is taken from the other row."""
    spread: float = 1.0
    """Standard deviation of a number that is taken, as a multiple of the difference between both rows; 0 copies it."""

    def __post_init__(self) -> None:
        if not self.per_row > 0:
            raise DistillError(
                f"synthetic.per_row must be positive, got {self.per_row}: leave `synthetic` out for no such rows"
            )
        if not 0 < self.swap < 1:
            raise DistillError(f"synthetic.swap must be in (0, 1), got {self.swap}: 0 and 1 would only copy rows")
        if not self.spread >= 0:
            raise DistillError(f"synthetic.spread must not be negative, got {self.spread}: 0 copies numbers")


def munge(table: FeatureTable, rows: Rows, settings: SyntheticRows, *, seed: int) -> tuple[FeatureTable, Rows]:
    """Synthetic rows made of these rows only, and the row that each began as.

    Missing values are taken and given like all others; a number is varied only where both rows have one.
    """
    rng = np.random.default_rng(seed)
    source_S = rows[_spread_evenly(len(rows), round(settings.per_row * len(rows)), rng)]
    partner_S = _partners(table, rows, source_S, rng)
    own_SF, other_SF = table.values_NF[source_S], table.values_NF[partner_S]
    taken_SF = rng.random(own_SF.shape) < settings.swap
    numbers_F = np.asarray([feature.levels is None for feature in table.features])
    distance_SF = np.where(numbers_F, np.nan_to_num(np.abs(own_SF - other_SF)), 0.0)
    varied_SF = other_SF + settings.spread * distance_SF * rng.normal(size=own_SF.shape)
    values_SF = np.where(taken_SF, varied_SF, own_SF)
    whole_F = numbers_F & (np.nan_to_num(table.values_NF[rows]) % 1 == 0).all(axis=0)
    values_SF[:, whole_F] = np.round(values_SF[:, whole_F])
    low_F, high_F = _range(table.values_NF[rows])
    # A number outside the range of the training rows, such as a negative length, would be a row that cannot be.
    return FeatureTable(np.clip(values_SF, low_F, high_F), table.features), source_S


def _spread_evenly(n: int, wanted: int, rng: np.random.Generator) -> Rows:
    """`wanted` of n positions, each as often as any other, up to one."""
    rounds = [rng.permutation(n) for _ in range(-(-wanted // n))]
    return np.concatenate(rounds)[:wanted]


def _partners(table: FeatureTable, rows: Rows, source_S: Rows, rng: np.random.Generator) -> Rows:
    """For each source, one of the nearest of `rows` that is not the same row and does not have the same features."""
    from sklearn.neighbors import NearestNeighbors

    position_NE = _positions(table[rows])
    n_near = min(NEIGHBOURS + 1, len(rows))
    near = NearestNeighbors(n_neighbors=n_near).fit(position_NE)
    distance_ND, index_ND = near.kneighbors(position_NE)
    usable_ND = distance_ND > 1e-9
    weight_ND = rng.random((len(source_S), n_near)) * usable_ND[np.searchsorted(rows, source_S)]
    chosen_S = weight_ND.argmax(axis=1)
    partner = index_ND[np.searchsorted(rows, source_S), chosen_S]
    # A row whose neighbours are all its copies is its own partner.
    return np.where(weight_ND.max(axis=1) > 0, rows[partner], source_S)


def _positions(table: FeatureTable) -> NDArray[np.float64]:
    """Rows as points: numbers in units of their standard deviation, and levels that differ one unit apart."""
    form = FeatureForm.of(table)
    values_NF = form.array(table, "features").astype(np.float64)
    parts = []
    for feature, value_N in zip(form.features, values_NF.T, strict=True):
        if feature.levels is None:
            present = value_N[~np.isnan(value_N)]
            scale = present.std() if len(present) else 0.0
            parts.append((np.nan_to_num(value_N - (present.mean() if len(present) else 0.0)) / (scale or 1.0))[:, None])
            if feature.name in form.gaps:
                parts.append(np.isnan(value_N)[:, None].astype(np.float64))
        else:
            parts.append((value_N[:, None] == np.arange(len(feature.levels))) / np.sqrt(2))
    return np.concatenate(parts, axis=1)


def _range(values_NF: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest value of each column; infinite for a column without any."""
    lost_F = np.isnan(values_NF).all(axis=0)
    kept_NF = np.where(lost_F, 0.0, values_NF)
    return np.where(lost_F, -np.inf, np.nanmin(kept_NF, axis=0)), np.where(lost_F, np.inf, np.nanmax(kept_NF, axis=0))
