import csv
import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pyarrow.parquet as pq
import pytest

from foldstill.compare import Arm, Comparison, IntervalSettings, compare, paired_intervals
from foldstill.compare.members import error_correlation, size_curve, worth_in_members
from foldstill.compare.metrics import scores
from foldstill.compare.table import students_table
from foldstill.cost import Cost
from foldstill.data.labels import Labels
from foldstill.data.simplex import kl_divergence, row_kl, softmax
from foldstill.errors import CompareError, CostError, FoldstillError
from foldstill.oof.table import ScoreTable


@pytest.fixture(scope="module")
def table():
    """240 rows in 40 groups, three strata, five members of which one is better than the rest."""
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(40), 6)
    truth = 1.5 * rng.standard_normal((240, 3)) + rng.standard_normal((40, 3))[groups]
    labels = Labels.from_votes(
        rng.multinomial(rng.choice([2, 5, 15], 240), softmax(truth)), groups=groups, classes=["a", "b", "c"]
    )
    noise = np.array([0.5, 1.5, 1.5, 2.0, 2.0])[:, None]
    proba = softmax(truth[:, None] + noise * rng.standard_normal((240, 5, 3)))
    return labels, ScoreTable(labels.ids, tuple("vwxyz"), labels.classes, proba.astype(np.float32))


@pytest.fixture(scope="module")
def arms(table):
    _, members = table
    proba = members.proba_NMC / members.proba_NMC.sum(axis=2, keepdims=True, dtype=np.float64)
    weight = np.array([0.8, 0.05, 0.05, 0.05, 0.05])
    return [
        Arm("v", "member", proba[:, 0], cost=Cost(parameters=5, macs=10)),
        Arm("average", "average", proba.mean(axis=1), cost=Cost(parameters=25, macs=50)),
        Arm("convex", "combination", np.tensordot(proba, weight, (1, 0)), weight_M=weight, note="by hand"),
        Arm("uniform", "ablation", np.full((240, 3), 1 / 3)),
        Arm("auto", "combination", proba.mean(axis=1), chosen="average"),
    ]


@pytest.fixture(scope="module")
def comparison(table, arms):
    labels, members = table
    return compare(arms, labels, rows="oof cross-fitted", members=members, intervals=IntervalSettings(resamples=200))


def test_every_arm_is_scored_on_the_same_rows_and_paired_with_the_average(table, arms, comparison):
    labels, _ = table
    kl_NA = np.column_stack([row_kl(target=labels.target_NC, proba=a.proba_NC) for a in arms])
    np.testing.assert_allclose(comparison.row_loss_NA, kl_NA, atol=1e-9)
    expected = paired_intervals(kl_NA - kl_NA[:, [1]], labels.groups)
    for i, arm in enumerate(comparison.arms):
        assert arm.kl == pytest.approx(kl_divergence(target=labels.target_NC, proba=arms[i].proba_NC), abs=1e-9)
        assert sum(arm.class_kl_C) == pytest.approx(arm.kl, abs=1e-9)
        if arm.name == "average":
            assert arm.difference is None
        else:
            assert arm.difference.low == pytest.approx(expected[i].low, abs=1e-9)
            assert [b.method for b in arm.bootstrap] == ["bootstrap_t", "percentile"]


def test_any_two_arms_can_be_paired_later_in_all_rows_and_in_a_stratum(table, comparison):
    labels, _ = table
    difference = (comparison.row_loss_NA[:, 2] - comparison.row_loss_NA[:, 0])[:, None]
    assert comparison.pair("convex", "v") == paired_intervals(difference, labels.groups)[0]
    at = labels.stratum_N == ">=10"
    assert comparison.pair("convex", "v", stratum=">=10") == paired_intervals(difference[at], labels.groups[at])[0]
    assert comparison.pair("convex", "average").estimate == pytest.approx(comparison["convex"].difference.estimate)


