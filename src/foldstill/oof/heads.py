"""Tables of a multi-label problem: every head is a question of its own, with two classes.

N rows, M members, H heads.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.arguments import require_types
from foldstill.data.labels import Labels
from foldstill.data.text import as_array, as_numbers
from foldstill.errors import OOFError
from foldstill.oof.arrays import oof_table
from foldstill.oof.table import OOFTable


def multi_label_tables(
    scores: ArrayLike | Mapping[str, Any],
    labels: ArrayLike,
    *,
    heads: Sequence[str] = (),
    groups: ArrayLike | None = None,
    folds: ArrayLike | None = None,
    members: Sequence[str] | None = None,
) -> dict[str, OOFTable]:
    """One OOF table per head of a multi-label problem, each with the classes 0 and 1.

    Stack and compare every head, and summarise the comparisons with `foldstill.compare.over_heads`.

    Parameters
    ----------
    scores : array, shape (N, M, H), or mapping of str to array, shape (N, H)
        Held-out probability of each head, such as after a sigmoid; they need not sum to 1.
    labels : array, shape (N, H)
        1 where a row has the label of a head and 0 where it has not, or the share of annotators who say so. NaN where
        it is not known: the row is left out of that head.
    heads : sequence of str, optional
        Names of the heads; by default those of the columns of a frame, else head0, head1, ...
    groups : array, shape (N,), optional
        What must not be split between folds; each row is its own group by default.
    folds : array, shape (N,), optional
        Fold in which each row was held out.
    members : sequence of str, optional
        Names of the members of an array.

    Returns
    -------
    dict of str to OOFTable

    Raises
    ------
    OOFError
        If scores and labels are not of the same rows and heads, or not probabilities.

    Examples
    --------
    >>> scores = {"net": [[0.9, 0.2], [0.1, 0.7], [0.6, 0.4]]}
    >>> labels, folds = [[1, 0], [0, 1], [1, 0]], [0, 1, 0]
    >>> tables = multi_label_tables(scores, labels, heads=["kidney", "liver"], folds=folds)
    >>> {head: [f"{p:.1f}" for p in table.proba_NMC[:, 0, 1]] for head, table in tables.items()}
    {'kidney': ['0.9', '0.1', '0.6'], 'liver': ['0.2', '0.7', '0.4']}
    """
    require_types(multi_label_tables, locals())
    label_NH = as_numbers(labels, "labels")
    if label_NH.ndim != 2 or label_NH.shape[1] < 2:
        raise OOFError(
            f"labels of a multi-label problem must be (rows, heads), got shape {label_NH.shape}: for one head use "
            "oof_table"
        )
    known_NH = ~np.isnan(label_NH)
    if not ((label_NH[known_NH] >= 0) & (label_NH[known_NH] <= 1)).all():
        raise OOFError("labels of a multi-label problem must be 0, 1 or shares between them: one column per head")
    names = tuple(heads) or tuple(map(str, getattr(labels, "columns", ())))
    names = names or tuple(f"head{h}" for h in range(label_NH.shape[1]))
    if len(names) != label_NH.shape[1] or len(set(names)) < len(names):
        raise OOFError(
            f"heads must be {label_NH.shape[1]} different names, one per column of labels, got {list(names)}"
        )
    by_member = _by_member(scores, members, label_NH.shape)
    group_N = None if groups is None else np.asarray(groups)
    fold_N = None if folds is None else np.asarray(folds)
    tables = {}
    for h, head in enumerate(names):
        known_N = known_NH[:, h]
        own = None if group_N is None else group_N[known_N]
        positive_N = label_NH[known_N, h]
        share_NC = np.stack([1 - positive_N, positive_N], axis=1)
        hard = bool(((positive_N == 0) | (positive_N == 1)).all())
        ids = np.flatnonzero(known_N)
        of_head = Labels.from_shares(share_NC, 1.0, ids=ids, groups=own, classes=("0", "1"), counted=hard)
        scores_of = {name: proba_NH[known_N, h] for name, proba_NH in by_member.items()}
        tables[head] = oof_table(scores_of, of_head, folds=None if fold_N is None else fold_N[known_N])
    return tables


def _by_member(
    scores: ArrayLike | Mapping[str, Any], members: Sequence[str] | None, shape: tuple[int, ...]
) -> dict[str, NDArray[np.float64]]:
    """The scores (N, H) of each member."""
    if isinstance(scores, Mapping):
        each = {str(name): as_array(values, f"scores of member {name!r}") for name, values in scores.items()}
    else:
        raw = as_array(scores, "scores")
        if raw.ndim != 3:
            raise OOFError(
                f"scores must be (rows, members, heads), got shape {raw.shape}: for one member use a mapping"
            )
        names = tuple(members) if members is not None else tuple(f"m{m}" for m in range(raw.shape[1]))
        each = dict(zip(names, np.moveaxis(raw, 1, 0), strict=True))
    for name, values in each.items():
        if values.shape != shape:
            raise OOFError(
                f"scores of member {name!r} must be (rows, heads) = {shape}, got {values.shape}: score every head of "
                "every row"
            )
    return {name: values.astype(np.float64) for name, values in each.items()}
