"""Compare every arm with the baseline, on the same rows and with the same groups. N rows, A arms, C classes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import ArrayLike

from foldstill.compare.arm_scores import ScoredArm, normalised, score_arm
from foldstill.compare.arms import Arm
from foldstill.compare.comparison import Comparison, EvaluationRows
from foldstill.compare.differences import Differences
from foldstill.compare.floor import Floors
from foldstill.compare.intervals import Interval, IntervalSettings
from foldstill.compare.judgement import Judgement, carrying_groups, is_candidate, judge
from foldstill.compare.members import error_correlation, size_curve, worth_in_members
from foldstill.compare.metrics import KL
from foldstill.compare.results import ArmScore, MetricFacts, RowLosses, SizePoint, Stratum
from foldstill.compare.rows import ComparedRows
from foldstill.compare.settings import CompareSettings
from foldstill.compare.verdict import verdict
from foldstill.compare.weights import row_weights
from foldstill.data.labels import Labels
from foldstill.data.simplex import row_kl
from foldstill.errors import CompareError

if TYPE_CHECKING:
    from foldstill.oof.table import ScoreTable


# Its documentation is longer than its code.
def compare(
    arms: Sequence[Arm],
    labels: Labels,
    *,
    rows: EvaluationRows = "test",
    baseline: str = "average",
    members: "ScoreTable | None" = None,
    weight_N: ArrayLike | None = None,
    intervals: IntervalSettings = IntervalSettings(),
    settings: CompareSettings = CompareSettings(),
) -> Comparison:
    """Score every arm on the rows of `labels`, and compare each with the baseline.

    Parameters
    ----------
    arms : sequence of Arm
        The candidates, with predictions of the rows of `labels` in their order. The baseline is one of them. Of arms
        that do equally well the first is recommended: list the simplest first.
    labels : Labels
        Votes, groups and strata of the rows.
    rows : {"test", "oof cross-fitted"}, default "test"
        Which rows these are: locked test rows, or cross-fitted out-of-fold rows. The latter are nearly clean: the
        members of other folds have seen these labels.
    baseline : str, default "average"
        Name of the arm that the others are compared with.
    members : ScoreTable, optional
        Scores of the members on the same rows. With them the comparison holds the score against the number of members,
        the number of members that an arm is worth, and the correlation of the members' errors.
    weight_N : array-like of shape (N,), optional
        Weight per row; the labels' sample weights by default.
    intervals : IntervalSettings, optional
        Level and method of the confidence intervals.
    settings : CompareSettings, optional
        The metric that decides, and what counts as a gain.

    Returns
    -------
    Comparison

    Raises
    ------
    CompareError
        When names repeat, the baseline is missing, rows differ, or all rows belong to one group.

    Examples
    --------
    >>> import numpy as np
    >>> from foldstill.data import Labels
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.dirichlet(np.ones(3), 300)
    >>> labels = Labels.from_votes(rng.multinomial(9, truth), groups=np.arange(300) // 5)
    >>> arms = [Arm("average", "average", 0.5 * truth + 0.5 / 3), Arm("sharper", "combination", 0.7 * truth + 0.1)]
    >>> comparison = compare(arms, labels)
    >>> difference = comparison["sharper"].difference
    >>> print(f"{difference.estimate:.3f}, {difference.low:.3f} to {difference.high:.3f}")
    -0.045, -0.051 to -0.038
    """
    _check(arms, labels, rows, baseline, members)
    compared = ComparedRows(labels, row_weights(labels.sample_weight_N if weight_N is None else weight_N, len(labels)))
    by_name = {arm.name: arm for arm in arms}
    metric = settings.deciding
    loss_NA = np.empty((len(labels), len(arms)), order="F")  # an arm lies in memory as a whole, as it is used
    scored: list[ScoredArm] = []
    for a, arm in enumerate(arms):
        one = score_arm(arm, compared, by_name.get(arm.teacher or ""), metric)
        loss_NA[:, a] = one.loss_N
        scored.append(replace(one, loss_N=loss_NA[:, a]))
    base = list(by_name).index(baseline)
    best = arms[int(np.argmin([one.score.kl for one in scored]))]
    kl_SN = [row_kl(target=labels.target_NC, proba=normalised(proba_NC)) for proba_NC in best.by_seed]
    floors = Floors.estimate(compared, normalised(best.proba_NC), np.mean(kl_SN, axis=0))
    facts = MetricFacts.of(metric)
    results = _against_baseline(scored, base, compared, intervals, facts)
    if facts.name == KL.name:
        results = [
            one if one.difference is None else replace(one, reducible=floors.reducible(one.kl, results[base].kl))
            for one in results
        ]
    curve, correlation = _of_members(members, compared, intervals.seed)
    size_G = compared.size_G
    comparison = Comparison(
        verdict="",
        judgement=Judgement("cannot tell", None, baseline),
        margin=settings.margin_of(results[base].loss),
        metric=facts,
        rows=rows,
        baseline=baseline,
        classes=labels.classes,
        arms=tuple(
            replace(result, worth=worth_in_members(result.scores["calibrated_kl"], curve)) for result in results
        ),
        strata=_strata(compared, floors),
        n_rows=len(labels),
        n_groups=len(size_G),
        effective_groups=float(size_G.sum() ** 2 / (size_G**2).sum()),
        floor=floors.overall,
        floor_bounds=floors.bounds,
        level=intervals.level,
        resamples=intervals.resamples,
        seed=intervals.seed,
        losses=RowLosses(labels.ids, labels.groups, labels.stratum_N, compared.weight_N, loss_NA),
        members=() if members is None else members.members,
        size_curve=curve,
        correlation=correlation,
    )
    return _judged(comparison)


def _check(arms: Sequence[Arm], labels: Labels, rows: str, baseline: str, members: "ScoreTable | None") -> None:
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise CompareError(f"arms must have different names, got {repeated} more than once: rename one of each")
    if baseline not in names:
        raise CompareError(f"the baseline {baseline!r} is not among the arms {names}: add it, or name another")
    if rows not in get_args(EvaluationRows):
        raise CompareError(f"rows must be one of {list(get_args(EvaluationRows))}, got {rows!r}")
    for arm in arms:
        if arm.proba_NC.shape != (len(labels), len(labels.classes)):
            raise CompareError(
                f"arm {arm.name!r} must be of shape (rows, classes) = ({len(labels)}, {len(labels.classes)}), "
                f"got {arm.proba_NC.shape}: score the rows of the labels, in their order"
            )
        if arm.weight_M is not None and members is not None and len(arm.weight_M) != len(members.members):
            raise CompareError(
                f"arm {arm.name!r} has {len(arm.weight_M)} weights for {len(members.members)} members: give one weight "
                "per member"
            )
    if members is not None and not np.array_equal(members.ids, labels.ids):
        raise CompareError("member scores and labels must hold the same ids in the same order: align them first")
    if len(np.unique(labels.groups)) < 2:
        raise CompareError("a comparison needs rows of two groups or more, got one group: name a finer group")


def _of_members(
    members: "ScoreTable | None", compared: ComparedRows, seed: int
) -> tuple[tuple[SizePoint, ...], tuple[tuple[float, ...], ...]]:
    """Score against the number of members, and the correlation of their errors; empty without members."""
    if members is None:
        return (), ()
    target_NC, proba_NMC = compared.target_NC, members.proba_NMC
    curve = size_curve(target=target_NC, proba_NMC=proba_NMC, weight=compared.weight_N, seed=seed)
    return curve, error_correlation(target=target_NC, proba_NMC=proba_NMC)


def _strata(compared: ComparedRows, floors: Floors) -> tuple[Stratum, ...]:
    masks = [(name, compared.of_stratum(name)) for name in compared.strata]
    return tuple(
        Stratum(name, int(mask_N.sum()), compared.n_groups_of(mask_N), floor)
        for (name, mask_N), floor in zip(masks, floors.by_stratum, strict=True)
    )


def _against_baseline(
    scored: Sequence[ScoredArm], baseline: int, compared: ComparedRows, intervals: IntervalSettings, metric: MetricFacts
) -> list[ArmScore]:
    """Add what compares each arm with the baseline; the baseline itself stays as it is."""
    # The strata first: where there are many groups, their sums and those of all rows are large.
    by_stratum = [
        _of_stratum(position, scored, baseline, compared, intervals) for position in range(len(compared.strata))
    ]
    losses = [one.loss_N for one in scored]
    differences = Differences.of_rows(losses, baseline, compared.group_N, compared.weight_N)
    overall = differences.intervals(intervals)
    drawn = [differences.intervals(replace(intervals, method=method)) for method in ("bootstrap_t", "percentile")]
    scores = [one.score for one in scored]
    simultaneous = differences.simultaneous(intervals, [family(score) for score in scores])
    results = []
    for a, (score, interval) in enumerate(zip(scores, overall, strict=True)):
        if interval is None:
            results.append(score)
            continue
        results.append(
            replace(
                score,
                difference=interval,
                bootstrap=tuple(drawn_interval for each in drawn if (drawn_interval := each[a]) is not None),
                simultaneous=simultaneous[a],
                improved=differences.improved(a),
                design_effect=differences.design_effect(
                    a, interval.estimate, losses[a] - losses[baseline], compared.weight_N
                )
                if metric.per_row
                else None,
                strata=tuple(
                    replace(stratum, difference=each[a]) for stratum, each in zip(score.strata, by_stratum, strict=True)
                ),
            )
        )
    return results


def _of_stratum(
    position: int, scored: Sequence[ScoredArm], baseline: int, compared: ComparedRows, intervals: IntervalSettings
) -> list[Interval | None]:
    """One interval per arm on the rows of the stratum at a position; None where the metric is not defined for all."""
    held_N = compared.of_stratum(compared.strata[position])
    losses = [loss_N for one in scored if (loss_N := one.loss_of_stratum(position, held_N)) is not None]
    if len(losses) < len(scored):
        return [None] * len(scored)
    differences = Differences.of_rows(losses, baseline, compared.group_N[held_N], compared.weight_N[held_N])
    return differences.intervals(intervals)


def family(arm: ArmScore) -> str:
    """The arms among which the best is looked for: combinations, members, or students."""
    if is_candidate(arm):
        return "combinations"
    return arm.kind if arm.kind in ("member", "prior") else "students"


def _judged(comparison: Comparison) -> Comparison:
    """The comparison with its judgement and its verdict."""
    arms, losses, base = comparison.arms, comparison.losses, comparison.baseline
    judgement = judge(arms, baseline=base, margin=comparison.margin, pair=comparison.pair)

    def carrying(name: str) -> tuple[str, ...]:
        loss = {arm.name: losses.loss_NA[:, a] for a, arm in enumerate(arms)}
        return carrying_groups(loss[name] - loss[base], losses.groups, losses.weight_N)

    student = next((arm.name for arm in arms if arm.kind == "student"), None)
    text = verdict(
        arms,
        judgement,
        baseline=base,
        margin=comparison.margin,
        pair=comparison.pair,
        metric=comparison.metric,
        carrying=carrying,
        teacher_gain=None if student is None else comparison.teacher_gain(student),
    )
    return replace(comparison, judgement=judgement, verdict=text)
