"""Scores of one member in memory, an array or a frame, brought into the order of samples and classes.

N samples (rows), M members, C classes.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foldstill.data.row_order import match_ids
from foldstill.data.text import Strings, as_array, as_strings
from foldstill.errors import OOFError
from foldstill.oof.one_probability import both_classes
from foldstill.oof.probabilities import ONLY_NAMES, Space, as_proba
from foldstill.oof.table import ScoreTable

if TYPE_CHECKING:
    import pandas as pd


class Samples(NamedTuple):
    """What scores are aligned with."""

    ids: Strings
    classes: tuple[str, ...]


def member_proba(values: Any, member: str, rows: Samples, space: Space) -> NDArray[np.float32]:
    """Scores (N, C) of one member: an array, a frame with one column per class, or one probability per row."""
    name = f"scores of member {member!r}"
    raw = as_array(values, name)
    if raw.ndim == 1 or raw.shape[1:] == (1,):
        return _one_probability(values, raw.reshape(-1), name, rows, space)
    if hasattr(values, "columns"):
        raw = as_array(_aligned(values, name, rows), name)
    return as_proba(_of_rows(raw, name, rows), name, len(rows.classes), space, unscored=True)


def _one_probability(values: Any, raw_N: NDArray[Any], name: str, rows: Samples, space: Space) -> NDArray[np.float32]:
    """Scores of both classes from those of one: an array, or a Series or a frame, which may be named like its class."""
    if raw_N.dtype.kind in "iu":
        raise OOFError(ONLY_NAMES.format(name=name))
    column = str(values.columns[0]) if hasattr(values, "columns") else str(getattr(values, "name", ""))
    if hasattr(values, "iloc"):
        raw_N = raw_N[match_ids(name, rows.ids, as_strings(values.index.to_numpy(), f"index of the {name}"))]
    named = column if column in rows.classes else ""
    pair_N2 = both_classes(raw_N, name, rows.classes, named=named, logits=space == "logit")
    return as_proba(_of_rows(pair_N2, name, rows), name, 2, space, unscored=True)


def _of_rows(raw: NDArray[Any], name: str, rows: Samples) -> NDArray[Any]:
    """The scores of one member; raises OOFError unless they are of as many rows as there are samples."""
    wanted = (len(rows.ids), len(rows.classes))
    if raw.shape[-1:] == wanted[1:] and raw.shape != wanted:
        raise OOFError(f"{name} must be (rows, classes) = {wanted}, got {raw.shape}: score every row once")
    return raw


def _aligned(frame: "pd.DataFrame", name: str, rows: Samples) -> "pd.DataFrame":
    """The frame with its columns in the order of the classes and its rows in the order of the ids.

    A polars frame has no index: its rows are in the order of the samples.
    """
    is_polars = not hasattr(frame, "index")
    frame = frame.to_pandas() if is_polars else frame.rename(columns=str)  # type: ignore[operator]
    if set(frame.columns) != set(rows.classes):
        raise OOFError(
            f"{name} have the classes {list(frame.columns)}, the samples {list(rows.classes)}: "
            "name the columns like the classes"
        )
    if is_polars:
        return frame[list(rows.classes)]
    order = match_ids(name, rows.ids, as_strings(frame.index.to_numpy(), f"index of the {name}"))
    return frame[list(rows.classes)].iloc[order]


def new_scores(scores: Any, members: Sequence[str], classes: tuple[str, ...]) -> ScoreTable:
    """Scores of new samples in memory: an array (N, M, C), or member name to array or frame, as `oof_table` takes them.

    The index of the first pandas frame names the samples; without one they are numbered from 0.

    >>> new_scores({"b": [[0.1, 0.9]], "a": [[0.4, 0.6]]}, ["a", "b"], ("no", "yes")).proba_NMC[0, :, 1].tolist()
    [0.6000000238418579, 0.8999999761581421]
    """
    if not isinstance(scores, Mapping):
        raw = as_array(scores, "scores")
        if raw.ndim != 3 or raw.shape[1] != len(members):
            raise OOFError(
                f"scores must be (rows, {len(members)} members, {len(classes)} classes), got shape {raw.shape}: give "
                f"the members in the order {list(members)}, or a mapping of their names to scores"
            )
        ids = np.arange(len(raw)).astype(np.str_)
        return ScoreTable(ids, tuple(members), classes, as_proba(raw, "scores", len(classes)))
    if missing := [name for name in members if name not in scores]:
        raise OOFError(f"scores have no member {missing[0]!r}, got {list(scores)}: give scores of {list(members)}")
    frames = [value for name in members if hasattr(value := scores[name], "iloc")]
    index = frames[0].index.to_numpy() if frames else np.arange(len(scores[members[0]]))
    samples = Samples(as_strings(index, "index of the scores"), classes)
    parts = [member_proba(scores[name], name, samples, "proba") for name in members]
    return ScoreTable(samples.ids, tuple(members), classes, np.stack(parts, axis=1))
