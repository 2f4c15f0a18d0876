"""The verdict in sentences, as a pure function of the numbers."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from foldstill.compare.intervals import Interval
from foldstill.compare.results import ArmScore
from foldstill.cost import percent_of


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for the number of comparisons by Holm's step-down rule (Holm, 1979).

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    scaled = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(scaled, 1.0)
    return [float(x) for x in corrected]


def verdict(
    arms: Sequence[ArmScore], *, baseline: str, teacher_gain: Interval | None = None, level: float = 0.95
) -> str:
    """Say which combination is best, whether it beats the baseline and by how much, and how the student compares.

    A gain counts when its interval excludes zero and its p-value, corrected for the number of arms, is below 1 - level.
    `teacher_gain` is the student's KL minus that of the same student without a teacher.
    """
    student = next((arm for arm in arms if arm.kind == "student"), None)
    # A comparison of students alone says nothing about stacking.
    parts = [_combinations(arms, baseline, level), *_single(arms)] if _combined(arms) or student is None else []
    if student is not None:
        parts.append(_student(student, arms, baseline, teacher_gain))
    return " ".join(parts)


def answer(arms: Sequence[ArmScore], *, level: float = 0.95) -> Literal["yes", "unsure", "no"]:
    """Whether any combination beats the baseline: after Holm's correction, only before it, or not at all."""
    if _proved(arms, level):
        return "yes"
    return "unsure" if any(d.high < 0 for d in _combined(arms).values()) else "no"


def _combined(arms: Sequence[ArmScore]) -> dict[str, Interval]:
    """Differences of all combinations, best first."""
    ordered = sorted(arms, key=lambda arm: arm.kl)
    return {a.name: a.difference for a in ordered if a.kind in ("average", "combination") and a.difference is not None}


def _proved(arms: Sequence[ArmScore], level: float) -> list[str]:
    """The combinations that beat the baseline after Holm's correction, best first."""
    corrected = {arm.name: arm.holm_p for arm in arms}
    return [name for name, d in _combined(arms).items() if d.high < 0 and (corrected[name] or 0.0) < 1 - level]


def _combinations(arms: Sequence[ArmScore], baseline: str, level: float) -> str:
    average = "plain averaging" if baseline == "average" else baseline
    combined, by_name = _combined(arms), {arm.name: arm for arm in arms}
    if not combined:
        return f"No combination was compared with {average}."
    best, difference = next(iter(combined.items()))
    if proved := _proved(arms, level):
        share = by_name[proved[0]].reducible
        part = "" if share is None else f", {100 * share:.0f} % of what a perfect model could still remove"
        text = f"Stack: {proved[0]} beats {average} by {_size(combined[proved[0]])}{part}."
        return (
            text if proved[0] == best else f"{text} {best} scores lower still, but less surely: by {_size(difference)}."
        )
    if difference.high < 0:
        chance = f"with {len(arms) - 1} arms compared this may be chance (corrected p {by_name[best].holm_p:.3f})"
        return f"Nothing here surely beats {average}: {best} is better by {_size(difference)}, but {chance}."
    if all(d.low > 0 for d in combined.values()):
        return f"Nothing here beats {average}: all do worse, the nearest, {best}, by {_size(difference)}."
    return f"Nothing here beats {average}: the nearest, {best}, differs by {_signed(difference)}."


def _single(arms: Sequence[ArmScore]) -> list[str]:
    """A sentence on the best single member, chosen on other rows, where it does better than every combination."""
    single = next((arm for arm in arms if arm.kind == "member" and arm.chosen is not None), None)
    if single is None or single.kl >= min(arm.kl for arm in arms if arm.kind in ("average", "combination")):
        return []
    return [f"One member alone, {single.chosen}, scores lower still ({single.kl:.4f})."]


def _student(student: ArmScore, arms: Sequence[ArmScore], baseline: str, teacher_gain: Interval | None) -> str:
    difference = student.difference
    assert difference is not None, "a student is never the baseline"
    average = "the plain average" if baseline == "average" else baseline
    if difference.significant:
        side = "below" if difference.estimate < 0 else "above"
        text = f"The student's KL is {side} that of {average} by {_size(difference)}"
    else:
        text = f"The student is level with {average}, {_signed(difference)}"
    text += _cheaper(student, arms, baseline)
    if student.worth is not None:
        text += f", worth {student.worth:.1f} averaged members"
    if teacher_gain is None:
        return text + "."
    if teacher_gain.high < 0:
        return f"{text}; its teacher is worth {_size(teacher_gain)}."
    if teacher_gain.estimate < 0:
        return f"{text}; that its teacher helps is not proved: with it the KL differs by {_signed(teacher_gain)}."
    return f"{text}; distillation does not help here: with the teacher it differs by {_signed(teacher_gain)}."


def _cheaper(student: ArmScore, arms: Sequence[ArmScore], baseline: str) -> str:
    """Shares of the baseline's MACs and latency; of its parameters where neither was measured."""
    baseline_cost = next(arm for arm in arms if arm.name == baseline).cost
    shares = {}
    for field, name in (("macs", "MACs"), ("latency_1_ms", "latency"), ("parameters", "parameters")):
        own, total = getattr(student.cost, field, None), getattr(baseline_cost, field, None)
        if own is not None and total:
            shares[name] = f"{percent_of(own, total)} of its {name}"
    shown = [share for name, share in shares.items() if name != "parameters"] or list(shares.values())
    return f" at {' and '.join(shown)}" if shown else ""


def _size(interval: Interval) -> str:
    """A difference without its sign, which the sentence states."""
    ends = sorted((abs(interval.low), abs(interval.high)))
    return f"{abs(interval.estimate):.4f} KL ({100 * interval.level:g} % interval {ends[0]:.4f} to {ends[1]:.4f})"


def _signed(interval: Interval) -> str:
    text = (
        f"{interval.estimate:+.4f} KL ({100 * interval.level:g} % interval {interval.low:+.4f} to {interval.high:+.4f})"
    )
    return text.replace("-", "−")
