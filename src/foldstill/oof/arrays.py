"""A score table from arrays that are already in memory.

N samples (rows), M members, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.arguments import require_types
from foldstill.data.classes import positional_names
from foldstill.data.folds import FoldPlan, make_plan
from foldstill.data.labels import Labels
from foldstill.data.text import Strings, as_array, as_strings, is_whole
from foldstill.errors import FoldError, OOFError, at
from foldstill.oof.member_arrays import Samples, member_proba
from foldstill.oof.one_probability import both_classes
from foldstill.oof.probabilities import ONLY_NAMES, Space, as_proba
from foldstill.oof.table import OOFTable, ScoreTable
from foldstill.oof.unscored import scored_rows

if TYPE_CHECKING:
    pass

ASSIGNED_FOLDS = 5
"""Number of folds made for the cross-fit of combiners when a table comes without folds."""


# Long: most lines document the parameters.
def oof_table(
    scores: ArrayLike | Mapping[str, Any],
    labels: Labels | ArrayLike | None = None,
    *,
    votes: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    folds: ArrayLike | None = None,
    members: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    space: Space = "proba",
) -> OOFTable:
    """An OOF table from held-out predictions in memory.

    Parameters
    ----------
    scores : array, shape (N, M, C), or mapping of str to array, shape (N, C)
        Held-out predictions, or member name to predictions as `cross_val_predict(method="predict_proba")` and
        AutoGluon's `predict_proba_oof` return them. The columns of a pandas or polars frame are matched to the classes
        by name, and the index of a pandas frame to the ids. Rows of NaN for every member, as time-ordered folds leave
        them, are left out with a warning. For members that only name a class, see `smooth_labels`. Of two classes, one
        probability per row is enough: (N, M, 1), or (N,), (N, 1) or a Series per member. It is the probability of the
        class that the Series is named after, else of 1 where the classes are 0 and 1, or of True.
    labels : Labels or array, shape (N,) or (N, C)
        Labels, one class per sample, or vote counts. Ids, strata and sample weights need a `Labels` value.
    votes : array, shape (N, C)
        Vote counts, in place of `labels`.
    groups : array, shape (N,), optional
        What must not be split between folds; each sample is its own group by default.
    folds : array, shape (N,), optional
        Fold in which each sample was held out. By default group folds are made to cross-fit combiners, and the audit
        warns that nothing proves the scores held out.
    members : sequence of str, optional
        Names of the members of an array; m0, m1, ... by default.
    classes : sequence of str, optional
        Names of the classes, in the order of the last axis.
    space : {"proba", "logit"}
        Whether the scores are probabilities or logits.

    Returns
    -------
    OOFTable

    Raises
    ------
    OOFError
        If scores are not finite, not probabilities, or of other rows or classes than the labels.
    DataError
        If the labels contradict themselves.
    FoldError
        If a group is in two folds.

    Examples
    --------
    >>> scores = [[[0.9, 0.1]], [[0.2, 0.8]], [[0.3, 0.7]]]
    >>> table = oof_table(scores, votes=[[3, 0], [1, 2], [0, 1]], folds=[0, 1, 0])
    >>> table.proba_NMC.shape, table.members
    ((3, 1, 2), ('m0',))
    >>> oof_table({"net": [0.125, 0.75, 0.5]}, [0, 1, 1], folds=[0, 1, 0]).proba_NMC[:, 0].tolist()
    [[0.875, 0.125], [0.25, 0.75], [0.5, 0.5]]
    """
    require_types(oof_table, locals())
    table_labels = _labels(labels, votes, groups, classes, scores)
    n_classes = len(table_labels.classes)
    if isinstance(scores, Mapping):
        if members is not None:
            raise OOFError(
                f"members are named by the mapping of scores, got members = {list(members)} too: leave it out"
            )
        if not scores:
            raise OOFError("scores of at least one member are needed, got an empty mapping: add a member")
        names = tuple(str(name) for name in scores)
        samples = Samples(table_labels.ids, table_labels.classes)
        proba = np.stack([member_proba(values, str(name), samples, space) for name, values in scores.items()], axis=1)
    else:
        raw = as_array(scores, "scores")
        if raw.ndim in (1, 2) and raw.dtype.kind in "iu":
            raise OOFError(ONLY_NAMES.format(name="scores"))
        if raw.size and (raw.ndim == 1 or (raw.ndim in (2, 3) and raw.shape[-1] == 1)):
            # One probability per row and member.
            columns_NM = raw.reshape(len(raw), -1)
            raw = both_classes(columns_NM, "scores", table_labels.classes, logits=space == "logit")
        if raw.ndim != 3:
            raise OOFError(
                f"scores must be (rows, members, classes), got {raw.dtype} of shape {raw.shape}: "
                "for one member add the axis, scores[:, None, :]; where each column is one member's probability of one "
                "of two classes, scores[:, :, None]"
            )
        proba = as_proba(raw, "scores", n_classes, space, unscored=True)
        names = tuple(f"m{i}" for i in range(proba.shape[1])) if members is None else tuple(str(m) for m in members)
    if len(proba) != len(table_labels) or not np.isnan(proba[:, :, 0]).any():
        return with_folds(ScoreTable(table_labels.ids, names, table_labels.classes, proba), table_labels, folds)
    scored_N = scored_rows(proba, names, table_labels.ids)
    labels = table_labels.take(scored_N)
    fold_N = None if folds is None else as_array(folds, "folds")[scored_N]
    table = with_folds(ScoreTable(labels.ids, names, labels.classes, proba[scored_N]), labels, fold_N)
    return replace(table, n_unscored=int((~scored_N).sum()))


def _labels(
    labels: Labels | ArrayLike | None,
    votes: ArrayLike | None,
    groups: ArrayLike | None,
    classes: Sequence[str] | None,
    scores: ArrayLike | Mapping[str, Any],
) -> Labels:
    if labels is not None and votes is not None:
        raise OOFError("labels and votes both describe the rows, got both: give one of them")
    if isinstance(labels, Labels):
        if groups is not None or classes is not None:
            raise OOFError(
                "a Labels value holds groups and classes already: give labels alone, without groups and classes"
            )
        return labels
    values = votes if labels is None else labels
    if values is None:
        raise OOFError("a table needs labels: give votes (rows, classes), one class per row, or a Labels value")
    if classes is None and hasattr(values, "columns"):
        classes = tuple(map(str, values.columns))
    if votes is None and as_array(values, "labels").ndim == 1:
        first = next(iter(scores.values()), ()) if isinstance(scores, Mapping) else scores
        n_columns = as_array(first, "scores").shape[-1] if as_array(first, "scores").ndim > 1 else 1
        if classes is None and n_columns > 1 and hasattr(first, "columns"):
            classes = tuple(map(str, first.columns))
        elif classes is None and n_columns > 1:
            classes = positional_names(values, n_columns)
        with at("labels"):
            return Labels.from_hard(values, groups=groups, classes=classes)
    with at("votes" if labels is None else "labels"):
        return Labels.from_votes(values, groups=groups, classes=classes)


def with_folds(
    scores: ScoreTable, labels: Labels, folds: ArrayLike | None, *, n_folds: int = ASSIGNED_FOLDS, seed: int = 0
) -> OOFTable:
    """The table of these scores with these folds; without folds, group folds are made from `seed`."""
    if folds is None:
        plan = make_plan(labels, n_folds=n_folds, test_share=0.0, strategy="grouped", seed=seed)
        return OOFTable(scores, labels, plan.fold_N, folds_assigned=True)
    fold = as_array(folds, "folds")
    if fold.dtype.kind == "f" and (np.abs(fold) < 2**53).all() and (fold == np.floor(fold)).all():
        fold = fold.astype(np.int64)
    elif fold.dtype.kind in "OU":
        fold = _fold_numbers(as_strings(fold, "folds"))
    return OOFTable(scores, labels, FoldPlan.from_folds(labels, fold).fold_N)


def _fold_numbers(names: Strings) -> NDArray[np.int64]:
    """Folds by their names: whole numbers stay what they are, other names are numbered in order."""
    different, index_N = np.unique(names, return_inverse=True)
    if all(map(is_whole, different.tolist())):
        return different.astype(np.int64)[index_N]
    if "-1" in different.tolist():
        raise FoldError(
            f"folds hold -1, which stands for locked test rows, beside names such as {different[-1]!r}: "
            "number the folds from 0, or drop the test rows"
        )
    return index_N.astype(np.int64)
