"""Which rows a training sees: the inner split, the rows of each phase, and how often they are drawn.

N rows of a data set. Importing this imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.recipes import EarlyStopping, Recipe
from foldstill.data.strata import MANY_VOTES
from foldstill.data.training import Rows, TrainingSet
from foldstill.errors import MemberError


@dataclass(frozen=True, eq=False)
class Phase:
    """The first or the second stage of a recipe, with its rows."""

    recipe: Recipe
    """The recipe of this phase alone."""
    rows: Rows
    """The rows that are trained on."""
    judges: Rows | None = None
    """The rows that choose the best epoch, where the recipe stops early."""
    number: int = 1
    """1 or 2; phases after the first keep the input scaling."""
    keep_best: bool = True
    """Whether the phase ends with the weights of its best epoch rather than of its last."""


def phases_of(recipe: Recipe, training_set: TrainingSet, seed: int) -> list[Phase]:
    """The phases of a recipe on the rows of a training set; `seed` draws the inner split.

    Raises MemberError where early stopping has no rows to judge on.
    """
    stop = recipe.early_stopping
    train, valid = inner_split(training_set, None if stop is None else stop.share, seed)
    second, total_N = recipe.second_stage, training_set.total_N
    every_N = np.ones(len(training_set), dtype=bool)
    if second is None:
        return [Phase(recipe, train, _judges(recipe.early_stopping, valid, every_N, total_N))]
    agreed_N = ~every_N
    if second.min_votes_unanimous is not None:
        unanimous_N = (training_set.target_NC > 0).sum(axis=1) == 1
        agreed_N = unanimous_N & (total_N >= second.min_votes_unanimous)
    first_N, second_N = every_N, agreed_N | (total_N >= second.min_votes)
    if second.first_max_votes is not None:
        first_N = ~agreed_N & (total_N <= second.first_max_votes)
    return [
        Phase(
            recipe,
            train[first_N[train]],
            _judges(recipe.early_stopping, valid, every_N, total_N),
            keep_best=second.starts_from == "best",
        ),
        Phase(
            recipe.for_second_stage(),
            train[second_N[train]],
            _judges(recipe.early_stopping, valid, second_N, total_N),
            number=2,
        ),
    ]


def inner_split(training_set: TrainingSet, share: float | None, seed: int) -> tuple[Rows, Rows | None]:
    """The training rows without a share of their groups, and the rows of that share; None takes no share."""
    train = training_set.rows
    if share is None:
        return train, None
    group_N = training_set.group_N[train]
    groups = np.unique(group_N)
    if len(groups) < 2:
        raise MemberError(
            f"early stopping needs two groups of training rows or more, got {len(groups)}: train without it"
        )
    number = min(max(1, round(share * len(groups))), len(groups) - 1)
    chosen = np.random.default_rng(seed).permutation(groups)[:number]
    judged_N = np.isin(group_N, chosen)
    return train[~judged_N], train[judged_N]


def _judges(
    settings: EarlyStopping | None, valid: Rows | None, phase_N: NDArray[np.bool_], total_N: NDArray[np.float64]
) -> Rows | None:
    """Rows of the inner split that judge the epochs of a phase which trains on `phase_N`."""
    if settings is None or valid is None:
        return None
    many_N = total_N >= MANY_VOTES
    # A second stage makes rows of few votes worse, which must not end it: by default rows like its own judge it.
    judging_N = {"stage": phase_N, "all": np.ones_like(phase_N), "few": ~many_N, "many": many_N}[settings.judged_by]
    judges = valid[judging_N[valid]]
    if not len(judges):
        raise MemberError(
            f"early stopping judged by {settings.judged_by!r} has no row to judge on: "
            f"the {len(valid)} rows of the inner split have {total_N[valid].min():g} to {total_N[valid].max():g} votes "
            "per row: raise early_stopping.share, lower second_stage.min_votes, or set early_stopping.judged_by"
        )
    return judges


def draw_rates(training_set: TrainingSet, rows: Rows, sampling: str) -> NDArray[np.float64] | None:
    """How often each row is drawn, relative to others; None draws each row once."""
    if sampling in ("uniform", "one_each"):
        return None
    if sampling == "votes":
        return training_set.total_N
    target_NC = training_set.target_NC
    frequency_C = target_NC[rows].mean(axis=0)
    rates: NDArray[np.float64] = (target_NC / np.where(frequency_C > 0, frequency_C, 1.0)).sum(axis=1)
    return rates