def test_share_of_groups_improved_and_design_effect_equal_those_of_a_loop(table, comparison):
    labels, _ = table
    difference = comparison.row_loss_NA[:, 2] - comparison.row_loss_NA[:, 1]
    of_group = [difference[labels.groups == g] for g in np.unique(labels.groups)]
    convex = comparison["convex"]
    assert convex.improved == pytest.approx(np.mean([d.mean() < 0 for d in of_group]))
    centred = difference - difference.mean()
    clustered = sum(centred[labels.groups == g].sum() ** 2 for g in np.unique(labels.groups))
    assert convex.design_effect == pytest.approx(clustered / (centred**2).sum(), rel=1e-6)
    # An arm equal to the average ties in every group.
    assert comparison["auto"].improved == 0.5
    assert comparison["auto"].design_effect is None


def test_effective_groups_are_fewer_when_sizes_differ(table, arms):
    labels, _ = table
    assert compare(arms, labels, intervals=IntervalSettings(resamples=20)).effective_groups == pytest.approx(40)
    one_large = replace(labels, groups=np.where(np.arange(240) < 120, "0", labels.groups))
    assert compare(arms, one_large, intervals=IntervalSettings(resamples=20)).effective_groups == pytest.approx(
        240**2 / (120**2 + 20 * 36)
    )


def test_each_stratum_is_scored_on_its_own_rows(table, arms, comparison):
    labels, _ = table
    assert [s.name for s in comparison.strata] == ["1-2", "3-9", ">=10"]
    assert sum(s.n_rows for s in comparison.strata) == 240
    for stratum in comparison["convex"].strata:
        at = labels.stratum_N == stratum.stratum
        expected = kl_divergence(target=labels.target_NC[at], proba=arms[2].proba_NC[at])
        assert stratum.scores["kl"] == pytest.approx(expected, abs=1e-9)


def test_the_reducible_share_counts_from_the_vote_noise_floor(comparison):
    average, best = comparison["average"], comparison["v"]
    assert 0 < comparison.floor < best.kl
    assert best.reducible == pytest.approx((average.kl - best.kl) / (average.kl - comparison.floor))
    assert average.reducible is None
    low, high = comparison.floor_bounds
    assert low < comparison.floor <= high <= best.kl + 1e-9
    fewest, most = comparison.reducible_bounds("v")
    assert fewest < best.reducible <= most <= 1
    assert comparison.reducible_bounds("average") is None


def test_a_floor_above_a_score_that_was_reached_is_left_out(table, arms):
    labels, _ = table
    # Totals understated fivefold: unanimous rows look like single votes.
    understated = Labels.from_shares(labels.target_NC, np.maximum(labels.total_N / 5, 1), groups=labels.groups)
    sharp = [replace(a, proba_NC=0.98 * labels.target_NC + 0.02 / 3) for a in arms[:1]] + arms[1:]
    comparison = compare(sharp, replace(understated, classes=labels.classes), intervals=IntervalSettings(resamples=20))
    assert comparison.floor is None
    assert comparison["v"].reducible is None


def test_weights_of_rows_reach_every_mean(table, arms):
    labels, _ = table
    weight = np.arange(240) % 2
    weighted = compare(arms, labels, weight_N=weight, intervals=IntervalSettings(resamples=50))
    half = compare(
        [replace(a, proba_NC=a.proba_NC[1::2]) for a in arms],
        labels.take(np.arange(1, 240, 2)),
        intervals=IntervalSettings(resamples=50),
    )
    assert weighted["convex"].scores == pytest.approx(half["convex"].scores)
    assert weighted["convex"].difference.low == pytest.approx(half["convex"].difference.low)
    carried = compare(
        arms, replace(labels, sample_weight_N=weight.astype(float)), intervals=IntervalSettings(resamples=50)
    )
    assert carried["convex"].difference == weighted["convex"].difference


