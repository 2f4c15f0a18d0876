"""Fold plans: which rows are held out together, and the locked test rows that no fit ever sees."""

import json
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.data.labels import Labels, Strings, as_strings
from foldstill.errors import FoldError
from foldstill.files import atomic_write, digest

Strategy = Literal["grouped", "stratified_grouped"]

TEST = -1
"""The fold number of a locked test row."""

_TEST_GRAIN = 20
"""The test share is met in steps of 1/20 of the groups."""


@dataclass(frozen=True)
class FoldPlan:
    """Fold of every row; TEST marks locked test rows. Each other row is held out exactly once.

    Checked when made: a group is in one place, every fold 0..K-1 has rows.
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
                "one value a row"
            )
        present = np.unique(self.fold_N)
        held = present[present != TEST]
        if len(held) < 2 or not np.array_equal(held, np.arange(len(held))):
            raise FoldError(f"folds must be numbered 0..K-1 with K >= 2 (test rows {TEST}), got {present.tolist()}")
        order = np.argsort(self.groups, kind="stable")
        group, fold = self.groups[order], self.fold_N[order]
        torn = (group[1:] == group[:-1]) & (fold[1:] != fold[:-1])
        if torn.any():
            name = str(group[1:][torn][0])
            places = sorted({("test" if f == TEST else f"fold {f}") for f in fold[group == name].tolist()})
            raise FoldError(
                f"group {name!r} is in {' and '.join(places)}: a group must stay in one place; "
                "make the folds by this group, or name the column that may not be split"
            )

    @classmethod
    def from_folds(cls, labels: Labels, fold_N: ArrayLike) -> "FoldPlan":
        """A plan from folds made elsewhere: whole numbers, -1 for test rows; numbered anew from 0 in their order."""
        fold = np.asarray(fold_N)
        if fold.shape != (len(labels),) or fold.dtype.kind not in "iu":
            raise FoldError(
                f"folds must be one whole number per row ({len(labels)}), got {fold.dtype} of shape {fold.shape}"
            )
        names = np.unique(fold[fold != TEST])
        numbered = np.where(fold == TEST, TEST, np.searchsorted(names, fold)).astype(np.int16)
        return cls(labels.ids, labels.groups, numbered)

    @cached_property
    def n_folds(self) -> int:
        return int(self.fold_N.max()) + 1

    @cached_property
    def test_rows(self) -> NDArray[np.intp]:
        """Index of the locked test rows."""
        return np.flatnonzero(self.fold_N == TEST)

    @cached_property
    def oof_rows(self) -> NDArray[np.intp]:
        """Index of the rows that are held out once: all but the test rows."""
        return np.flatnonzero(self.fold_N != TEST)

    def held_out(self, *folds: int) -> NDArray[np.intp]:
        """Index of the rows of these folds, usually one."""
        return np.flatnonzero(np.isin(self.fold_N, folds))

    def training(self, *folds: int) -> NDArray[np.intp]:
        """Index of the rows that models which hold these folds out may see: neither of them nor of the test split."""
        return np.flatnonzero(~np.isin(self.fold_N, (*folds, TEST)))

    @cached_property
    def digest(self) -> str:
        """Of ids, groups and folds; everything made from this plan carries it."""
        return digest(self.ids, self.groups, self.fold_N)

    def write(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        meta = {"foldstill": json.dumps({"seed": self.seed, "strategy": self.strategy, "digest": self.digest})}
        table = pa.table({"id": self.ids.tolist(), "group": self.groups.tolist(), "fold": self.fold_N})
        with atomic_write(path) as part:
            pq.write_table(table.replace_schema_metadata(meta), part)

    @classmethod
    def read(cls, path: Path) -> "FoldPlan":
        """The plan in a parquet file with columns id, group, fold (-1 = test), from `write` or made elsewhere."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path, use_threads=False)
        except FileNotFoundError:
            raise FoldError(f"no fold plan at {path}: run the stage that makes it, or give the path of yours") from None
        except (pa.ArrowException, OSError) as error:
            raise FoldError(
                f"{path} is not a parquet file with a fold plan ({error}): write columns id, group, fold"
            ) from error
        lacking = [c for c in ("id", "group", "fold") if c not in table.column_names]
        if lacking:
            raise FoldError(f"{path} lacks the columns {lacking}: a fold plan has id, group and fold (-1 = test)")
        meta = json.loads((table.schema.metadata or {}).get(b"foldstill", b"{}"))
        return cls(
            ids=as_strings(table["id"].to_numpy(), "id"),
            groups=as_strings(table["group"].to_numpy(), "group"),
            fold_N=table["fold"].to_numpy().astype(np.int16),
            seed=meta.get("seed"),
            strategy=meta.get("strategy", "given"),
        )


