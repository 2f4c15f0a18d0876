"""Which rows a training sees: the inner split, those of each stage, what they weigh, and how often they are drawn.

N rows of a data set. Importing this imports no torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.recipes import EarlyStopping, Recipe
from foldstill.data.labels import MANY_VOTES, Labels, Strings
from foldstill.errors import MemberError

Rows = NDArray[np.intp]


def inner_split(train: Rows, labels: Labels, settings: EarlyStopping | None, seed: int) -> tuple[Rows, Rows | None]:
    """Training rows without a share of their groups, and the rows of that share."""
    if settings is None:
        return train, None
    groups = np.unique(labels.groups[train])
    if len(groups) < 2:
        raise MemberError(f"early stopping splits the training rows by group, got {len(groups)} group: switch it off")
    number = min(max(1, round(settings.share * len(groups))), len(groups) - 1)
    chosen = np.random.default_rng(seed).permutation(groups)[:number]
    judged = np.isin(labels.groups[train], chosen)
    return train[~judged], train[judged]


def stages_of(
    recipe: Recipe, train: Rows, valid: Rows | None, labels: Labels
) -> list[tuple[Recipe, Rows, Rows | None]]:
    """Recipe, training rows and rows that judge the epochs of each stage."""
    second = recipe.second_stage
    every_N = np.ones(len(labels), dtype=bool)
    if second is None:
        return [(recipe, train, _judges(recipe.early_stopping, valid, every_N, labels))]
    agreed_N = ~every_N
    if second.min_votes_unanimous is not None:
        agreed_N = labels.unanimous_N & (labels.total_N >= second.min_votes_unanimous)
    first_N, second_N = every_N, agreed_N | (labels.total_N >= second.min_votes)
    if second.first_max_votes is not None:
        first_N = ~agreed_N & (labels.total_N <= second.first_max_votes)
    return [
        (recipe, train[first_N[train]], _judges(recipe.early_stopping, valid, every_N, labels)),
        (recipe.for_second_stage(), train[second_N[train]], _judges(recipe.early_stopping, valid, second_N, labels)),
    ]


def _judges(
    settings: EarlyStopping | None, valid: Rows | None, stage_N: NDArray[np.bool_], labels: Labels
) -> Rows | None:
    """Rows of the inner split that judge the epochs of a stage which is for `stage_N`."""
    if settings is None or valid is None:
        return None
    many_N = labels.total_N >= MANY_VOTES
    # A second stage makes rows of few votes worse, which must not end it: by default it is judged on rows such as it is for.
    judging_N = {"stage": stage_N, "all": np.ones_like(stage_N), "few": ~many_N, "many": many_N}[settings.judged_by]
    judges = valid[judging_N[valid]]
    if not len(judges):
        raise MemberError(
            f"early stopping judged by {settings.judged_by!r} has no row to judge on: the inner split of {len(valid)} rows has "
            f"{labels.total_N[valid].min():g} to {labels.total_N[valid].max():g} votes a row: raise early_stopping.share, lower "
            "second_stage.min_votes, or judge by other rows"
        )
    return judges


def row_weights(labels: Labels, rows: Rows, scheme: Any, maximum: float) -> NDArray[np.float64]:
    """Weights of mean 1 over the rows that are trained on; 0 elsewhere."""
    weight = np.zeros(len(labels))
    if len(rows):
        weight[rows] = labels.take(rows).weight_N(scheme, maximum)
    return weight


def draw_rates(labels: Labels, rows: Rows, sampling: str) -> NDArray[np.float64] | None:
    """How often each row is drawn, relative to others; None draws each once."""
    if sampling in ("uniform", "one_each"):
        return None
    if sampling == "votes":
        return labels.total_N
    frequency = labels.target_NC[rows].mean(axis=0)
    rates: NDArray[np.float64] = (labels.target_NC / np.where(frequency > 0, frequency, 1.0)).sum(axis=1)
    return rates


def units(units_N: Strings | None, sampling: str) -> Rows | None:
    """Numbers of the units of which an epoch takes one row each."""
    return np.unique(units_N, return_inverse=True)[1] if sampling == "one_each" and units_N is not None else None
