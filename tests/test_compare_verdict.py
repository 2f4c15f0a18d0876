from dataclasses import replace

import numpy as np
import pytest

from foldstill.compare import Arm, CompareSettings, Interval, compare
from foldstill.compare.judgement import carrying_groups, judge
from foldstill.compare.results import ArmScore, StratumScore
from foldstill.compare.verdict import headline, verdict
from foldstill.cost import Cost
from foldstill.data.labels import Labels
from foldstill.errors import CompareError


def interval(estimate, reach, p=0.001):
    return Interval(estimate, estimate - reach, estimate + reach, 0.95, "jackknife_sides", 100, p)


def arm(name, kind, kl, reach=0.01, joint=None, **rest):
    """An arm against an average of KL 0.5; `joint` is the reach of its simultaneous interval."""
    single = None if name == "average" else interval(kl - 0.5, reach)
    together = None if name == "average" else interval(kl - 0.5, reach if joint is None else joint)
    return ArmScore(name, kind, {"kl": kl}, (), (), (), difference=single, simultaneous=together, **rest)


AVERAGE = arm("average", "average", 0.5, cost=Cost(macs=1000, parameters=10))


def judged(arms, margin=0.005, pair_reach=0.001, **options):
    """The judgement and the verdict; `pair_reach` is that of the interval between any two arms."""
    kl = {one.name: one.kl for one in arms}

    def pair(a, b):
        return interval(kl[a] - kl[b], pair_reach)

    judgement = judge(arms, baseline="average", margin=margin, pair=pair)
    return judgement, verdict(arms, judgement, baseline="average", margin=margin, pair=pair, **options)


def test_a_significant_gain_says_stack_and_how_much():
    arms = [AVERAGE, arm("convex", "combination", 0.46, reducible=0.34), arm("m1", "member", 0.45)]
    judgement, text = judged(arms)
    assert text == (
        "Stack: convex beats plain averaging by 0.0400 KL (95 % interval 0.0300 to 0.0500), "
        "about 34 % or more of what a perfect model could still remove."
    )
    assert (judgement.answer, judgement.recommended) == ("yes", "convex")
    assert headline(judgement, "average") == "Yes: stack."


def test_the_simplest_arm_that_is_not_worse_beyond_noise_is_recommended():
    arms = [AVERAGE, arm("recalibrated", "combination", 0.462), arm("trees", "combination", 0.46)]
    judgement, text = judged(arms, pair_reach=0.003)
    assert (judgement.leader, judgement.recommended) == ("trees", "recalibrated")
    assert text.endswith(
        "Use recalibrated, which is simpler and not surely worse than trees: trees differs from it by −0.0020 KL "
        "(95 % interval −0.0050 to +0.0010)."
    )
    assert judged(arms, pair_reach=0.001)[0].recommended == "trees"


def test_an_arm_that_does_not_beat_the_average_is_not_recommended_for_being_simple():
    arms = [AVERAGE, arm("convex", "combination", 0.47, 0.04), arm("trees", "combination", 0.46)]
    assert judged(arms, pair_reach=0.5)[0].recommended == "trees"


def test_a_lower_score_that_is_not_significant_does_not_take_the_headline():
    arms = [AVERAGE, arm("convex", "combination", 0.46), arm("mlp", "combination", 0.45, joint=0.08)]
    _, text = judged(arms)
    assert text.startswith("Stack: convex beats")
    assert "mlp scores lower still, but less surely" in text


def test_a_gain_that_only_its_own_interval_shows_is_not_proved():
    arms = [AVERAGE, arm("convex", "combination", 0.48, reach=0.019, joint=0.03), arm("mlp", "combination", 0.51)]
    judgement, text = judged(arms)
    assert (judgement.answer, judgement.recommended) == ("cannot tell", "average")
    assert text == (
        "Cannot tell whether anything beats plain averaging: the best, convex, differs by −0.0200 KL (95 % interval "
        "−0.0500 to +0.0100) over 100 groups; about 230 groups would tell. Stay with plain averaging until then."
    )
    assert headline(judgement, "average").startswith("These rows cannot tell")


def test_nobody_is_told_to_collect_an_absurd_number_of_groups():
    arms = [AVERAGE, arm("convex", "combination", 0.4999, joint=0.03), arm("pool", "combination", 0.506, joint=0.03)]
    judgement, text = judged(arms, margin=0.0001)
    assert judgement.groups_needed is not None
    assert judgement.groups_needed > 10_000
    assert "; more than 100 times as many groups would be needed to tell, so the difference hardly matters." in text


