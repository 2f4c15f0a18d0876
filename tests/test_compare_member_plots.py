"""Similar members are drawn side by side."""

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from foldstill.compare.member_plots import similar_together


def test_the_order_of_members_is_that_of_average_linkage(rng):
    for n_members in (3, 4, 11, 26):
        errors = rng.normal(size=(n_members, 20)) + 2 * rng.normal(size=(3, 20))[rng.integers(3, size=n_members)]
        correlation = np.corrcoef(errors)
        distance = np.clip(1 - correlation, 0, None)
        np.fill_diagonal(distance, 0)
        expected = leaves_list(linkage(squareform(distance, checks=False), "average"))
        assert similar_together(correlation) == expected.tolist()
