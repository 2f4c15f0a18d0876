"""Rows that no member has a held-out prediction of, as time-ordered folds leave the first ones.

N rows, M members, C classes.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from foldstill.data.text import Strings
from foldstill.errors import FoldstillWarning, OOFError


def scored_rows(proba_NMC: NDArray[np.float32], members: Sequence[str], ids: Strings) -> NDArray[np.bool_]:
    """Which rows have a prediction by every member, (N,); the others have NaN for every member.

    A warning says how many rows have none. Raises OOFError for rows that some members predict and others do not, and
    where no row is predicted.
    """
    missing_NM = np.isnan(proba_NMC[:, :, 0])
    unscored_N: NDArray[np.bool_] = np.logical_and.reduce(missing_NM, axis=1)
    partly_N = missing_NM.any(axis=1) & ~unscored_N
    if partly_N.any():
        lacking = [members[int(m)] for m in np.flatnonzero(missing_NM[partly_N].any(axis=0))]
        raise OOFError(
            f"scores: {partly_N.sum()} of {len(ids)} rows hold NaN or infinity for members {lacking[:3]} but not for "
            f"others; first ids: {ids[partly_N][:3].tolist()}: predict every row with every member, or drop the member"
        )
    if unscored_N.all():
        raise OOFError(f"scores: all {len(ids)} rows hold NaN or infinity: predict rows that were held out")
    if unscored_N.any():
        warnings.warn(unscored_note(int(unscored_N.sum()), len(ids)), FoldstillWarning, stacklevel=3)
    scored_N: NDArray[np.bool_] = ~unscored_N
    return scored_N


def unscored_note(n_unscored: int, n_rows: int) -> str:
    """One sentence on rows without a held-out prediction.

    >>> unscored_note(20, 100)
    '20 of 100 rows have no held-out prediction by any member; the other 80 are used'
    """
    return (
        f"{n_unscored:,} of {n_rows:,} rows have no held-out prediction by any member; the other "
        f"{n_rows - n_unscored:,} are used"
    )
