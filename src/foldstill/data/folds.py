"""Fold plans: which samples are held out together, and the locked test rows that no fit ever sees."""

import json
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.data.labels import Labels
from foldstill.data.text import Strings, as_strings
from foldstill.digests import digest
from foldstill.errors import FoldError
from foldstill.files import write_parquet
from foldstill.seals import check_seal

Strategy = Literal["grouped", "stratified_grouped"]

TEST = -1
"""Fold number of the locked test rows."""

_TEST_GRAIN = 20
"""The test split is made in steps of 1/20 of the groups."""


@dataclass(frozen=True)
class FoldPlan:
    """The fold of every sample, or the locked test split that no fit ever sees.

    Each sample outside the test split is held out exactly once. Make a plan with `make_plan`, or with `from_folds` from
    folds made elsewhere.

    Parameters
    ----------
    ids : array of str, shape (N,)
        Names of the samples.
    groups : array of str, shape (N,)
        What must not be split between folds.
    fold_N : array of int16, shape (N,)
        Fold 0..K-1, or -1 for a locked test row.
    seed : int, optional
        Seed that made the plan; None for folds made elsewhere.
    strategy : str, default "given"
        How the plan was made.

    Raises
    ------
    FoldError
        If a group is in two folds, or in a fold and the test split, or the folds are not numbered 0..K-1 with K >= 2.

    Examples
    --------
    >>> from foldstill.data import Labels
    >>> labels = Labels.from_hard([0, 1, 0, 1], classes=["a", "b"], groups=["p", "p", "q", "r"])
    >>> FoldPlan.from_folds(labels, [0, 0, 1, -1]).training(0).tolist()
    [2]
    """

    ids: Strings
    groups: Strings
    fold_N: NDArray[np.int16]
    seed: int | None = None
    strategy: str = "given"

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.groups) == len(self.fold_N):
            raise FoldError(
                f"ids ({len(self.ids)}), groups ({len(self.groups)}) and folds ({len(self.fold_N)}) must have "
                "one value per row"
            )
        ids, count = np.unique(self.ids, return_counts=True)
        if (count > 1).any():
            raise FoldError(
                f"{int((count > 1).sum())} ids are in the fold plan more than once; "
                f"first: {ids[count > 1][:3].tolist()}: give each id one fold"
            )
        present = np.unique(self.fold_N)
        held = present[present != TEST]
        if len(held) < 2 or not np.array_equal(held, np.arange(len(held))):
            raise FoldError(
                f"folds must be numbered 0..K-1 with K >= 2 (test rows {TEST}), got {present.tolist()}: "
                "give two or more folds"
            )
        torn = torn_groups(self.groups, self.fold_N)
        if len(torn):
            folds = np.unique(self.fold_N[self.groups == torn[0]]).tolist()
            names = sorted("the test split" if f == TEST else f"fold {f}" for f in folds)
            raise FoldError(
                f"group {str(torn[0])!r} is in {' and '.join(names)}: a group must stay in one fold; "
                "make the folds by this group, or name the column that must not be split"
            )

    @classmethod
    def from_folds(cls, labels: Labels, fold_N: ArrayLike) -> "FoldPlan":
        """A plan from folds made elsewhere: whole numbers, renumbered from 0 in their order; -1 for test rows."""
        fold = np.asarray(fold_N)
        if fold.shape != (len(labels),) or fold.dtype.kind not in "iu":
            raise FoldError(
                f"folds must be one whole number per row ({len(labels)}), got {fold.dtype} of shape {fold.shape}: "
                "number the folds from 0, test rows -1"
            )
        names = np.unique(fold[fold != TEST])
        numbered = np.where(fold == TEST, TEST, np.searchsorted(names, fold)).astype(np.int16)
        return cls(labels.ids, labels.groups, numbered)

    @cached_property
    def n_folds(self) -> int:
        """Number of folds K."""
        return int(self.fold_N.max()) + 1

    @cached_property
    def test_rows(self) -> NDArray[np.intp]:
        """Index of the locked test rows."""
        return np.flatnonzero(self.fold_N == TEST)

    @cached_property
    def oof_rows(self) -> NDArray[np.intp]:
        """Index of the rows that are held out once: all rows but the test rows."""
        return np.flatnonzero(self.fold_N != TEST)

    def held_out(self, *folds: int) -> NDArray[np.intp]:
        """Index of the rows of these folds, usually of one fold."""
        return np.flatnonzero(np.isin(self.fold_N, folds))

    def training(self, *folds: int) -> NDArray[np.intp]:
        """Index of the rows that a model may see which holds these folds out: all others but the test rows."""
        return np.flatnonzero(~np.isin(self.fold_N, (*folds, TEST)))

    @cached_property
    def digest(self) -> str:
        """Digest of ids, groups and folds; everything made with this plan records it."""
        return digest(self.ids, self.groups, self.fold_N)

    def write(self, path: Path) -> None:
        """Write the plan to a parquet file with columns id, group and fold."""
        import pyarrow as pa

        meta = {"foldstill": json.dumps({"seed": self.seed, "strategy": self.strategy, "digest": self.digest})}
        table = pa.table({"id": self.ids.tolist(), "group": self.groups.tolist(), "fold": self.fold_N})
        write_parquet(path, table.replace_schema_metadata(meta))

    @classmethod
    def read(cls, path: Path) -> "FoldPlan":
        """Read a plan from a parquet file with columns id, group and fold (-1 for test rows)."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        cure = "restore it from a copy, or remove it and run the command that made it"
        try:
            check_seal(path, error=FoldError, cure=cure, required=False)
            table = pq.read_table(path, use_threads=False)
            check_seal(path, error=FoldError, cure=cure, required=b"foldstill" in (table.schema.metadata or {}))
        except FileNotFoundError:
            raise FoldError(f"no fold plan at {path}: run the stage that makes it, or correct the path") from None
        except (pa.ArrowException, OSError) as error:
            raise FoldError(
                f"{path} is not a parquet file with a fold plan ({error}): write columns id, group, fold"
            ) from error
        lacking = [c for c in ("id", "group", "fold") if c not in table.column_names]
        if lacking:
            raise FoldError(f"{path} lacks the columns {lacking}: a fold plan has id, group and fold (-1 = test)")
        meta = json.loads((table.schema.metadata or {}).get(b"foldstill", b"{}"))
        return cls(
            ids=as_strings(table["id"].to_numpy(), f"id in {path}"),
            groups=as_strings(table["group"].to_numpy(), f"group in {path}"),
            fold_N=whole_folds(table["fold"].to_numpy(), f"fold in {path}"),
            seed=meta.get("seed"),
            strategy=meta.get("strategy", "given"),
        )


def whole_folds(fold: NDArray[Any], name: str) -> NDArray[np.int16]:
    """Folds as int16; FoldError, which says the name, for fractions, missing folds, text and numbers above int16."""
    fits = fold.dtype.kind in "iuf" and bool(np.isfinite(fold).all())
    if not fits or (fold != np.floor(fold)).any() or fold.min() < TEST or fold.max() > np.iinfo(np.int16).max:
        raise FoldError(
            f"{name} must hold a whole number per row, -1 for test rows, got {fold.dtype} such as "
            f"{fold[:3].tolist()}: correct the file"
        )
    return fold.astype(np.int16)


def torn_groups(groups: Strings, fold_N: NDArray[Any]) -> Strings:
    """Names of the groups that are in more than one fold, sorted. The one check for it in the package.

    >>> torn_groups(np.array(["p", "q", "p"]), np.array([0, 1, 1])).tolist()
    ['p']
    """
    order = np.argsort(groups, kind="stable")
    group, fold = groups[order], fold_N[order]
    torn: Strings = np.unique(group[1:][(group[1:] == group[:-1]) & (fold[1:] != fold[:-1])])
    return torn


# Long: the steps share the rows that remain after the test split, and half of the lines document the parameters.
def make_plan(
    labels: Labels,
    *,
    n_folds: int = 5,
    test_share: float = 0.15,
    strategy: Strategy = "stratified_grouped",
    seed: int = 0,
) -> FoldPlan:
    """A plan with a locked test split and K folds of the other rows; no group is split.

    The same labels and seed give the same plan.

    Parameters
    ----------
    labels : Labels
        Votes and groups of the samples.
    n_folds : int, default 5
        Number of folds K.
    test_share : float, default 0.15
        Share of the rows in the locked test split, met approximately.
    strategy : {"stratified_grouped", "grouped"}
        Balance the vote shares of every class and the number of rows, or the number of rows only.
    seed : int, default 0
        Seed for the order of the groups.

    Raises
    ------
    FoldError
        If there are too few groups.
    DataError
        If the training rows of a fold have no vote for some class.

    Examples
    --------
    >>> from foldstill.data import Labels
    >>> plan = make_plan(Labels.from_hard([0, 1] * 50, classes=["a", "b"]))
    >>> plan.n_folds, len(plan.test_rows)
    (5, 15)
    """
    if not 0 <= test_share < 1:
        raise FoldError(f"test_share must be in [0, 1), got {test_share}: 0.15 locks 15 % of the rows away")
    if n_folds < 2:
        raise FoldError(f"n_folds must be 2 or more, got {n_folds}: 5 is usual")
    # The test split takes whole slices of the groups as well.
    n_groups = len(np.unique(labels.groups))
    wanted = n_folds + (1 if test_share > 0 else 0)
    if n_groups < wanted:
        raise FoldError(
            f"n_folds = {n_folds}{' and a test split need' if test_share > 0 else ' needs'} at least {wanted} groups, "
            f"got {n_groups}: use fewer folds, or a finer group"
        )
    fold_N = np.full(len(labels), TEST, dtype=np.int16)
    rest = np.arange(len(labels))
    if test_share > 0:
        grain = min(_TEST_GRAIN, n_groups)
        share = Fraction(test_share).limit_denominator(grain) or Fraction(1, grain)
        slices = _slices(labels, share.denominator, strategy, seed)
        rest = np.flatnonzero(slices >= share.numerator)
        rest_groups = len(np.unique(labels.groups[rest]))
        if rest_groups < n_folds:
            raise FoldError(f"{n_folds} folds need as many groups, the test split left {rest_groups}: lower test_share")
    fold_N[rest] = _slices(labels.take(rest), n_folds, strategy, seed + 1)
    plan = FoldPlan(labels.ids, labels.groups, fold_N, seed, strategy)
    for fold in range(n_folds):
        labels.take(plan.training(fold)).require_every_class(f"the training set of fold {fold}", labels)
    return plan


def _slices(labels: Labels, k: int, strategy: Strategy, seed: int) -> NDArray[np.int16]:
    """Slice 0..k-1 of each row. Groups stay whole; slices are even in rows and, if stratified, in votes per class.

    Large groups come first; each goes to the slice where it raises the sum of squares least. scikit-learn's
    StratifiedGroupKFold uses hard labels only, and its seed has no effect unless groups tie.
    """
    if strategy not in ("grouped", "stratified_grouped"):
        raise FoldError(f"strategy must be grouped or stratified_grouped, got {strategy!r}: name one of the two")
    _, group_N = np.unique(labels.groups, return_inverse=True)
    size_G = np.bincount(group_N)
    share_GB = size_G[:, None] / len(labels)
    if strategy == "stratified_grouped":
        class_GC = np.stack([np.bincount(group_N, column) for column in labels.target_NC.T], axis=1)
        class_GC = class_GC[:, class_GC.sum(axis=0) > 0]
        # The number of rows weighs as much as all classes together.
        share_GB = np.hstack([share_GB * np.sqrt(class_GC.shape[1]), class_GC / class_GC.sum(axis=0)])
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(size_G))
    # Sorted by size up to a factor of two: an exact order would leave nothing to the seed.
    order = order[np.argsort(-np.log2(size_G[order]).astype(np.int64), kind="stable")]
    filled_KB = np.zeros((k, share_GB.shape[1]))
    slice_G = np.empty(len(size_G), dtype=np.int16)
    for group in order:
        growth_K = filled_KB @ share_GB[group]
        slice_G[group] = rng.choice(np.flatnonzero(growth_K <= growth_K.min() + 1e-12))
        filled_KB[slice_G[group]] += share_GB[group]
    return slice_G[group_N]
