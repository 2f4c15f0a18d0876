from dataclasses import replace

import numpy as np
import pytest

from foldstill.compare import Interval
from foldstill.compare.results import ArmScore
from foldstill.compare.verdict import answer, holm, verdict
from foldstill.cost import Cost


def interval(estimate, reach, p=0.001):
    return Interval(estimate, estimate - reach, estimate + reach, 0.95, "jackknife_t", 100, p)


def arm(name, kind, kl, reach=0.01, holm_p=0.001, **rest):
    """An arm against an average of KL 0.5."""
    difference = None if name == "average" else interval(kl - 0.5, reach)
    p = None if name == "average" else holm_p
    return ArmScore(name, kind, {"kl": kl}, (), (), (), difference=difference, holm_p=p, **rest)


AVERAGE = arm("average", "average", 0.5, cost=Cost(macs=1000, parameters=10))


def test_holm_equals_an_independent_loop(rng):
    def by_definition(p):
        order = sorted(range(len(p)), key=lambda i: p[i])
        corrected, worst = [0.0] * len(p), 0.0
        for rank, i in enumerate(order):
            worst = max(worst, (len(p) - rank) * p[i])
            corrected[i] = min(1.0, worst)
        return corrected

    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    for n in (1, 2, 9):
        p = rng.uniform(size=n) ** 3
        assert holm(p) == pytest.approx(by_definition(p))
    assert holm([]) == []


def test_holm_never_lowers_a_p_value_nor_changes_their_order(rng):
    p = rng.uniform(size=20)
    corrected = np.asarray(holm(p))
    assert (corrected >= p).all()
    assert (np.diff(corrected[np.argsort(p)]) >= 0).all()


def test_a_significant_gain_says_stack_and_how_much():
    arms = [AVERAGE, arm("convex", "combination", 0.46, reducible=0.34), arm("m1", "member", 0.45)]
    assert verdict(arms, baseline="average") == (
        "Stack: convex beats plain averaging by 0.0400 KL (95 % interval 0.0300 to 0.0500), "
        "34 % of what a perfect model could still remove."
    )
    assert answer(arms) == "yes"


def test_a_lower_score_that_is_not_significant_does_not_take_the_headline():
    arms = [AVERAGE, arm("convex", "combination", 0.46), arm("mlp", "combination", 0.45, reach=0.08, holm_p=0.4)]
    text = verdict(arms, baseline="average")
    assert text.startswith("Stack: convex beats")
    assert "mlp scores lower still, but less surely" in text


def test_a_gain_that_does_not_survive_the_correction_is_called_chance():
    arms = [AVERAGE, arm("convex", "combination", 0.48, reach=0.019, holm_p=0.12), arm("mlp", "combination", 0.51)]
    text = verdict(arms, baseline="average")
    assert text.startswith("Nothing here surely beats plain averaging: convex is better by 0.0200 KL")
    assert "2 arms compared this may be chance (corrected p 0.120)" in text
    assert answer(arms) == "unsure"


def test_a_tie_says_that_nothing_beats_plain_averaging():
    arms = [AVERAGE, arm("convex", "combination", 0.499), arm("mlp", "combination", 0.52)]
    assert verdict(arms, baseline="average") == (
        "Nothing here beats plain averaging: the nearest, convex, differs by "
        "−0.0010 KL (95 % interval −0.0110 to +0.0090)."
    )
    assert answer(arms) == "no"


def test_when_all_lose_the_verdict_says_so():
    arms = [AVERAGE, arm("convex", "combination", 0.53), arm("mlp", "combination", 0.56)]
    text = verdict(arms, baseline="average")
    assert text == (
        "Nothing here beats plain averaging: all do worse, the nearest, convex, "
        "by 0.0300 KL (95 % interval 0.0200 to 0.0400)."
    )
    assert answer(arms) == "no"


def test_without_a_combination_the_verdict_claims_nothing():
    assert verdict([AVERAGE, arm("m1", "member", 0.3)], baseline="average") == (
        "No combination was compared with plain averaging."
    )


def test_the_student_is_compared_with_the_average_in_score_and_cost():
    arms = [AVERAGE, arm("convex", "combination", 0.46), arm("s", "student", 0.505, cost=Cost(macs=12))]
    text = verdict(arms, baseline="average")
    assert text.endswith(
        "The student is level with the plain average, +0.0050 KL (95 % interval −0.0050 to +0.0150) "
        "at 1.2 % of its MACs."
    )
    worse = verdict([*arms[:2], arm("s", "student", 0.55, cost=Cost(parameters=1))], baseline="average")
    assert worse.endswith(
        "The student's KL is above that of the plain average by 0.0500 KL (95 % interval 0.0400 to 0.0600) "
        "at 10 % of its parameters."
    )
    timed = [
        replace(AVERAGE, cost=Cost(macs=1000, latency_1_ms=20.0)),
        arms[1],
        arm("s", "student", 0.505, cost=Cost(macs=12, latency_1_ms=1.0)),
    ]
    assert verdict(timed, baseline="average").endswith("at 1.2 % of its MACs and 5 % of its latency.")
    equivalent = [*timed[:2], replace(timed[2], worth=2.34)]
    assert verdict(equivalent, baseline="average").endswith("of its latency, worth 2.3 averaged members.")


def test_the_verdict_says_when_a_teacher_does_not_help():
    arms = [AVERAGE, arm("s", "student", 0.48), arm("alone", "student_without_teacher", 0.479)]
    text = verdict(arms, baseline="average", teacher_gain=interval(0.001, 0.004))
    assert "distillation does not help here: with the teacher it differs by +0.0010 KL" in text
    helped = verdict(arms, baseline="average", teacher_gain=interval(-0.02, 0.004))
    assert helped.endswith("its teacher is worth 0.0200 KL (95 % interval 0.0160 to 0.0240).")
    unsure = verdict(arms, baseline="average", teacher_gain=interval(-0.02, 0.03))
    assert "that its teacher helps is not proved: with it the KL differs by −0.0200 KL" in unsure


def test_a_single_member_that_does_better_alone_is_named():
    arms = [AVERAGE, arm("pool", "combination", 0.47, -0.03), arm("best_member", "member", 0.46, -0.04)]
    assert "alone" not in verdict(arms, baseline="average")
    chosen = [*arms[:2], replace(arms[2], chosen="resnet")]
    assert verdict(chosen, baseline="average").endswith("One member alone, resnet, scores lower still (0.4600).")
