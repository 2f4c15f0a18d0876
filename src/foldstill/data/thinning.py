"""Labels as fewer annotators would have given them: a few votes per row, drawn from the votes of the row."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.labels import Labels
from foldstill.data.strata import strata_by_votes
from foldstill.errors import DataError


def thin_votes(labels: Labels, rows: NDArray[Any], votes: int, *, seed: int) -> Labels:
    """Labels with at most `votes` votes in each of `rows` (an index), drawn without replacement; other rows are kept.

    Votes are exchangeable, so the result is distributed as in a dataset with that many annotators (multivariate
    hypergeometric). Rows with fewer votes keep all of them. Raises DataError when votes are not whole counts.
    """
    counts_NC = labels.votes_NC[rows]
    if not labels.counted or (counts_NC != np.floor(counts_NC)).any():
        raise DataError(
            "thin_votes needs votes that are whole counts, got shares or fractions of a vote: "
            "give counts, or leave thin_votes out"
        )
    random = np.random.default_rng([seed, votes])
    thinned = labels.votes_NC.copy()
    for row, counts in zip(rows, counts_NC.astype(np.int64), strict=True):
        if counts.sum() > votes:
            thinned[row] = random.multivariate_hypergeometric(counts, votes)
    by_votes = labels.stratum_N == strata_by_votes(labels.total_N)
    stratum = np.where(by_votes, strata_by_votes(thinned.sum(axis=1)), labels.stratum_N)
    return replace(labels, votes_NC=thinned, stratum_N=stratum)
