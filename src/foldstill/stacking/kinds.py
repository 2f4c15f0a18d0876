"""Every kind of combiner, from simple to complex, and the combiners that a comparison has by default.

Add a kind to the tuple to offer it. Of combinations that do equally well, a comparison recommends the first.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from foldstill.compare.choices import metric_of
from foldstill.stacking.auto import Auto
from foldstill.stacking.averages import Average, Geometric, Median, Trimmed
from foldstill.stacking.best_member import BestMember
from foldstill.stacking.combiner import Combiner
from foldstill.stacking.convex import Convex
from foldstill.stacking.gated import Gated
from foldstill.stacking.gradient_boosting import LightGBM
from foldstill.stacking.greedy import Greedy
from foldstill.stacking.log_pool import LogPool
from foldstill.stacking.logistic import Logistic
from foldstill.stacking.mlp import MLP
from foldstill.stacking.pruned import Pruned
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.stacking.sklearn_combiner import SklearnCombiner
from foldstill.stacking.super_learner import Super
from foldstill.stacking.tempered import Tempered
from foldstill.stacking.thresholded import Thresholded

COMBINERS: tuple[type[Combiner], ...] = (
    Average,
    BestMember,
    Geometric,
    Median,
    Trimmed,
    Recalibrated,
    Convex,
    Greedy,
    Pruned,
    LogPool,
    Gated,
    Logistic,
    MLP,
    LightGBM,
    SklearnCombiner,
    Super,
    Auto,
    Tempered,
    Thresholded,
)


def default_combiners() -> tuple[Combiner, ...]:
    """Return the combiners of every comparison; the slowest are last."""
    return (Average(), BestMember(), Geometric(), Recalibrated(), Convex(), LogPool(), MLP(), LightGBM(), Auto())


def deciding_by(combiners: Sequence[Combiner], metric: Any, *, thresholds: bool = True) -> tuple[Combiner, ...]:
    """Return the combiners with a metric that decides and, where there is a setting for it, that they are fitted to.

    For a metric of predicted classes, tuned thresholds of the plain average are added unless `thresholds` is False, and
    `auto` can choose them.

    >>> [one.name for one in deciding_by(default_combiners(), "macro_f1")][-2:]
    ['auto', 'thresholded']
    """
    tuned: dict[str, Combiner] = {}
    if thresholds and getattr(metric_of(metric), "of_classes", False):
        tuned = {Thresholded.kind: Thresholded(metric=metric)}
    changed = [_deciding_by(one, metric, tuned) for one in combiners]
    return (*changed, *(one for name, one in tuned.items() if name not in {c.name for c in changed}))


def _deciding_by(combiner: Combiner, metric: Any, tuned: dict[str, Combiner]) -> Combiner:
    if isinstance(combiner, Auto):
        ladder = {one.name: one for one in combiner.ladder} | tuned
        return replace(combiner, metric=metric, ladder=tuple(ladder.values()))
    return replace(combiner, metric=metric) if isinstance(combiner, Convex | Greedy | Thresholded) else combiner