def test_the_size_curve_goes_from_single_members_to_the_average(table, comparison):
    labels, members = table
    single = [kl_divergence(target=labels.target_NC, proba=members.proba_NMC[:, m]) for m in range(5)]
    first, last = comparison.size_curve[0], comparison.size_curve[-1]
    assert first.mean == pytest.approx(np.mean(single), abs=1e-6)
    assert first.best_first == pytest.approx(min(single), abs=1e-6)
    assert (last.mean, last.low, last.high) == pytest.approx((last.best_first,) * 3)
    assert last.mean == pytest.approx(comparison["average"].kl, abs=1e-6)
    pairs = members.proba_NMC[:, np.argsort(single)[:2]].mean(axis=1)
    expected = kl_divergence(target=labels.target_NC, proba=pairs)
    assert comparison.size_curve[1].best_first == pytest.approx(expected, abs=1e-6)


def test_the_calibrated_curve_of_few_members_is_the_mean_over_all_subsets(table):
    labels, members = table
    curve = size_curve(target=labels.target_NC, proba_NMC=members.proba_NMC)
    for n in range(1, 6):
        subsets = [members.proba_NMC[:, list(of)].mean(axis=1, dtype=float) for of in combinations(range(5), n)]
        expected = np.mean([scores(target=labels.target_NC, proba=proba)["calibrated_kl"] for proba in subsets])
        assert curve[n - 1].calibrated == pytest.approx(expected, abs=1e-6)
    again = size_curve(target=labels.target_NC, proba_NMC=members.proba_NMC, seed=1)
    assert [p.calibrated for p in again] == [p.calibrated for p in curve]


def test_the_worth_among_many_members_does_not_depend_on_the_draws(rng):
    truth = 1.5 * rng.standard_normal((300, 3))
    target = rng.multinomial(9, softmax(truth)) / 9
    proba = softmax(truth[:, None] + 1.5 * rng.standard_normal((300, 9, 3))).astype(np.float32)
    curves = [size_curve(target=target, proba_NMC=proba, seed=seed) for seed in range(4)]
    worth = [worth_in_members(float(np.mean([c[3].calibrated for c in curves])), curve) for curve in curves]
    assert np.ptp(worth) < 0.4  # four times the error that is aimed at


def test_the_worth_in_members_is_interpolated_on_the_size_curve(table):
    labels, members = table
    curve = size_curve(target=labels.target_NC, proba_NMC=members.proba_NMC)
    calibrated = [point.calibrated for point in curve]
    for point in curve[:3]:
        assert worth_in_members(point.calibrated, curve) == pytest.approx(point.n)
    between = (calibrated[1] + calibrated[2]) / 2
    assert worth_in_members(between, curve) == pytest.approx(2.5)
    assert worth_in_members(calibrated[0] + 1, curve) == 0
    assert worth_in_members(min(calibrated) - 1, curve) is None
    assert worth_in_members(0.5, ()) is None
    assert worth_in_members(None, curve) is None


def test_the_calibrated_curve_goes_from_the_mean_of_single_members_to_the_average(table, comparison):
    labels, members = table
    single = [
        scores(target=labels.target_NC, proba=members.proba_NMC[:, m], weight=comparison.losses.weight_N)
        for m in range(5)
    ]
    curve = comparison.size_curve
    assert curve[0].calibrated == pytest.approx(np.mean([one["calibrated_kl"] for one in single]), abs=1e-6)
    assert curve[-1].calibrated == pytest.approx(comparison["average"].scores["calibrated_kl"], abs=1e-6)
    assert comparison["average"].worth == pytest.approx(5)


def test_overconfidence_does_not_change_the_worth_in_members(table):
    labels, members = table
    average = members.proba_NMC.mean(axis=1)
    overconfident = average**3 / (average**3).sum(axis=1, keepdims=True)
    arms = [Arm("average", "average", average), Arm("overconfident", "combination", overconfident)]
    comparison = compare(arms, labels, members=members, intervals=IntervalSettings(resamples=20))
    assert comparison["overconfident"].kl > comparison["average"].kl + 0.1
    assert comparison["overconfident"].worth == pytest.approx(5, abs=0.01)


