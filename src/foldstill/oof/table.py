"""Tables of scores: for every sample and member, probabilities from models that never saw the sample's group.

N samples (rows), M members, C classes, K fold models.
"""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foldstill.data.folds import TEST
from foldstill.data.labels import Labels
from foldstill.data.row_order import match_ids
from foldstill.data.simplex import check_rows, kl_divergence, row_blocks
from foldstill.data.text import Strings
from foldstill.errors import OOFError
from foldstill.frames import FrameLibrary, html_table, make_frame
from foldstill.oof.column_names import label_columns, score_columns


def _check_scores(proba: NDArray[Any], n: int, members: Sequence[str], classes: Sequence[str]) -> None:
    if proba.shape[-3:] != (n, len(members), len(classes)):
        raise OOFError(
            f"scores must have shape (rows, members, classes) = ({n}, {len(members)}, {len(classes)}), "
            f"got {proba.shape[-3:]}"
        )
    if n == 0 or not members:
        raise OOFError(f"a score table needs rows and members, got {n} rows and {len(members)} members")
    for what, names in (("member", members), ("class", classes)):
        if len(set(names)) < len(names):
            raise OOFError(
                f"{what} names must differ, got {sorted(n for n in set(names) if list(names).count(n) > 1)} twice"
            )
        if not all(names):
            raise OOFError(f"{what} names must not be empty, got {list(names)}: name every {what}")
        # They would move the cursor of a terminal, or break the lines of a table.
        if controls := [name for name in names if any(unicodedata.category(c) == "Cc" for c in name)]:
            raise OOFError(f"{what} names must not contain control characters, got {controls}: rename them")
    check_rows(proba, "scores")


class _RowsOf(NamedTuple):
    """Some rows of another table."""

    scores: "ScoreTable"
    index_N: NDArray[np.intp]

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """The values of these rows among those of the table."""
        own: NDArray[Any] = values[self.index_N]
        return own

    def take(self, index_N: NDArray[np.intp]) -> "_RowsOf":
        return _RowsOf(self.scores, self.index_N[index_N])


