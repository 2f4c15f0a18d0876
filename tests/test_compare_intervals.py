import tracemalloc

import numpy as np
import pytest

from foldstill.compare import IntervalSettings, paired_intervals, simultaneous_intervals
from foldstill.compare.differences import Differences
from foldstill.errors import CompareError


@pytest.fixture
def uneven(rng):
    """40 groups of very different sizes, in shuffled rows, and three arms: a clear loss, a clear gain, noise."""
    size_G = np.maximum(1, np.rint(10 * np.exp(rng.standard_normal(40)))).astype(int)
    groups = np.repeat(np.arange(40), size_G)
    rng.shuffle(groups)
    effect = 0.05 * rng.standard_normal((40, 3))[groups]
    return np.array([0.2, -0.2, 0.0]) + effect + 0.3 * rng.standard_normal((len(groups), 3)), groups


def resampled_by_rows(difference, groups, weight, resamples, seed):
    """The textbook loop: draw groups, concatenate their rows, take the weighted mean."""
    rng = np.random.default_rng(seed)
    names = np.unique(groups)
    rows_of = [np.flatnonzero(groups == name) for name in names]
    means = []
    for _ in range(resamples):
        rows = np.concatenate([rows_of[g] for g in rng.integers(len(names), size=len(names))])
        means.append(np.average(difference[rows], axis=0, weights=weight[rows]))
    return np.asarray(means)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_percentile_interval_equals_that_of_concatenated_rows_for_the_same_draws(uneven, rng, weighted):
    difference, groups = uneven
    weight = rng.uniform(0.5, 2, len(groups)) if weighted else np.ones(len(groups))
    ours = paired_intervals(
        difference,
        groups,
        weight_N=weight if weighted else None,
        settings=IntervalSettings(method="percentile", resamples=300, seed=5),
    )
    low, high = np.quantile(resampled_by_rows(difference, groups, weight, 300, 5), [0.025, 0.975], axis=0)
    np.testing.assert_allclose([i.low for i in ours], low, rtol=0, atol=1e-12)
    np.testing.assert_allclose([i.high for i in ours], high, rtol=0, atol=1e-12)


def jackknife(difference, groups):
    """Mean and its delete-one-group standard error, by deleting rows."""
    names = np.unique(groups)
    mean = difference.mean()
    left_out = np.asarray([difference[groups != name].mean() for name in names])
    return mean, np.sqrt((len(names) - 1) / len(names) * ((left_out - mean) ** 2).sum()), left_out - mean


def test_the_bootstrap_t_interval_equals_that_of_concatenated_rows_for_the_same_draws(uneven):
    difference, groups = uneven
    rng = np.random.default_rng(2)
    mean, error, _ = jackknife(difference[:, 0], groups)
    t = []
    for _ in range(100):
        draw = rng.integers(40, size=40)
        # A group drawn twice is two groups.
        rows = [np.flatnonzero(groups == g) for g in draw]
        name = np.repeat(np.arange(40), [len(r) for r in rows])
        m, e, _ = jackknife(difference[np.concatenate(rows), 0], name)
        t.append((m - mean) / e)
    low, high = np.quantile(t, [0.025, 0.975])
    [ours, *_] = paired_intervals(
        difference, groups, settings=IntervalSettings(method="bootstrap_t", resamples=100, seed=2)
    )
    np.testing.assert_allclose([ours.low, ours.high], [mean - high * error, mean - low * error], atol=1e-10)


def test_jackknife_t_leaves_out_one_group_at_a_time_and_has_degrees_of_freedom_from_the_steps(uneven):
    from scipy.stats import t

    difference, groups = uneven
    settings = IntervalSettings(method="jackknife_t")
    for arm, ours in enumerate(paired_intervals(difference, groups, settings=settings)):
        mean, error, step = jackknife(difference[:, arm], groups)
        freedom = 1.5 * (step**2).sum() ** 2 / (step**4).sum()
        reach = t.ppf(0.975, min(freedom, 39)) * error
        np.testing.assert_allclose([ours.estimate, ours.low, ours.high], [mean, mean - reach, mean + reach], atol=1e-12)
        assert ours.p == pytest.approx(2 * t.sf(abs(mean) / error, min(freedom, 39)), abs=1e-12)


