import numpy as np
import pytest

from foldstill.errors import StackError
from foldstill.oof import oof_table
from foldstill.stacking.convex import Convex
from foldstill.stacking.logistic import Logistic
from foldstill.stacking.weight_intervals import weight_intervals


@pytest.fixture
def table(rng):
    truth = rng.dirichlet([1.0, 1.0, 1.0], 400)
    noise = np.asarray([0.3, 0.3, 3.0])[:, None]
    logits = np.log(truth)[:, None] + noise * rng.normal(size=(400, 3, 3))
    pred = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return oof_table(pred, votes=rng.multinomial(9, truth), groups=np.arange(400) // 4, members=["a", "b", "noise"])


def test_a_useless_member_has_no_weight_for_sure_and_good_ones_share_it(table):
    low, high = weight_intervals(Convex(), table)
    weight = Convex().fit(table).weight_M
    assert (low <= weight + 1e-9).all()
    assert (weight <= high + 1e-9).all()
    assert high[2] < 0.1
    assert low[:2].min() > 0.2


def test_a_group_drawn_twice_counts_as_its_rows_twice(table):
    """The weighted refit is the refit on repeated rows."""
    from dataclasses import replace

    count = np.random.default_rng(3).integers(0, 3, 400 // 4)[np.arange(400) // 4]
    rows = np.repeat(np.arange(400), count)
    repeated = oof_table(
        table.proba_NMC[rows],
        votes=table.labels.votes_NC[rows],
        groups=table.labels.groups[rows],
    )
    weighted = replace(table, labels=replace(table.labels, sample_weight_N=count.astype(float)))
    np.testing.assert_allclose(Convex().fit(weighted).weight_M, Convex().fit(repeated).weight_M, atol=1e-3)


def test_a_combiner_without_weights_is_refused(table):
    with pytest.raises(StackError, match="need a combiner with member weights, logistic has none"):
        weight_intervals(Logistic(), table, resamples=2)
