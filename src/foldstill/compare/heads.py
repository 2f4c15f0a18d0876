"""One summary of several comparisons of the same groups: the heads of a multi-label problem.

H heads, A arms, G groups.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.comparison import Comparison, shown_arm
from foldstill.compare.differences import Differences
from foldstill.compare.group_sums import GroupSums
from foldstill.compare.intervals import Interval, group_steps, paired_intervals
from foldstill.compare.judgement import Judgement, carrying_groups, judge
from foldstill.compare.pairing import family
from foldstill.compare.results import ArmScore, MetricFacts
from foldstill.compare.verdict import verdict
from foldstill.errors import CompareError

if TYPE_CHECKING:
    from rich.table import Table

Floats = NDArray[np.float64]

ALL = "all heads"
"""Names the mean over heads in tables."""


@dataclass(frozen=True)
class HeadsComparison:
    """Several comparisons and their mean, made by `over_heads`.

    Parameters
    ----------
    heads : mapping of str to Comparison
        The comparison of each head.
    arms : tuple of ArmScore
        The arms that all heads have, with the mean of the metric over heads; each head counts equally.
    judgement : Judgement
        What the mean over heads proves, and which arm to use.
    verdict : str
        The answer in sentences.
    metric : MetricFacts
        The metric that decides.
    """

    heads: Mapping[str, Comparison]
    arms: tuple[ArmScore, ...]
    judgement: Judgement
    verdict: str
    metric: MetricFacts

    def __getitem__(self, name: str) -> ArmScore:
        names = [arm.name for arm in self.arms]
        if name not in names:
            raise CompareError(f"no arm {name!r} in all heads: name one of {names}")
        return self.arms[names.index(name)]

    def records(self) -> list[dict[str, Any]]:
        """One flat record per arm and head, and per arm for the mean over heads."""
        parts = [(name, one.shown.arms, one.metric) for name, one in self.heads.items()]
        parts.append((ALL, tuple(shown_arm(arm, self.metric) for arm in self.arms), self.metric))
        return [
            {
                "head": head,
                "arm": arm.name,
                "kind": arm.kind,
                metric.name: metric.shown(arm.loss),
                "difference": arm.difference and arm.difference.estimate,
                "low": arm.difference and arm.difference.low,
                "high": arm.difference and arm.difference.high,
            }
            for head, arms, metric in parts
            for arm in arms
        ]

    def table(self) -> "Table":
        """Per head the baseline and the best combination, and the arms of the mean over heads, best first."""
        from rich.table import Table

        first = next(iter(self.heads.values()))
        table = Table(box=None, pad_edge=False, header_style="bold", caption=f"{first.metric.title}; {ALL}: their mean")
        for title in ("head", "arm", first.metric.title, "difference", f"{100 * first.level:g} % interval", "answer"):
            table.add_column(title, justify="left" if title in ("head", "arm", "answer") else "right")
        for head, one in self.heads.items():
            self._add(table, head, one.metric, one[one.judgement.recommended], one.judgement.answer)
        for arm in sorted(self.arms, key=lambda arm: arm.loss):
            recommended = arm.name == self.judgement.recommended
            self._add(table, ALL, self.metric, arm, self.judgement.answer if recommended else "")
        return table

    def _add(self, table: "Table", head: str, metric: MetricFacts, arm: ArmScore, answer: str) -> None:
        d = arm.difference and metric.shown_interval(arm.difference)
        span = ["", "baseline"] if d is None else [f"{d.estimate:+z.4f}", f"{d.low:+z.4f} to {d.high:+z.4f}"]
        table.add_row(head, arm.label, f"{metric.shown(arm.loss):z.4f}", *span, answer)


def over_heads(heads: Mapping[str, Comparison]) -> HeadsComparison:
    """Summarise the comparisons of several heads by the mean of their metric, with intervals over groups.

    Each head counts equally. Leaving out a group leaves it out of every head, so that heads that fail on the same
    groups give a wide interval.

    Parameters
    ----------
    heads : mapping of str to Comparison
        The comparison of each head by its name: by one metric, with one baseline, on rows of the same groups. Arms that
        a head lacks are left out.

    Returns
    -------
    HeadsComparison

    Raises
    ------
    CompareError
        When there are fewer than two heads, or they differ in metric, baseline or kind of rows.

    Examples
    --------
    >>> from foldstill.compare import Arm, compare
    >>> from foldstill.data import Labels
    >>> rng = np.random.default_rng(0)
    >>> heads = {}
    >>> for head in ("kidney", "liver"):
    ...     truth = rng.dirichlet(np.ones(2), 300)
    ...     labels = Labels.from_votes(rng.multinomial(9, truth), groups=np.arange(300) // 5)
    ...     arms = [Arm("average", "average", 0.5 * truth + 0.25), Arm("sharper", "combination", 0.7 * truth + 0.15)]
    ...     heads[head] = compare(arms, labels)
    >>> summary = over_heads(heads)
    >>> summary.judgement.answer, round(summary["sharper"].difference.estimate, 3)
    ('yes', -0.035)
    """
    first = _check(heads)
    names = [arm.name for arm in first.arms if all(arm.name in [a.name for a in one.arms] for one in heads.values())]
    groups, value_GA = _group_values(list(heads.values()), names)
    base, settings = names.index(first.baseline), first.intervals
    differences = Differences(GroupSums(value_GA - value_GA[:, [base]], np.ones(len(groups))), base)
    plain = differences.intervals(settings)
    joint = differences.simultaneous(settings, [family(first[name]) for name in names])
    metric = replace(first.metric, title=f"mean {first.metric.title}")
    arms = tuple(
        _mean_arm(first[name], metric, float(value_GA[:, a].mean()), plain[a], joint[a]) for a, name in enumerate(names)
    )
    margin = float(np.mean([one.margin for one in heads.values()]))

    def pair(a: str, b: str) -> Interval:
        difference_G1 = (value_GA[:, names.index(a)] - value_GA[:, names.index(b)])[:, None]
        return paired_intervals(difference_G1, groups, settings=settings)[0]

    judgement = judge(arms, baseline=first.baseline, margin=margin, pair=pair)
    text = verdict(
        arms,
        judgement,
        baseline=first.baseline,
        margin=margin,
        pair=pair,
        metric=metric,
        carrying=lambda name: carrying_groups(
            value_GA[:, names.index(name)] - value_GA[:, base], groups, np.ones(len(groups))
        ),
    )
    answers = "; ".join(f"{head}: {one.judgement.answer}" for head, one in heads.items())
    return HeadsComparison(dict(heads), arms, judgement, f"{text} By head: {answers}.", metric)


def _check(heads: Mapping[str, Comparison]) -> Comparison:
    """The first head; raises CompareError unless there are several that can be summarised."""
    if len(heads) < 2:
        raise CompareError(f"a summary over heads needs two heads or more, got {len(heads)}: name all of them")
    first, *others = heads.values()
    for what in ("metric", "baseline", "rows", "level"):
        values = {name: getattr(one, what) for name, one in heads.items()}
        if any(getattr(one, what) != getattr(first, what) for one in others):
            shown = {name: getattr(value, "name", value) for name, value in values.items()}
            raise CompareError(f"heads must be compared by the same {what}, got {shown}: compare them again")
    return first


def _group_values(heads: list[Comparison], names: list[str]) -> tuple[NDArray[np.str_], Floats]:
    """Names of all groups, and values per group and arm whose mean is the mean loss over heads.

    They are the jackknife's pseudo-values: their steps are the mean over heads of the steps that the group makes.
    """
    weighted = [one.losses.groups[one.losses.weight_N > 0] for one in heads]
    groups = np.unique(np.concatenate(weighted))
    step_GA = np.zeros((len(groups), len(names)))
    loss_A = np.zeros(len(names))
    for one, present in zip(heads, weighted, strict=True):
        order = [[arm.name for arm in one.arms].index(name) for name in names]
        loss_NA = one.losses.loss_NA[:, order]
        rows = np.searchsorted(groups, np.unique(present))
        step_GA[rows] += group_steps(loss_NA, one.losses.groups, one.losses.weight_N) / len(heads)
        loss_A += np.average(loss_NA, axis=0, weights=one.losses.weight_N) / len(heads)
    value_GA = (len(groups) - 1) * step_GA
    return groups, value_GA - value_GA.mean(axis=0) + loss_A


def _mean_arm(
    arm: ArmScore, metric: MetricFacts, loss: float, plain: Interval | None, joint: Interval | None
) -> ArmScore:
    """An arm with what is known of its mean over heads, and without what is known of one head only."""
    return ArmScore(
        name=arm.name,
        kind=arm.kind,
        scores={metric.name: metric.shown(loss)},
        class_kl_C=(),
        strata=(),
        reliability=(),
        difference=plain,
        simultaneous=joint,
        metric_loss=loss,
        chosen=None if arm.chosen is None else "per head",
    )