def test_each_end_of_the_default_interval_follows_from_its_side_and_allows_for_unseen_groups(uneven):
    from scipy.stats import t

    difference, groups = uneven
    for arm, ours in enumerate(paired_intervals(difference, groups)):
        mean, error, deleted = jackknife(difference[:, arm], groups)
        # Deleting a group with a large difference lowers the mean.
        above = (deleted[deleted < 0] ** 2).sum() / (deleted**2).sum()
        extreme, quantile = np.abs(deleted).max(), t.ppf(0.975, 39)
        low = mean - quantile * error * np.sqrt(max(2 * (1 - above), 1)) - 0.5 * extreme
        high = mean + quantile * error * np.sqrt(max(2 * above, 1)) + 1.5 * extreme
        np.testing.assert_allclose([ours.estimate, ours.low, ours.high], [mean, low, high], atol=1e-12)


def test_few_groups_that_lose_much_do_not_let_the_others_prove_a_gain():
    """In 5 % of the groups the arm loses, in the others it gains; over all groups it is worth nothing."""
    rng = np.random.default_rng(4)
    proved = {"jackknife_sides": 0, "jackknife_t": 0}
    for _ in range(400):
        difference = np.where(rng.random((100, 1)) < 0.05, 0.475, -0.025) + 0.1 * rng.standard_normal((100, 1))
        for method in proved:
            [interval] = paired_intervals(difference, np.arange(100), settings=IntervalSettings(method=method))
            proved[method] += interval.high < 0
    assert proved["jackknife_sides"] <= 0.5 * proved["jackknife_t"]


def test_a_proved_gain_needs_more_than_a_proved_loss(uneven):
    """Samples lack rare losses and show nothing of it, so the high end allows for more of them."""
    difference, groups = uneven
    for gain, loss in zip(paired_intervals(-difference, groups), paired_intervals(difference, groups), strict=True):
        assert gain.high > -loss.low
        assert -gain.low < loss.high


@pytest.mark.parametrize("method", ["jackknife_t", "jackknife_sides", "bootstrap_t", "percentile"])
def test_the_p_value_agrees_with_the_interval(uneven, method):
    difference, groups = uneven
    for shift in np.linspace(-0.3, 0.3, 13):
        for interval in paired_intervals(
            difference + shift, groups, settings=IntervalSettings(method=method, resamples=400)
        ):
            if abs(interval.p - 0.05) > 0.01:  # one draw more or less
                assert interval.significant == (interval.p < 0.05)


def test_arms_share_their_draws_so_that_an_arm_alone_has_the_same_interval(uneven):
    difference, groups = uneven
    all_arms = paired_intervals(difference, groups, settings=IntervalSettings(method="bootstrap_t", resamples=50))
    [alone] = paired_intervals(
        difference[:, 1:2], groups, settings=IntervalSettings(method="bootstrap_t", resamples=50)
    )
    assert (alone.low, alone.high) == pytest.approx((all_arms[1].low, all_arms[1].high), abs=1e-12)


def test_blocks_of_resamples_do_not_change_the_draws(uneven, monkeypatch):
    difference, groups = uneven
    in_one = paired_intervals(difference, groups, settings=IntervalSettings(method="percentile", resamples=64))
    monkeypatch.setattr("foldstill.compare.bootstrap._BLOCK_CELLS", 40 * 7)
    in_blocks = paired_intervals(difference, groups, settings=IntervalSettings(method="percentile", resamples=64))
    np.testing.assert_allclose([i.low for i in in_blocks], [i.low for i in in_one], atol=1e-14)


def test_of_more_groups_than_are_drawn_sets_of_them_give_the_same_intervals_but_for_the_draws(rng, monkeypatch):
    # Neighbours are alike: sets of neighbours would have intervals three times as wide.
    difference = 0.02 + np.repeat(rng.standard_normal((400, 2)), 10, axis=0)
    weight = rng.uniform(0.5, 2, 4000)
    for method in ("percentile", "bootstrap_t"):
        settings = IntervalSettings(method=method, resamples=1000)
        each = paired_intervals(difference, np.arange(4000), weight_N=weight, settings=settings)
        monkeypatch.setattr("foldstill.compare.intervals._MOST_DRAWN", 800)
        in_sets = paired_intervals(difference, np.arange(4000), weight_N=weight, settings=settings)
        monkeypatch.undo()
        assert [i.n_groups for i in in_sets] == [4000, 4000]
        np.testing.assert_allclose([i.estimate for i in in_sets], [i.estimate for i in each], rtol=1e-12)
        width, wanted = ([i.high - i.low for i in intervals] for intervals in (in_sets, each))
        assert wanted != width
        # Standard error of a width: 3 % by the draws, 2.5 % by the sets.
        np.testing.assert_allclose(width, wanted, rtol=0.12)


