"""The state of a fitted combination, from which it is restored, and how the states of inner combinations are nested."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.errors import StackError

State = Mapping[str, NDArray[Any] | str]
"""What a fit has determined: arrays, saved in one .npz file, and texts, saved in one file each.

A key `a/b` is the key `b` of the inner combination `a`.
"""


def with_prefix(prefix: str, state: State) -> State:
    """Return the state of an inner combination with `prefix/` before each key."""
    return {f"{prefix}/{key}": value for key, value in state.items()}


def strip_prefix(prefix: str, state: State) -> State:
    """Return the entries below `prefix/` without it: the inverse of `with_prefix`."""
    start = f"{prefix}/"
    return {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}


def array(state: State, key: str) -> NDArray[Any]:
    """Return the array under `key`; raise StackError when there is none, as in a file of another version."""
    value = state.get(key)
    if not isinstance(value, np.ndarray):
        raise StackError(
            f"the saved combination has no array {key!r}, only {sorted(state)}: fit the combiner and save it again"
        )
    return value


def text(state: State, key: str) -> str:
    """Return the text under `key`; raise StackError when there is none."""
    value = state.get(key)
    if not isinstance(value, str):
        raise StackError(
            f"the saved combination has no text {key!r}, only {sorted(state)}: fit the combiner and save it again"
        )
    return value
