"""What fewer annotators would have said: a few votes of each row, drawn from those it has."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.labels import Labels, strata_by_votes
from foldstill.errors import DataError


def thin_votes(labels: Labels, rows: NDArray[Any], votes: int, *, seed: int) -> Labels:
    """The labels with at most `votes` votes in each of `rows` (an index), drawn without replacement; others as they are.

    Votes are exchangeable, so this is what a data set with so few annotators a row would have held (multivariate
    hypergeometric). Rows with no more votes than that keep all of theirs. Raises DataError when votes are not whole
    counts.
    """
    counts_NC = labels.votes_NC[rows]
    if not labels.counted or (counts_NC != np.floor(counts_NC)).any():
        raise DataError(
            "votes can only be thinned where they are whole counts, got shares or fractions of a vote: "
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