@pytest.mark.parametrize("compute", [paired_intervals, simultaneous_intervals])
@pytest.mark.parametrize("method", ["jackknife_t", "jackknife_sides"])
def test_arms_taken_one_at_a_time_have_the_same_intervals(uneven, monkeypatch, compute, method):
    difference, groups = uneven
    together = compute(difference, groups, settings=IntervalSettings(method=method))
    monkeypatch.setattr("foldstill.data.simplex.BLOCK", 40)
    for one, other in zip(compute(difference, groups, settings=IntervalSettings(method=method)), together, strict=True):
        np.testing.assert_allclose([one.low, one.high, one.p], [other.low, other.high, other.p], atol=1e-12)


def test_intervals_of_many_groups_take_little_more_memory_than_their_sums(uneven):
    paired_intervals(*uneven)  # imports what it needs
    loss_AN = np.random.default_rng(0).standard_normal((30, 100_000))
    tracemalloc.start()
    differences = Differences.of_rows(loss_AN, 0, np.arange(100_000), np.ones(100_000))
    differences.intervals(IntervalSettings())
    differences.simultaneous(IntervalSettings(), ["combinations"] * 30)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The sums, and some blocks of a million numbers. All arms at a time take 6 times the sums.
    assert peak < 3 * loss_AN.nbytes


def test_repeating_every_row_of_a_group_does_not_change_the_interval(uneven):
    difference, groups = uneven
    once, twice = (
        paired_intervals(difference, groups),
        paired_intervals(np.tile(difference, (2, 1)), np.tile(groups, 2)),
    )
    np.testing.assert_allclose([i.low for i in twice], [i.low for i in once], atol=1e-12)


@pytest.mark.parametrize("method", ["jackknife_t", "jackknife_sides", "bootstrap_t", "percentile"])
def test_identical_arms_differ_by_zero_with_a_p_value_of_one(method):
    [interval] = paired_intervals(
        np.zeros((20, 1)), np.arange(20) // 2, settings=IntervalSettings(method=method, resamples=50)
    )
    assert (interval.estimate, interval.low, interval.high, interval.p) == (0, 0, 0, 1)
    assert not interval.significant


def test_one_large_group_makes_the_interval_wide():
    rng = np.random.default_rng(1)
    groups = np.r_[np.zeros(1000, int), np.arange(1, 30)]
    difference = (0.1 + 0.1 * rng.standard_normal(30))[groups][:, None]
    [careful] = paired_intervals(difference, groups)
    [drawn] = paired_intervals(difference, groups, settings=IntervalSettings(method="percentile", resamples=500))
    assert careful.high - careful.low > 2 * (drawn.high - drawn.low)


def test_groups_without_weight_do_not_count():
    rng = np.random.default_rng(1)
    difference, groups = rng.standard_normal((40, 1)), np.arange(40) // 4
    weight = (groups < 5).astype(float)
    assert paired_intervals(difference, groups, weight_N=weight) == paired_intervals(difference[:20], groups[:20])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": np.zeros(4)}, "two groups or more"),
        ({"difference_NA": np.ones(4)}, r"\(rows, arms\)"),
        ({"difference_NA": np.full((4, 1), np.nan)}, "finite"),
        ({"weight_N": [-1, 1, 1, 1]}, "weights"),
        ({"weight_N": [0, 0, 0, 0]}, "weights"),
    ],
)
def test_input_without_an_interval_is_refused_in_a_sentence(change, message):
    good = {"difference_NA": np.ones((4, 1)), "groups": np.arange(4)}
    with pytest.raises(CompareError, match=message):
        paired_intervals(**(good | change))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "bca"}, "method must be one of"),
        ({"level": 95}, "level must be between"),
        ({"resamples": 0}, "resamples must be 1 or more"),
    ],
)
def test_interval_settings_that_make_no_interval_are_refused_where_they_are_made(settings, message):
    with pytest.raises(CompareError, match=message):
        IntervalSettings(**settings)
