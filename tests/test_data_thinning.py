import numpy as np
import pytest

from foldstill.data import Labels
from foldstill.data.thinning import thin_votes
from foldstill.errors import DataError


def labels() -> Labels:
    counts = np.random.default_rng(0).multinomial(20, [0.5, 0.3, 0.2], size=4000)
    return Labels.from_votes(counts)


def test_thinned_rows_have_the_votes_asked_for_and_others_keep_theirs() -> None:
    full, rows = labels(), np.arange(1000, 3000)
    thin = thin_votes(full, rows, 3, seed=0)
    assert (thin.total_N[rows] == 3).all()
    assert set(thin.stratum_N[rows]) == {"3-9"}
    others = np.r_[0:1000, 3000:4000]
    assert np.array_equal(thin.votes_NC[others], full.votes_NC[others])
    assert np.array_equal(thin.stratum_N[others], full.stratum_N[others])


def test_thinned_votes_are_among_the_votes_of_their_row_and_unbiased() -> None:
    full = labels()
    thin = thin_votes(full, np.arange(4000), 3, seed=0)
    assert (thin.votes_NC <= full.votes_NC).all()
    # The standard error of a share's mean over 4,000 rows of 3 votes is below 0.005.
    assert np.allclose(thin.target_NC.mean(axis=0), full.target_NC.mean(axis=0), atol=0.02)


def test_rows_with_fewer_votes_keep_all_of_them_and_the_seed_decides_the_rest() -> None:
    few = Labels.from_votes([[1, 1, 0], [4, 4, 4]])
    thin = thin_votes(few, np.arange(2), 3, seed=0)
    assert thin.votes_NC[0].tolist() == [1, 1, 0]
    assert thin.total_N[1] == 3
    full, rows = labels(), np.arange(4000)
    again, other = thin_votes(full, rows, 3, seed=1), thin_votes(full, rows, 3, seed=2)
    assert np.array_equal(again.votes_NC, thin_votes(full, rows, 3, seed=1).votes_NC)
    assert not np.array_equal(again.votes_NC, other.votes_NC)


def test_shares_cannot_be_thinned() -> None:
    shares = Labels.from_shares([[0.25, 0.75]], 8.0)
    with pytest.raises(DataError, match="whole counts"):
        thin_votes(shares, np.arange(1), 3, seed=0)
