"""The order of rows that come from two files: ids decide, and never positions."""

import numpy as np
from numpy.typing import NDArray

from foldstill.data.text import Strings
from foldstill.errors import DataError


def match_ids(name: str, wanted: Strings, received: Strings) -> NDArray[np.intp]:
    """Index that brings rows with the ids `received` into the order of `wanted`.

    Raises DataError when the two sets of ids differ; `name` says there whose ids were received.

    >>> match_ids("the scores", np.array(["a", "b"]), np.array(["b", "a"])).tolist()
    [1, 0]
    """
    order = np.argsort(received)
    position = np.searchsorted(received, wanted, sorter=order)
    index = order[np.minimum(position, len(received) - 1)] if len(received) else np.zeros(len(wanted), np.intp)
    missing = wanted[received[index] != wanted] if len(received) else wanted
    if len(missing):
        raise DataError(
            f"{name} lacks {len(missing)} of {len(wanted)} rows; first ids: {missing[:3].tolist()}, "
            f"it has ids such as {received[:3].tolist()}: score every row, and write ids the same way everywhere"
        )
    if len(received) > len(wanted):
        extra = len(received) - len(wanted)
        raise DataError(f"{name} has {extra} more rows than the labels: drop rows that have no label")
    return index
