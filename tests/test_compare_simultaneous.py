import numpy as np
import pytest
from scipy.special import ndtri

from foldstill.compare import IntervalSettings, paired_intervals, simultaneous_intervals


def correlated(rng, groups, arms, correlation):
    shared = rng.standard_normal((groups, 1))
    return np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * rng.standard_normal((groups, arms))


def widths(difference, **options):
    groups = np.arange(len(difference))
    single = paired_intervals(difference, groups, **options)
    joint = simultaneous_intervals(difference, groups, **options)
    assert [i.estimate for i in single] == [i.estimate for i in joint]
    return np.array([(j.high - j.low) / (s.high - s.low) for s, j in zip(single, joint, strict=True)])


def test_independent_arms_get_the_level_of_sidak(rng):
    difference = rng.standard_normal((2000, 8))
    settings = IntervalSettings(method="jackknife_t")
    sidak = ndtri((1 + 0.95 ** (1 / 8)) / 2) / ndtri(0.975)
    np.testing.assert_allclose(widths(difference, settings=settings), sidak, rtol=0.02)


def test_arms_that_differ_in_the_same_groups_cost_less_and_equal_arms_nothing(rng):
    settings = IntervalSettings(method="jackknife_t")
    alike, apart = (widths(correlated(rng, 500, 8, r), settings=settings).mean() for r in (0.95, 0.0))
    assert 1.05 < alike < apart - 0.05
    same = np.repeat(rng.standard_normal((500, 1)), 8, axis=1)
    np.testing.assert_allclose(widths(same, settings=settings), 1, rtol=0.01)


def test_one_arm_and_arms_that_are_the_baseline_cost_nothing(rng):
    difference = rng.standard_normal((100, 1))
    for others in (0, 3):
        padded = np.concatenate([difference, np.zeros((100, others))], axis=1)
        assert simultaneous_intervals(padded, np.arange(100)) == paired_intervals(padded, np.arange(100))


@pytest.mark.parametrize("method", ["jackknife_sides", "jackknife_t", "bootstrap_t"])
def test_the_corrected_p_value_agrees_with_the_simultaneous_interval(rng, method):
    settings = IntervalSettings(method=method, resamples=4000)
    for shift in np.linspace(-0.4, 0.4, 9):
        difference = shift + correlated(rng, 80, 5, 0.3)
        for interval in simultaneous_intervals(difference, np.arange(80), settings=settings):
            assert interval.level == 0.95
            if abs(interval.p - 0.05) > 0.01:  # what the draws leave open
                assert interval.significant == (interval.p < 0.05)


def test_the_best_of_eight_equal_arms_is_covered_as_stated():
    """Plain intervals of the arm that looks best cover too little: 200 samples, standard error 1.5 %."""
    rng = np.random.default_rng(3)
    hit = {paired_intervals: 0, simultaneous_intervals: 0}
    for _ in range(200):
        difference = correlated(rng, 60, 8, 0.0)
        for compute in hit:
            best = min(compute(difference, np.arange(60), settings=IntervalSettings(method="jackknife_t")),
                       key=lambda i: i.estimate)  # fmt: skip
            hit[compute] += best.low <= 0 <= best.high
    assert hit[paired_intervals] <= 176
    assert hit[simultaneous_intervals] >= 184


def test_the_draws_follow_from_the_seed(rng):
    difference = rng.standard_normal((50, 4))
    first, again, other = (
        simultaneous_intervals(difference, np.arange(50), settings=IntervalSettings(seed=seed)) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
