"""The verdict in sentences, as a pure function of the numbers."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from foldstill.compare.intervals import Interval
from foldstill.compare.judgement import Judgement, Pair, candidates, joint, prior_arm
from foldstill.compare.results import ArmScore, MetricFacts
from foldstill.cost import percent_of

_MANY_TIMES = 100
"""Times as many groups as there are that nobody is told to collect."""

Carrying = Callable[[str], Sequence[str]]
"""The few groups that carry the interval of an arm, by the arm's name; empty where many do."""


def verdict(
    arms: Sequence[ArmScore],
    judgement: Judgement,
    *,
    baseline: str,
    margin: float,
    pair: Pair,
    metric: MetricFacts = MetricFacts(),
    carrying: Carrying = lambda _: (),
    teacher_gain: Interval | None = None,
) -> str:
    """Say which combination is best, whether it beats the baseline and by how much, and how the student compares.

    What makes the rest doubtful comes first: members that are worse than guessing, strata that disagree.
    `teacher_gain` is the student's loss minus that of the same student without a teacher. Losses are told as values of
    the metric.
    """
    by_name = {arm.name: arm for arm in arms}
    student = next((arm for arm in arms if arm.kind == "student"), None)
    words = _Words(metric)
    parts = [_guessing(arms, judgement, baseline, pair, words), _disagreement(by_name, judgement, baseline, words)]
    # A comparison of students alone says nothing about stacking.
    if judgement.leader is not None or student is None:
        parts += [
            _combinations(by_name, judgement, baseline, margin, words),
            _simpler(by_name, judgement, pair, words),
        ]
    if judgement.leader is not None:
        parts.append(_few_groups(carrying(judgement.leader)))
    if student is not None:
        guessing = judgement.worse_than_prior
        parts.append(_student(student, by_name[baseline], teacher_gain, words, guessing=guessing))
    return " ".join(part for part in parts if part)


def headline(judgement: Judgement, baseline: str) -> str:
    """The answer in a few words."""
    if judgement.worse_than_prior:
        return f"{_the(baseline).capitalize()} is worse than guessing."
    if judgement.opposed:
        return "Strata disagree: it depends on the rows."
    return {
        "yes": "Yes: stack.",
        "no gain": f"No: {_the(baseline)} is enough.",
        "cannot tell": f"These rows cannot tell: stay with {_the(baseline)}.",
    }[judgement.answer]


def _the(baseline: str) -> str:
    return "the plain average" if baseline == "average" else baseline


def _guessing(arms: Sequence[ArmScore], judgement: Judgement, baseline: str, pair: Pair, words: "_Words") -> str:
    """A sentence on a baseline that is worse than the class shares."""
    prior = prior_arm(arms)
    if not judgement.worse_than_prior or prior is None or prior.difference is None:
        return ""
    base = next(arm for arm in arms if arm.name == baseline)
    text = (
        f"{_the(baseline).capitalize()} is worse than predicting the class shares for every row, {words.value(base)} "
        f"against {words.value(prior)} ({words.ends(prior.difference)} for the gain by guessing): look at the members "
        "first."
    )
    if judgement.answer == "yes" and pair(judgement.recommended, prior.name).high >= 0:
        text += f" {judgement.recommended} is not surely better than guessing either."
    return text


def _disagreement(by_name: dict[str, ArmScore], judgement: Judgement, baseline: str, words: "_Words") -> str:
    """A sentence on strata in which the leader loses although it gains elsewhere."""
    if not judgement.opposed or judgement.leader is None:
        return ""
    leader = by_name[judgement.leader]
    parts = {part.stratum: part.difference for part in leader.strata if part.difference is not None}
    losses = [
        f"is worse than {_the(baseline)} by {words.size(parts[name])} in stratum {name}" for name in judgement.opposed
    ]
    better = [f"better by {words.size(d)} in {name}" for name, d in parts.items() if d.high < 0]
    if joint(leader).high < 0:
        better = [f"better by {words.size(joint(leader))} over all rows"]
    return (
        f"Strata disagree: {leader.label} {' and '.join(losses)}, and {' and '.join(better)}. Decide for the rows that "
        f"you are judged on: `foldstill stack TABLE --strata {shlex.join(judgement.opposed)}`."
    )


def _combinations(
    by_name: dict[str, ArmScore], judgement: Judgement, baseline: str, margin: float, words: "_Words"
) -> str:
    average = "plain averaging" if baseline == "average" else baseline
    found = candidates(list(by_name.values()))
    if judgement.leader is None:
        return f"No combination was compared with {average}."
    leader = by_name[judgement.leader]
    gap = joint(leader)
    if judgement.answer == "yes":
        part = "" if leader.reducible is None else _of_reducible(leader.reducible)
        use = "Stack" if leader.kind != "member" else "Use one member alone"
        text = f"{use}: {leader.label} beats {average} by {words.size(gap)}{part}."
        best = min(found, key=lambda arm: arm.loss)
        return (
            text
            if best is leader
            else f"{text} {best.label} scores {words.lower} still, but less surely: {words.signed(joint(best))}."
        )
    if judgement.answer == "cannot tell":
        needed = judgement.groups_needed
        more = "" if needed is None else f"; {_needed(needed, gap.n_groups)}"
        return (
            f"Cannot tell whether anything beats {average}: the best, {leader.label}, differs by {words.signed(gap)} "
            f"over {gap.n_groups} groups{more}. Stay with {average} until then."
        )
    if all(joint(arm).low > 0 for arm in found):
        return f"No gain over {average}: all combinations do worse, the nearest, {leader.label}, by {words.size(gap)}."
    return (
        f"No gain over {average}: no combination gains more than the margin of {margin:.4f} {words.title}; the best, "
        f"{leader.label}, differs by {words.signed(gap)}."
    )


