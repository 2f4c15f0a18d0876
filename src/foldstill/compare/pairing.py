"""Every arm against the plain average, on the same rows, with the same draws of groups.

N rows, A arms, G groups, C classes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.compare.arms import Arm
from foldstill.compare.bootstrap import Interval, group_sums, paired_intervals, row_weights
from foldstill.compare.calibration import top_reliability
from foldstill.compare.comparison import (
    ArmScore,
    Comparison,
    Fidelity,
    RowLosses,
    Rows,
    SizePoint,
    Stratum,
    StratumScore,
)
from foldstill.compare.floor import noise_floor
from foldstill.compare.members import error_correlation, size_curve, worth_in_members
from foldstill.compare.metrics import row_class_kl, scores
from foldstill.compare.verdict import holm, verdict
from foldstill.data.labels import Labels
from foldstill.data.simplex import row_kl
from foldstill.errors import CompareError

if TYPE_CHECKING:
    from foldstill.oof.table import ScoreTable

Floats = NDArray[np.float64]

_BOOTSTRAPS = ("bootstrap_t", "percentile")

_ABOVE_THE_FLOOR = 1.1
"""A floor this much above a score that was reached is not believed: totals of votes that are lower bounds raise it."""


def compare(
    arms: Sequence[Arm],
    labels: Labels,
    *,
    rows: Rows = "test",
    baseline: str = "average",
    members: "ScoreTable | None" = None,
    weight_N: ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Scores of every arm on the rows of `labels`, and each arm's KL minus the baseline's with a paired interval.

    `rows` says what is shown: locked test rows, or cross-fitted out-of-fold rows (nearly clean, not wholly: the members
    of other folds saw these labels). `members` are the member scores of the same rows: with them come the score against
    the number of members, what an arm is worth in members, and the members' correlation. `weight_N` weights every mean; the labels' sample weights by default.
    Raises CompareError when names repeat, the baseline is missing or rows differ.
    """
    _check(arms, labels, rows, baseline, members)
    target_NC = labels.target_NC
    weight = row_weights(labels.sample_weight_N if weight_N is None else weight_N, len(labels))
    losses = RowLosses(
        ids=labels.ids,
        groups=labels.groups,
        stratum_N=labels.stratum_N,
        weight_N=weight,
        kl_NA=np.column_stack([_kl_SN(arm, target_NC).mean(axis=0) for arm in arms]),
    )
    # Numbers sort faster than names, in the same order.
    group_N = np.unique(labels.groups, return_inverse=True)[1]
    names = [arm.name for arm in arms]
    base = names.index(baseline)
    difference_NA = losses.kl_NA - losses.kl_NA[:, [base]]
    settings: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    everywhere = _intervals(difference_NA, base, group_N, weight, settings)
    drawn = [_intervals(difference_NA, base, group_N, weight, settings | {"method": m}) for m in _BOOTSTRAPS]
    best = int(np.argmin(np.average(losses.kl_NA, axis=0, weights=weight)))
    floor_N = noise_floor(labels.votes_NC, _normal(arms[best].proba_NC), stratum_N=labels.stratum_N, seed=seed)
    strata, within = [], []
    for name in sorted(set(labels.stratum_N[weight > 0].tolist())):
        at = labels.stratum_N == name
        strata.append(Stratum(name, int(at.sum()), len(np.unique(group_N[at])), _floor(floor_N, at, best, losses)))
        within.append(_intervals(difference_NA[at], base, group_N[at], weight[at], settings))
    # One stratum whose totals are wrong spoils the whole.
    believed = all(stratum.floor is not None for stratum in strata)
    floor = _floor(floor_N, weight > 0, best, losses) if believed else None
    size_G = group_sums(np.ones((len(labels), 1)), group_N, weight)[:, 0]
    curve: tuple[SizePoint, ...] = ()
    correlation: tuple[tuple[float, ...], ...] = ()
    if members is not None:
        curve = size_curve(target=target_NC, proba_NMC=members.proba_NMC, weight=weight, seed=seed)
        correlation = error_correlation(target=target_NC, proba_NMC=members.proba_NMC)
    corrected = iter(holm([i.p for i in everywhere if i is not None]))
    lines = []
    for place, (arm, interval) in enumerate(zip(arms, everywhere, strict=True)):
        line = _alone(arm, labels, weight, strata)
        line = replace(line, worth=worth_in_members(line.scores["calibrated_kl"], curve))
        line = replace(line, fidelity=_fidelity(arm, arms, weight))
        if interval is not None:
            line = replace(
                _against(line, difference_NA[:, place], interval, group_N, weight),
                holm_p=next(corrected),
                bootstrap=tuple(i for intervals in drawn if (i := intervals[place]) is not None),
                strata=tuple(replace(s, difference=w[place]) for s, w in zip(line.strata, within, strict=True)),
            )
        lines.append(line)
    lines = [replace(line, reducible=_reducible(line, lines[base].kl, floor)) for line in lines]
    comparison = Comparison(
        verdict="",
        rows=rows,
        baseline=baseline,
        classes=labels.classes,
        arms=tuple(lines),
        strata=tuple(strata),
        n_rows=len(labels),
        n_groups=len(size_G),
        effective_groups=float(size_G.sum() ** 2 / (size_G**2).sum()),
        floor=floor,
        level=level,
        resamples=resamples,
        seed=seed,
        losses=losses,
        members=() if members is None else members.members,
        size_curve=curve,
        correlation=correlation,
    )
    student = next((arm.name for arm in arms if arm.kind == "student"), None)
    gain = None if student is None else comparison.teacher_gain(student)
    return replace(comparison, verdict=verdict(lines, baseline=baseline, teacher_gain=gain, level=level))