def make_plan(
    labels: Labels,
    *,
    n_folds: int = 5,
    test_share: float = 0.15,
    strategy: Strategy = "stratified_grouped",
    seed: int = 0,
) -> FoldPlan:
    """A plan with a locked test split of about `test_share` of the rows and K folds of the rest, no group split.

    "stratified_grouped" balances the vote shares of every class, "grouped" only the number of rows. The same labels and
    seed give the same plan. Raises FoldError when there are too few groups, or when a training set would lack a class.
    """
    if not 0 <= test_share < 1:
        raise FoldError(f"test_share must be in [0, 1), got {test_share}: 0.15 locks 15 % of the rows away")
    if n_folds < 2:
        raise FoldError(f"n_folds must be 2 or more, got {n_folds}")
    # sum of the two: the test split takes whole slices of the groups as well
    n_groups = len(np.unique(labels.groups))
    wanted = n_folds + (1 if test_share > 0 else 0)
    if n_groups < wanted:
        raise FoldError(
            f"{n_folds} folds{' and a test split' if test_share > 0 else ''} need at least {wanted} groups, "
            f"got {n_groups}: "
            "use fewer folds, or a finer group"
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
        labels.take(plan.training(fold)).require_every_class(f"the training set of fold {fold}")
    return plan


def _slices(labels: Labels, k: int, strategy: Strategy, seed: int) -> NDArray[np.int16]:
    """Slice 0..k-1 of each row, groups whole, even in rows and, when stratified, in the vote shares of every class.

    Large groups first, each goes to the slice where it raises the sum of squares least. scikit-learn's
    StratifiedGroupKFold sees hard labels only, and its seed has no effect unless groups tie.
    """
    if strategy not in ("grouped", "stratified_grouped"):
        raise FoldError(f"strategy must be grouped or stratified_grouped, got {strategy!r}")
    _, group_N = np.unique(labels.groups, return_inverse=True)
    size_G = np.bincount(group_N)
    share_GB = size_G[:, None] / len(labels)
    if strategy == "stratified_grouped":
        class_GC = np.stack([np.bincount(group_N, column) for column in labels.target_NC.T], axis=1)
        class_GC = class_GC[:, class_GC.sum(axis=0) > 0]
        # Rows count as much as all classes together.
        share_GB = np.hstack([share_GB * np.sqrt(class_GC.shape[1]), class_GC / class_GC.sum(axis=0)])
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(size_G))
    # By size up to a factor of two: exact order would leave nothing to the seed.
    order = order[np.argsort(-np.log2(size_G[order]).astype(np.int64), kind="stable")]
    filled_KB = np.zeros((k, share_GB.shape[1]))
    slice_G = np.empty(len(size_G), dtype=np.int16)
    for group in order:
        growth_K = filled_KB @ share_GB[group]
        slice_G[group] = rng.choice(np.flatnonzero(growth_K <= growth_K.min() + 1e-12))
        filled_KB[slice_G[group]] += share_GB[group]
    return slice_G[group_N]