def test_the_correlation_of_errors_equals_that_of_numpy(table):
    labels, members = table
    error = (members.proba_NMC - labels.target_NC[:, None]).transpose(1, 0, 2).reshape(5, -1)
    ours = error_correlation(target=labels.target_NC, proba_NMC=members.proba_NMC)
    np.testing.assert_allclose(ours, np.corrcoef(error), atol=1e-6)


def test_a_comparison_is_read_back_unchanged(comparison, tmp_path):
    comparison.write(tmp_path)
    again = Comparison.read(tmp_path)
    assert replace(again, losses=None) == replace(comparison, losses=None)
    np.testing.assert_array_equal(again.row_loss_NA, comparison.row_loss_NA)
    assert again.pair("convex", "v") == comparison.pair("convex", "v")
    assert again["convex"].weights == pytest.approx([0.8, 0.05, 0.05, 0.05, 0.05])


def test_losses_that_are_written_part_by_part_are_read_as_they_were(comparison, tmp_path, monkeypatch):
    monkeypatch.setattr("foldstill.compare.comparison._PART_ROWS", 50)  # of 240 rows
    comparison.write(tmp_path)
    assert pq.ParquetFile(tmp_path / "comparison-rows.parquet").num_row_groups == 5
    again = Comparison.read(tmp_path).losses
    for name, values in vars(comparison.losses).items():
        np.testing.assert_array_equal(getattr(again, name), values, err_msg=name)


def test_files_hold_no_nan_and_one_line_per_arm_and_stratum(comparison, tmp_path):
    comparison.write(tmp_path)

    def refuse(text):
        raise AssertionError(text)

    facts = json.loads((tmp_path / "comparison.json").read_text(), parse_constant=refuse)
    assert facts["verdict"] == comparison.verdict
    with (tmp_path / "comparison.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 5 * 4
    assert float(lines[0]["kl"]) == comparison.arms[0].kl
    assert {p.name for p in tmp_path.iterdir()} == {"comparison.json", "comparison.csv", "comparison-rows.parquet"}


def test_files_of_two_comparisons_are_not_mixed(table, arms, comparison, tmp_path):
    labels, _ = table
    comparison.write(tmp_path)
    json_of_first = (tmp_path / "comparison.json").read_text()
    compare([*arms[1:], arms[0]], labels, weight_N=labels.total_N, intervals=IntervalSettings(resamples=20)).write(
        tmp_path
    )
    (tmp_path / "comparison.json").write_text(json_of_first)
    with pytest.raises(CompareError, match="two runs"):
        Comparison.read(tmp_path)


def test_reading_a_folder_without_a_comparison_says_what_to_run(tmp_path):
    with pytest.raises(CompareError, match=r"comparison\.json is missing.*run compare"):
        Comparison.read(tmp_path)


def test_a_student_is_paired_with_the_one_without_a_teacher(table, arms):
    labels, members = table
    proba = members.proba_NMC.astype(np.float64)
    students = [Arm("s", "student", proba[:, 0]), Arm("s0", "student_without_teacher", proba[:, 3])]
    assert (
        "its teacher is worth" in compare([*arms, *students], labels, intervals=IntervalSettings(resamples=20)).verdict
    )
    swapped = [replace(students[0], proba_NC=proba[:, 3]), replace(students[1], proba_NC=proba[:, 0])]
    assert (
        "distillation does not help here"
        in compare([*arms, *swapped], labels, intervals=IntervalSettings(resamples=20)).verdict
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arms: arms + arms[:1], "different names"),
        (lambda arms: arms[:1], "baseline 'average' is not among"),
        (lambda arms: [*arms, Arm("short", "member", np.full((3, 3), 1 / 3))], "arm 'short' must be"),
        (lambda arms: [*arms, Arm("w", "combination", arms[0].proba_NC, weight_M=np.ones(2))], "2 weights for 5"),
    ],
)
def test_arms_that_do_not_fit_are_refused_in_a_sentence(table, arms, change, message):
    labels, members = table
    with pytest.raises(CompareError, match=message):
        compare(change(arms), labels, members=members)