@dataclass(frozen=True)
class ScoreTable:
    """Predicted probabilities of several members for the same samples.

    Parameters
    ----------
    ids : array of str, shape (N,)
        Names of the samples.
    members : tuple of str
        Names of the members, all different.
    classes : tuple of str
        Names of the classes, all different.
    proba_NMC : array of float32, shape (N, M, C)
        Probabilities; they sum to 1 over the classes.
    families : tuple of str, optional
        What members have in common, such as an architecture: combiners can tie weights within a family. One family per
        member by default.

    Raises
    ------
    OOFError
        If shapes differ, or names repeat or are empty.
    DataError
        If a row is not a distribution.

    Examples
    --------
    >>> import numpy as np
    >>> proba = np.array([[[0.9, 0.1], [0.6, 0.4]]], np.float32)
    >>> scores = ScoreTable(np.array(["a"]), ("cnn", "gbm"), ("cat", "dog"), proba)
    >>> round(float(scores.select(["gbm"]).proba_NMC[0, 0, 0]), 2)
    0.6
    """

    ids: Strings
    members: tuple[str, ...]
    classes: tuple[str, ...]
    proba_NMC: NDArray[np.float32]
    families: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_scores(self.proba_NMC, len(self.ids), self.members, self.classes)
        if not self.families:
            object.__setattr__(self, "families", self.members)
        if len(self.families) != len(self.members):
            raise OOFError(f"families must name one family per member ({len(self.members)}), got {len(self.families)}")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[Any]) -> "ScoreTable":
        """The rows selected by an index or a mask; their probabilities are copied when `proba_NMC` is first asked for.

        A fit that works in blocks never asks, so that cross-fitting does not copy most of a large table per fold.
        """
        ids = self.ids[rows]
        if not len(ids):
            return replace(self, ids=ids, proba_NMC=self.proba_NMC[rows])
        index_N, source = (np.flatnonzero(rows) if rows.dtype.kind == "b" else rows), self._source
        taken = object.__new__(ScoreTable)
        vars(taken).update(ids=ids, members=self.members, classes=self.classes, families=self.families)
        vars(taken)["_rows_of"] = _RowsOf(self, index_N) if source is None else source.take(index_N)
        return taken

    @property
    def _source(self) -> "_RowsOf | None":
        """The table that the rows were taken from; None for a table of its own."""
        return vars(self).get("_rows_of")

    def __getattr__(self, name: str) -> Any:
        if name == "proba_NMC" and (source := self._source) is not None:
            return vars(self).setdefault(name, source.of(source.scores.proba_NMC))
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __getstate__(self) -> dict[str, Any]:
        """Another process gets the rows themselves."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """The rows in parts of about a million numbers: where each part is, and its probabilities (B, M, C)."""
        source = self._source
        for part in row_blocks(len(self), len(self.members) * len(self.classes)):
            if source is None or "proba_NMC" in vars(self):
                yield part, self.proba_NMC[part]
            else:
                yield part, source.scores.proba_NMC[source.index_N[part]]

    def by_block(self, function: Callable[[NDArray[np.float32]], NDArray[Any]]) -> NDArray[Any]:
        """What a function makes of the rows, (N, ...); it gets a block of rows at a time."""
        parts = [function(proba_NMC) for _, proba_NMC in self.blocks()]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def by_row(self, function: Callable[[NDArray[np.float32]], NDArray[Any]]) -> NDArray[Any]:
        """As `by_block`, for a function of each row alone; called once for a table and all that are taken from it.

        Give the same function object each time.
        """
        if (source := self._source) is not None:
            return source.of(source.scores.by_row(function))
        made = vars(self).setdefault("_made", {})
        if function not in made:
            made[function] = self.by_block(function)
        result: NDArray[Any] = made[function]
        return result

    def entries(self, row_E: NDArray[np.intp], class_E: NDArray[np.intp]) -> NDArray[np.float32]:
        """The probabilities by every member of single entries, (E, M)."""
        source = self._source
        if source is not None and "proba_NMC" not in vars(self):
            return source.scores.entries(source.index_N[row_E], class_E)
        found: NDArray[np.float32] = self.proba_NMC[row_E, :, class_E]
        return found

    def select(self, members: Sequence[str]) -> "ScoreTable":
        """The named members, in that order; raises OOFError that lists the members that are missing."""
        missing = [m for m in members if m not in self.members]
        if missing:
            raise OOFError(f"the table has no member {missing}, it has {list(self.members)}: name members of the table")
        index = [self.members.index(m) for m in members]
        return replace(
            self,
            members=tuple(members),
            proba_NMC=np.ascontiguousarray(self.proba_NMC[:, index]),
            families=tuple(self.families[i] for i in index),
        )

    def drop(self, patterns: Sequence[str]) -> "ScoreTable":
        """The table without the members that match a shell pattern; OOFError for a pattern of none or of all."""
        for pattern in patterns:
            if not any(fnmatchcase(m, pattern) for m in self.members):
                raise OOFError(
                    f"no member matches {pattern!r}, the table has {list(self.members)}: correct the pattern"
                )
        kept = [m for m in self.members if not any(fnmatchcase(m, p) for p in patterns)]
        if not kept:
            raise OOFError(f"drop_members = {list(patterns)} leaves none of the members {list(self.members)}: keep one")
        return self.select(kept)


@dataclass(frozen=True)
class OOFTable:
    """Held-out scores with the labels of the same samples, and the fold in which each sample was held out.

    Make one with `foldstill.oof_table` or `foldstill.import_scores`.

    Parameters
    ----------
    scores : ScoreTable
        Held-out probabilities.
    labels : Labels
        Votes of the same samples in the same order, with the same classes.
    fold_N : array of int16, shape (N,)
        Fold 0..K-1; no group is in two folds.
    plan_digest : str
        Digest of the fold plan with which the members were trained; empty for imported tables.
    folds_assigned : bool, default False
        Whether the folds were made only to cross-fit combiners. Such folds say nothing about how the members were
        trained.
    made_elsewhere : tuple of str, optional
        Members that were not trained with the fold plan: their models or predictions were made elsewhere.
    n_unscored : int, default 0
        Number of further rows that no member has a held-out prediction of, as time-ordered folds leave them. They are
        not in the table.

    Raises
    ------
    OOFError
        If scores, labels and folds are not of the same samples and classes, or a test row is among them.

    Examples
    --------
    >>> import foldstill as fs
    >>> table = fs.oof_table([[[0.9, 0.1]], [[0.2, 0.8]]], votes=[[3, 0], [1, 2]], folds=[0, 1])
    >>> table.folds, table.members, table.proba_NMC.shape
    ([0, 1], ('m0',), (2, 1, 2))
    """

    scores: ScoreTable
    labels: Labels
    fold_N: NDArray[np.int16]
    plan_digest: str = ""
    folds_assigned: bool = False
    made_elsewhere: tuple[str, ...] = ()
    n_unscored: int = 0

    def __post_init__(self) -> None:
        kept = tuple(m for m in self.scores.members if m in self.made_elsewhere)
        object.__setattr__(self, "made_elsewhere", kept)
        if self.labels.classes != self.scores.classes:
            raise OOFError(
                f"classes of scores {list(self.scores.classes)} and labels {list(self.labels.classes)} must be "
                "the same, in the same order: reorder the columns of one"
            )
        if not np.array_equal(self.labels.ids, self.scores.ids):
            raise OOFError("scores and labels must hold the same ids in the same order: align them with OOFTable.align")
        if self.fold_N.shape != (len(self.labels),):
            raise OOFError(f"folds must be one per row ({len(self.labels)}), got shape {self.fold_N.shape}")
        if (self.fold_N == TEST).any():
            raise OOFError("an OOF table holds no test rows (fold -1): keep them in a table of fold scores")

    @classmethod
    def align(cls, scores: ScoreTable, labels: Labels, fold_N: NDArray[Any], plan_digest: str = "") -> "OOFTable":
        """A table with the scores brought into the order of the labels by id."""
        return cls(
            scores.take(match_ids("the score table", labels.ids, scores.ids)),
            labels,
            fold_N.astype(np.int16),
            plan_digest,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def with_families(self, families: Sequence[str]) -> "OOFTable":
        """The table with other families, one per member."""
        return replace(self, scores=replace(self.scores, families=tuple(families)))

    @property
    def proba_NMC(self) -> NDArray[np.float32]:
        """The probabilities of the scores."""
        return self.scores.proba_NMC

    @property
    def members(self) -> tuple[str, ...]:
        """Names of the members."""
        return self.scores.members

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.scores.classes

    @property
    def folds(self) -> list[int]:
        """The fold numbers in the table, in ascending order."""
        return [int(f) for f in np.unique(self.fold_N)]

    def take(self, rows: NDArray[Any]) -> "OOFTable":
        """The rows selected by an index or a mask."""
        return replace(self, scores=self.scores.take(rows), labels=self.labels.take(rows), fold_N=self.fold_N[rows])

    def select(self, members: Sequence[str]) -> "OOFTable":
        """The table of the named members, in that order."""
        return replace(self, scores=self.scores.select(members))

    def drop(self, patterns: Sequence[str]) -> "OOFTable":
        """The table without the members that match a shell pattern."""
        return replace(self, scores=self.scores.drop(patterns))

    def to_frame(self, library: FrameLibrary = "pandas") -> Any:
        """The rows with the columns of the table's file: id, group, votes__<class>, fold, p__<member>__<class> ...

        Parameters
        ----------
        library : {"pandas", "polars"}, default "pandas"
            Library of the frame.

        Examples
        --------
        >>> import foldstill as fs
        >>> fs.oof_table([[[0.9, 0.1]], [[0.2, 0.8]]], labels=["a", "b"], folds=[0, 1]).to_frame().columns[-2:].tolist()
        ['p__m0__a', 'p__m0__b']
        """
        names = score_columns(self.members, self.classes)
        scores = {name: self.proba_NMC[:, m, c] for m, row in enumerate(names) for c, name in enumerate(row)}
        return make_frame(label_columns(self.labels) | {"fold": self.fold_N} | scores, library)

    def _repr_html_(self) -> str:
        n_groups = len(np.unique(self.labels.groups))
        title = f"OOF table: {len(self)} rows x {len(self.members)} members x {len(self.classes)} classes"
        lines = [
            {
                "member": member,
                "KL": kl_divergence(
                    target=self.labels.target_NC,
                    proba=self.proba_NMC[:, m],
                    weight=self.labels.sample_weight_N,
                ),
            }
            for m, member in enumerate(self.members)
        ]
        return html_table(title, lines, f"{len(self.folds)} folds, {n_groups} groups. KL of held-out predictions.")


@dataclass(frozen=True)
class FoldScores:
    """Scores of samples that no fold model saw, by all K fold models of every member.

    An out-of-fold sample has a score of one fold model per member, such a sample has K. A combination is therefore
    applied to the scores of each fold model and the K results are averaged. The plain average is the same either way.

    Parameters
    ----------
    ids : array of str, shape (N,)
        Names of the samples.
    members, classes : tuple of str
        Names, as in `ScoreTable`.
    proba_KNMC : array of float32, shape (K, N, M, C)
        Probabilities; they sum to 1 over the classes.
    families : tuple of str, optional
        As in `ScoreTable`.

    Raises
    ------
    OOFError
        If shapes differ, or names repeat or are empty.
    DataError
        If a row is not a distribution.

    Examples
    --------
    >>> import numpy as np
    >>> proba = np.array([[[[0.9, 0.1]]], [[[0.7, 0.3]]]], np.float32)
    >>> scores = FoldScores(np.array(["a"]), ("cnn",), ("cat", "dog"), proba)
    >>> scores.n_models, round(float(scores.mean().proba_NMC[0, 0, 0]), 2)
    (2, 0.8)
    """

    ids: Strings
    members: tuple[str, ...]
    classes: tuple[str, ...]
    proba_KNMC: NDArray[np.float32]
    families: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.proba_KNMC.ndim != 4:
            raise OOFError(
                f"fold scores must have shape (fold models, rows, members, classes), got {self.proba_KNMC.shape}: "
                "give one block of scores per fold model"
            )
        _check_scores(self.proba_KNMC, len(self.ids), self.members, self.classes)
        if not self.families:
            object.__setattr__(self, "families", self.members)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_models(self) -> int:
        """Number of fold models K."""
        return int(self.proba_KNMC.shape[0])

    def fold_model(self, fold: int) -> ScoreTable:
        """The scores by the models of one fold."""
        return ScoreTable(self.ids, self.members, self.classes, self.proba_KNMC[fold], self.families)

    def mean(self) -> ScoreTable:
        """The average over fold models."""
        mean = self.proba_KNMC.mean(axis=0, dtype=np.float64).astype(np.float32)
        return ScoreTable(self.ids, self.members, self.classes, mean, self.families)