def _check(arms: Sequence[Arm], labels: Labels, rows: str, baseline: str, members: "ScoreTable | None") -> None:
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names):
        raise CompareError(
            f"arms must have different names, got {sorted({n for n in names if names.count(n) > 1})} twice"
        )
    if baseline not in names:
        raise CompareError(f"the baseline {baseline!r} is not among the arms {names}: add it, or name another")
    if rows not in get_args(Rows):
        raise CompareError(f"rows must be one of {list(get_args(Rows))}, got {rows!r}")
    for arm in arms:
        if arm.proba_NC.shape != (len(labels), len(labels.classes)):
            raise CompareError(
                f"arm {arm.name!r} must be (rows, classes) = ({len(labels)}, {len(labels.classes)}), "
                f"got {arm.proba_NC.shape}: score the rows of the labels, in their order"
            )
        if arm.weight_M is not None and members is not None and len(arm.weight_M) != len(members.members):
            raise CompareError(f"arm {arm.name!r} has {len(arm.weight_M)} weights for {len(members.members)} members")
    if members is not None and not np.array_equal(members.ids, labels.ids):
        raise CompareError("member scores and labels must hold the same ids in the same order: align them first")
    if len(np.unique(labels.groups)) < 2:
        raise CompareError("a comparison needs rows of two groups or more, got one: name a finer group")


def _normal(proba_NC: NDArray[Any]) -> Floats:
    """Rows that sum to one exactly: what float16 files leave over would count as a negative KL."""
    proba = np.clip(proba_NC, 0, None, dtype=np.float64)
    normal: Floats = proba / proba.sum(axis=1, keepdims=True)
    return normal


def _intervals(
    difference_NA: Floats, base: int, groups: NDArray[Any], weight: Floats, settings: dict[str, Any]
) -> list[Interval | None]:
    """One interval an arm, None for the baseline, and for all where there is one group."""
    found: list[Interval | None] = [None] * difference_NA.shape[1]
    others = [a for a in range(len(found)) if a != base]
    if others and len(np.unique(groups[weight > 0])) > 1:
        for a, interval in zip(
            others, paired_intervals(difference_NA[:, others], groups, weight_N=weight, **settings), strict=True
        ):
            found[a] = interval
    return found