def test_an_arm_has_the_name_that_the_verdict_gives_it_everywhere():
    labels = Labels.from_votes([[9, 1], [2, 8], [7, 3], [1, 9]] * 10)
    truth = labels.target_NC
    arms = [
        Arm("average", "average", 0.5 * truth + 0.25),
        Arm("twin", "combination", 0.5 * truth + 0.25),
        Arm("auto", "combination", 0.9 * truth + 0.05, chosen="convex"),
    ]
    comparison = compare(arms, labels)
    assert "auto (convex) beats plain averaging" in comparison.verdict
    assert "| auto (convex) |" in comparison.to_markdown()
    assert "auto (convex)" in comparison.to_latex()
    assert "<td>auto (convex)</td>" in comparison._repr_html_()
    # The arm that equals the average differs by no minus zero.
    assert "-0.0000" not in comparison.to_markdown()
    assert "+0.0000 to +0.0000" in comparison.to_markdown()


def test_intervals_within_the_margin_say_no_gain_and_wider_ones_cannot_tell():
    arms = [AVERAGE, arm("convex", "combination", 0.499, 0.003), arm("mlp", "combination", 0.52)]
    judgement, text = judged(arms)
    assert text == (
        "No gain over plain averaging: no combination gains more than the margin of 0.0050 KL; the best, convex, "
        "differs by −0.0010 KL (95 % interval −0.0040 to +0.0020)."
    )
    assert (judgement.answer, judgement.recommended) == ("no gain", "average")
    assert judged(arms, margin=0.003)[0].answer == "cannot tell"


def test_a_proved_gain_below_the_margin_is_no_gain_that_matters():
    arms = [AVERAGE, arm("convex", "combination", 0.498, 0.001)]
    assert judged(arms)[0].answer == "no gain"
    assert judged(arms, margin=0)[0].answer == "yes"


def test_when_all_lose_the_verdict_says_so():
    arms = [AVERAGE, arm("convex", "combination", 0.53), arm("mlp", "combination", 0.56)]
    judgement, text = judged(arms)
    assert text == (
        "No gain over plain averaging: all combinations do worse, the nearest, convex, "
        "by 0.0300 KL (95 % interval 0.0200 to 0.0400)."
    )
    assert judgement.answer == "no gain"


def test_the_groups_that_are_needed_would_decide_the_same_differences():
    """With the intervals that this number of groups gives there is an answer, with 10 % fewer there is none."""
    for estimate in (-0.02, -0.004, -0.0001, 0.003):
        first = arm("x", "combination", 0.5 + estimate, 0.05)
        needed = judged([AVERAGE, first])[0].groups_needed
        enough, fewer = (
            judged([AVERAGE, arm("x", "combination", 0.5 + estimate, 0.05 * (100 / n) ** 0.5)])[0].answer
            for n in (needed, 0.9 * needed)
        )
        assert enough != "cannot tell"
        assert fewer == "cannot tell"


def test_an_arm_that_is_the_average_is_not_the_best_of_what_was_tried():
    arms = [AVERAGE, arm("auto", "combination", 0.5, 0.0, chosen="average"), arm("convex", "combination", 0.51)]
    assert judged(arms)[0].leader == "convex"


def test_without_a_combination_the_verdict_claims_nothing():
    assert judged([AVERAGE, arm("m1", "member", 0.3)])[1] == "No combination was compared with plain averaging."


def test_a_single_member_counts_only_when_it_was_chosen_on_other_rows():
    arms = [AVERAGE, arm("convex", "combination", 0.49, 0.02), arm("m1", "member", 0.45)]
    assert judged(arms)[0].recommended == "average"
    chosen = [*arms, arm("best_member", "member", 0.46, chosen="resnet")]
    judgement, text = judged(chosen)
    assert judgement.recommended == "best_member"
    assert text.startswith("Use one member alone: best_member (resnet) beats plain averaging by 0.0400 KL")


def test_members_that_are_worse_than_guessing_are_said_first():
    prior = arm("class prior", "prior", 0.4, 0.05)
    arms = [prior, AVERAGE, arm("convex", "combination", 0.45), arm("s", "student", 0.48, worth=3.0)]
    judgement, text = judged(arms, pair_reach=0.1)
    assert text.startswith(
        "The plain average is worse than predicting the class shares for every row, 0.5000 against 0.4000 (95 % "
        "interval −0.1500 to −0.0500 for the gain by guessing): look at the members first. convex is not surely better "
        "than guessing either. Stack: convex"
    )
    assert headline(judgement, "average") == "The plain average is worse than guessing."
    assert "worth 3.0" not in text
    better = [replace(prior, difference=interval(0.1, 0.05)), *arms[1:]]
    assert judged(better)[1].startswith("Stack: convex")
    assert "worth 3.0" in judged(better)[1]