def test_logits_and_unknown_kinds_and_negative_costs_are_refused_where_they_are_made():
    with pytest.raises(FoldstillError, match="logits"):
        Arm("m", "member", np.array([[2.0, -1.0]]))
    with pytest.raises(CompareError, match="kind must be one of"):
        Arm("m", "modell", np.array([[0.5, 0.5]]))
    with pytest.raises(CostError, match="cost macs"):
        Cost(macs=-1)


def test_scores_of_several_seeds_are_means_over_them(table, arms):
    labels, members = table
    first, *further = (members.proba_NMC[:, m] / members.proba_NMC[:, m].sum(1, keepdims=True) for m in (1, 2, 3))
    student = Arm("student", "student", first, further_seeds=tuple(further))
    alone = [Arm(f"seed {s}", "ablation", proba) for s, proba in enumerate(student.by_seed)]
    comparison = compare([arms[1], student, *alone], labels, intervals=IntervalSettings(resamples=200))
    scored, each = comparison["student"], [comparison[arm.name] for arm in alone]
    assert scored.kl_by_seed == pytest.approx([one.kl for one in each])
    assert scored.kl == pytest.approx(np.mean(scored.kl_by_seed))
    assert scored.kl_deviation == pytest.approx(np.std(scored.kl_by_seed, ddof=1))
    assert scored.scores["accuracy"] == pytest.approx(np.mean([one.scores["accuracy"] for one in each]))
    assert scored.strata[0].scores["kl"] == pytest.approx(np.mean([one.strata[0].scores["kl"] for one in each]))
    # Seeds are averaged row by row before rows are compared, so their noise is not mistaken for a row's.
    wide = [one.difference.high - one.difference.low for one in each]
    assert scored.difference.high - scored.difference.low < max(wide)
    assert each[0].kl_by_seed == ()
    assert each[0].kl_deviation is None


def test_seeds_of_other_rows_are_refused(arms):
    with pytest.raises(CompareError, match="the same for every seed"):
        Arm("student", "student", arms[0].proba_NC, further_seeds=(arms[0].proba_NC[1:],))


def test_each_student_is_paired_with_its_own_twin_without_a_teacher(table, arms):
    labels, members = table
    v, w, x, y = (members.proba_NMC[:, m] / members.proba_NMC[:, m].sum(1, keepdims=True) for m in range(4))
    students = [
        Arm("student", "student", v),
        Arm("student without teacher", "student_without_teacher", w),
        Arm("longer", "ablation", x),
        Arm("longer without teacher", "ablation", y),
        Arm("softer", "ablation", y),
    ]
    comparison = compare([arms[1], *students], labels, intervals=IntervalSettings(resamples=200))
    gains = comparison.teacher_gains()
    assert set(gains) == {"student", "longer", "softer"}
    assert gains["student"] == comparison.pair("student", "student without teacher")
    assert gains["longer"] == comparison.pair("longer", "longer without teacher")
    assert gains["softer"] == comparison.pair("softer", "student without teacher")
    assert comparison.twin("student without teacher") is None
    assert comparison.seeds_improved("student") == ""
    two = [replace(s, further_seeds=(y,)) for s in students[:2]]
    by_seed = compare([arms[1], *two], labels, intervals=IntervalSettings(resamples=200))
    helped = np.less(by_seed["student"].kl_by_seed, by_seed["student without teacher"].kl_by_seed).sum()
    assert by_seed.seeds_improved("student") == f"{helped} of 2"
    shown = students_table(comparison)
    assert shown is not None
    assert shown.row_count == 3
    assert students_table(compare([arms[1], *students[:2]], labels, intervals=IntervalSettings(resamples=200))) is None
    assert compare([arms[1], arms[0]], labels, intervals=IntervalSettings(resamples=200)).teacher_gains() == {}