def _needed(needed: int, n_groups: int) -> str:
    """How many groups would tell; where nobody will ever have as many, that."""
    if needed > _MANY_TIMES * n_groups:
        return f"more than {_MANY_TIMES} times as many groups would be needed to tell, so the difference hardly matters"
    return f"about {needed:,} groups would tell"


def _of_reducible(share: float) -> str:
    # The floor is estimated from below, and the share with it.
    return f", about {100 * share:.0f} % or more of what a perfect model could still remove"


def _simpler(by_name: dict[str, ArmScore], judgement: Judgement, pair: Pair, words: "_Words") -> str:
    """A sentence on an arm that is simpler than the leader and not worse beyond noise."""
    if judgement.answer != "yes" or judgement.leader in (None, judgement.recommended):
        return ""
    assert judgement.leader is not None, "a gain is somebody's"
    gap = pair(judgement.leader, judgement.recommended)
    use, leader = by_name[judgement.recommended].label, by_name[judgement.leader].label
    return (
        f"Use {use}, which is simpler and not surely worse than {leader}: {leader} differs from it by "
        f"{words.signed(gap)}."
    )


def _few_groups(names: Sequence[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    half = f"groups {shown} carry" if len(names) > 1 else f"group {shown} carries"
    return (
        f"The interval rests on few groups: {half} half of the variance. Without more such groups it is a rough guide."
    )


def _student(
    student: ArmScore, base: ArmScore, teacher_gain: Interval | None, words: "_Words", *, guessing: bool
) -> str:
    difference = student.difference
    assert difference is not None, "a student is never the baseline"
    average = _the(base.name)
    if difference.significant:
        side = "below" if words.metric.shown(difference.estimate) < 0 else "above"
        text = f"The student's {words.title} is {side} that of {average} by {words.size(difference)}"
    else:
        text = f"The student is level with {average}, {words.signed(difference)}"
    text += _cheaper(student, base)
    # To be worth many members that are worse than guessing is worth nothing.
    if student.worth is not None and not guessing:
        text += f", worth {student.worth:.1f} averaged members"
    if teacher_gain is None:
        return text + "."
    if teacher_gain.high < 0:
        return f"{text}; its teacher is worth {words.size(teacher_gain)}."
    if teacher_gain.estimate < 0:
        differs = f"with it the {words.title} differs by {words.signed(teacher_gain)}"
        return f"{text}; that its teacher helps is not proved: {differs}."
    return f"{text}; distillation does not help here: with the teacher it differs by {words.signed(teacher_gain)}."


def _cheaper(student: ArmScore, base: ArmScore) -> str:
    """Shares of the baseline's MACs and latency; of its parameters where neither was measured."""
    shares = {}
    for field, name in (("macs", "MACs"), ("latency_1_ms", "latency"), ("parameters", "parameters")):
        own, total = getattr(student.cost, field, None), getattr(base.cost, field, None)
        if own is not None and total:
            shares[name] = f"{percent_of(own, total)} of its {name}"
    shown = [share for name, share in shares.items() if name != "parameters"] or list(shares.values())
    return f" at {' and '.join(shown)}" if shown else ""


@dataclass(frozen=True)
class _Words:
    """Losses in the words and the direction of a metric."""

    metric: MetricFacts

    @property
    def title(self) -> str:
        return self.metric.title

    @property
    def lower(self) -> str:
        """What better values are."""
        return "lower" if self.metric.better == "low" else "higher"

    def value(self, arm: ArmScore) -> str:
        return f"{self.metric.shown(arm.loss):z.4f}"

    def size(self, interval: Interval) -> str:
        """A difference that is proved, without its sign, which the sentence states."""
        ends = sorted((abs(interval.low), abs(interval.high)))
        level = f"{100 * interval.level:g} % interval"
        return f"{abs(interval.estimate):.4f} {self.title} ({level} {ends[0]:.4f} to {ends[1]:.4f})"

    def signed(self, interval: Interval) -> str:
        estimate = f"{self.metric.shown_interval(interval).estimate:+z.4f}".replace("-", "−")
        return f"{estimate} {self.title} ({self.ends(interval)})"

    def ends(self, interval: Interval) -> str:
        shown = self.metric.shown_interval(interval)
        return f"{100 * interval.level:g} % interval {shown.low:+z.4f} to {shown.high:+z.4f}".replace("-", "−")