def strata(**differences):
    return tuple(StratumScore(name, {"kl": 0.5}, d) for name, d in differences.items())


def test_strata_that_disagree_are_said_first_and_how_to_decide_for_one():
    split = strata(few=interval(-0.05, 0.01), many=interval(0.04, 0.01), some=interval(0.01, 0.02))
    judgement, text = judged([AVERAGE, replace(arm("pool", "combination", 0.46), strata=split)])
    assert text.startswith(
        "Strata disagree: pool is worse than the plain average by 0.0400 KL (95 % interval 0.0300 to 0.0500) in "
        "stratum many, and better by 0.0400 KL (95 % interval 0.0300 to 0.0500) over all rows. Decide for the rows "
        "that you are judged on: `foldstill stack TABLE --strata many`."
    )
    assert judgement.opposed == ("many",)
    assert headline(judgement, "average").startswith("Strata disagree")
    # A loss everywhere is no disagreement.
    lost = strata(many=interval(0.04, 0.01), some=interval(0.01, 0.02))
    assert judged([AVERAGE, replace(arm("pool", "combination", 0.53), strata=lost)])[0].opposed == ()


def test_few_groups_that_carry_the_interval_are_named(rng):
    difference = 0.01 * rng.standard_normal(100)
    groups, weight = np.array([f"g{i:03}" for i in range(100)]), np.ones(100)
    assert carrying_groups(difference, groups, weight) == ()
    difference[[7, 70]] += [2.0, 1.9]
    assert carrying_groups(difference, groups, weight) == ("g007",)
    assert carrying_groups(difference[:15], groups[:15], weight[:15]) == ()
    arms = [AVERAGE, arm("convex", "combination", 0.46)]
    assert judged(arms, carrying=lambda _: ("a", "b"))[1].endswith(
        "The interval rests on few groups: groups a, b carry half of the variance. Without more such groups it is a "
        "rough guide."
    )
    assert "few groups: group 17 carries half" in judged(arms, carrying=lambda _: ("17",))[1]


def test_the_student_is_compared_with_the_average_in_score_and_cost():
    arms = [AVERAGE, arm("convex", "combination", 0.46), arm("s", "student", 0.505, cost=Cost(macs=12))]
    assert judged(arms)[1].endswith(
        "The student is level with the plain average, +0.0050 KL (95 % interval −0.0050 to +0.0150) "
        "at 1.2 % of its MACs."
    )
    worse = judged([*arms[:2], arm("s", "student", 0.55, cost=Cost(parameters=1))])[1]
    assert worse.endswith(
        "The student's KL is above that of the plain average by 0.0500 KL (95 % interval 0.0400 to 0.0600) "
        "at 10 % of its parameters."
    )
    timed = [
        replace(AVERAGE, cost=Cost(macs=1000, latency_1_ms=20.0)),
        arms[1],
        arm("s", "student", 0.505, cost=Cost(macs=12, latency_1_ms=1.0)),
    ]
    assert judged(timed)[1].endswith("at 1.2 % of its MACs and 5 % of its latency.")
    equivalent = [*timed[:2], replace(timed[2], worth=2.34)]
    assert judged(equivalent)[1].endswith("of its latency, worth 2.3 averaged members.")


def test_the_verdict_says_when_a_teacher_does_not_help():
    arms = [AVERAGE, arm("s", "student", 0.48), arm("alone", "student_without_teacher", 0.479)]
    text = judged(arms, teacher_gain=interval(0.001, 0.004))[1]
    assert "distillation does not help here: with the teacher it differs by +0.0010 KL" in text
    helped = judged(arms, teacher_gain=interval(-0.02, 0.004))[1]
    assert helped.endswith("its teacher is worth 0.0200 KL (95 % interval 0.0160 to 0.0240).")
    unsure = judged(arms, teacher_gain=interval(-0.02, 0.03))[1]
    assert "that its teacher helps is not proved: with it the KL differs by −0.0200 KL" in unsure


def test_a_margin_that_is_no_share_is_refused():
    with pytest.raises(CompareError, match=r"compare.margin must be a share in \[0, 1\), got 1.5"):
        CompareSettings(margin=1.5)