def _alone(arm: Arm, labels: Labels, weight: Floats, strata: Sequence[Stratum]) -> ArmScore:
    """What is known of an arm without any other."""
    target, by_seed = labels.target_NC, [_normal(proba_NC) for proba_NC in arm.by_seed]
    everywhere = np.ones(len(labels), bool)
    class_kl = [np.average(row_class_kl(target=target, proba=proba), axis=0, weights=weight) for proba in by_seed]
    seeds = len(by_seed)
    return ArmScore(
        name=arm.name,
        kind=arm.kind,
        scores=_mean_scores(target, by_seed, weight, everywhere),
        class_kl_C=tuple(np.mean(class_kl, axis=0).tolist()),
        strata=tuple(
            StratumScore(stratum.name, _mean_scores(target, by_seed, weight, labels.stratum_N == stratum.name), None)
            for stratum in strata
        ),
        reliability=top_reliability(
            target=np.tile(target, (seeds, 1)), proba=np.concatenate(by_seed), weight=np.tile(weight, seeds)
        ),
        kl_by_seed=tuple(float(kl_C.sum()) for kl_C in class_kl) if seeds > 1 else (),
        cost=arm.cost,
        note=arm.note,
        chosen=arm.chosen,
        weights=None if arm.weight_M is None else tuple(np.asarray(arm.weight_M, dtype=np.float64).tolist()),
    )


def _fidelity(arm: Arm, arms: Sequence[Arm], weight: Floats) -> Fidelity | None:
    """Of an arm whose teacher is compared as well."""
    teacher = next((other for other in arms if other.name == arm.teacher), None)
    if teacher is None:
        return None
    taught = _normal(teacher.proba_NC)
    kl = np.mean([row_kl(target=taught, proba=_normal(proba)) for proba in arm.by_seed], axis=0)
    same = np.mean([proba.argmax(axis=1) == taught.argmax(axis=1) for proba in arm.by_seed], axis=0)
    return Fidelity(teacher.name, float(np.average(kl, weights=weight)), float(np.average(same, weights=weight)))


def _kl_SN(arm: Arm, target_NC: Floats) -> Floats:
    """KL of every row for every seed the arm was trained from."""
    return np.stack([row_kl(target=target_NC, proba=_normal(proba_NC)) for proba_NC in arm.by_seed])


def _mean_scores(
    target_NC: Floats, by_seed: Sequence[Floats], weight_N: Floats, at_N: NDArray[np.bool_]
) -> dict[str, float | None]:
    """Every score of the rows `at_N`, as the mean over seeds: what one training gives on average."""
    each = [scores(target=target_NC[at_N], proba=proba[at_N], weight=weight_N[at_N]) for proba in by_seed]
    return {key: None if value is None else float(np.mean([e[key] for e in each])) for key, value in each[0].items()}


def _against(
    line: ArmScore, difference_N: Floats, interval: Interval, groups: NDArray[Any], weight: Floats
) -> ArmScore:
    """With its difference from the baseline, and how that is spread over groups."""
    total_G, size_G = group_sums(np.column_stack([difference_N, np.ones_like(weight)]), groups, weight).T
    mean_G = total_G[size_G > 0] / size_G[size_G > 0]
    clustered = ((total_G - interval.estimate * size_G) ** 2).sum()
    independent = ((weight * (difference_N - interval.estimate)) ** 2).sum()
    return replace(
        line,
        difference=interval,
        improved=float(np.mean((mean_G < 0) + 0.5 * (mean_G == 0))),
        design_effect=float(clustered / independent) if independent > 0 else None,
    )


def _floor(floor_N: Floats | None, at: NDArray[np.bool_], best: int, losses: RowLosses) -> float | None:
    """Vote-noise floor of the rows `at`; None when the best arm is clearly below it: totals of votes are wrong."""
    if floor_N is None:
        return None
    floor, reached = np.average(
        np.column_stack([floor_N, losses.kl_NA[:, best]])[at], axis=0, weights=losses.weight_N[at]
    )
    return float(floor) if floor <= _ABOVE_THE_FLOOR * reached else None


def _reducible(line: ArmScore, average: float, floor: float | None) -> float | None:
    """Not defined where the baseline is at the floor already."""
    if line.difference is None or floor is None or average - floor < 0.01 * average:
        return None
    return (average - line.kl) / (average - floor)
