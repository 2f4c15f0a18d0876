"""Votes per sample and what follows from them: targets, strata and row weights.

N samples (rows), C classes, A annotators, H heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.arguments import require_types
from foldstill.data.heads import BINARY, NONE, Heads, two_classes
from foldstill.data.row_weights import RowWeight, vote_weights
from foldstill.data.strata import strata_by_votes, whole_totals
from foldstill.data.text import Strings, as_numbers, as_strings
from foldstill.data.votes import votes_from_annotators, votes_from_hard, votes_from_shares
from foldstill.digests import digest
from foldstill.errors import DataError

_TEXTS = ("ids", "groups", "stratum_N")
_NUMBERS = ("votes_NC", "sample_weight_N")


@dataclass(frozen=True)
class Labels:
    """Votes per sample, with ids, groups, strata and sample weights.

    Make labels with `from_votes`, `from_shares`, `from_annotators`, `from_hard` or `from_heads`.

    Parameters
    ----------
    ids : array of str, shape (N,)
        One different name per sample.
    groups : array of str, shape (N,)
        What must not be split between folds: patient, recording, user.
    votes_NC : array of float, shape (N, C)
        Number of votes per class; fractions are allowed. A hard label is one vote.
    classes : tuple of str
        Names of the classes, in the order of the columns of `votes_NC`.
    stratum_N : array of str, shape (N,), optional
        Stratum of each sample; by default its number of votes: 1-2, 3-9, >=10.
    sample_weight_N : array of float, shape (N,), optional
        Weight of a sample for reasons other than its votes; 1 by default.
    counted : bool, default True
        Whether the numbers of votes are true counts. False when only the shares are certain.
    heads : Heads, optional
        The labels of a multi-label problem. Votes and classes then only say what folds balance.

    Raises
    ------
    DataError
        If shapes differ, an id repeats, a vote is negative or not finite, or a sample has no vote.

    Examples
    --------
    >>> import foldstill as fs
    >>> labels = fs.Labels.from_votes([[3, 1], [0, 5]], classes=["cat", "dog"])
    >>> labels.target_NC.tolist()
    [[0.75, 0.25], [0.0, 1.0]]
    """

    ids: Strings
    groups: Strings
    votes_NC: NDArray[np.float64]
    classes: tuple[str, ...]
    stratum_N: Strings = field(default_factory=lambda: np.empty(0, np.str_))
    sample_weight_N: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    counted: bool = True
    heads: Heads | None = None

    def __post_init__(self) -> None:
        require_types(Labels, vars(self))
        for names, wanted, kinds in ((_TEXTS, "text", "UT"), (_NUMBERS, "numbers", "fiu")):
            for name in names:
                array = getattr(self, name)
                if array.ndim == 0 or array.dtype.kind not in kinds:
                    raise DataError(
                        f"{name} must be an array of {wanted}, got {array.dtype} of shape {array.shape}: "
                        "Labels.from_votes converts lists, frames and arrays"
                    )
        n = len(self.ids)
        votes = self.votes_NC
        if votes.ndim != 2 or votes.shape != (n, len(self.classes)):
            raise DataError(
                f"votes must have shape (rows, classes) = ({n}, {len(self.classes)}), got {votes.shape}: "
                "give one column per class and one row per id"
            )
        if n == 0:
            raise DataError("labels need at least one row, got none: check the file or the filter that made them")
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise DataError(f"classes must be two or more different names, got {list(self.classes)}")
        if not all(self.classes):
            raise DataError(f"class names must not be empty, got {list(self.classes)}: name every class")
        if len(self.groups) != n:
            raise DataError(f"groups must have one value per row ({n}), got {len(self.groups)}")
        first, count = np.unique(self.ids, return_counts=True)
        if (count > 1).any():
            raise DataError(
                f"ids must be unique, {int((count > 1).sum())} are not; first: {first[count > 1][:3].tolist()}: "
                "make one id per row, for example from recording and offset"
            )
        self._check_votes()
        if len(self.stratum_N) == 0:
            object.__setattr__(self, "stratum_N", strata_by_votes(self.total_N))
        if len(self.stratum_N) != n:
            raise DataError(f"stratum must have one value per row ({n}), got {len(self.stratum_N)}")
        if len(self.sample_weight_N) == 0:
            object.__setattr__(self, "sample_weight_N", np.ones(n))
        weight = self.sample_weight_N
        if weight.shape != (n,) or not np.isfinite(weight).all() or not (weight >= 0).all() or not weight.any():
            raise DataError(
                f"sample weights must be one finite number per row ({n}), not negative and not all zero, "
                f"got shape {weight.shape}: leave them out to weigh all rows alike"
            )
        if self.heads is not None and len(self.heads.share_NH) != n:
            raise DataError(f"heads must have one row of labels per row ({n}), got {len(self.heads.share_NH)}")

    def _check_votes(self) -> None:
        for wrong, problem, cure in (
            (~np.isfinite(self.votes_NC).all(axis=1), "NaN or infinite votes", "fill missing counts with 0"),
            ((self.votes_NC < 0).any(axis=1), "negative votes", "votes are counts; a missing vote is 0"),
            ((self.votes_NC == 0).all(axis=1), "no vote at all", "drop the rows, or pass them as rows without labels"),
        ):
            if wrong.any():
                ids = self.ids[wrong]
                raise DataError(
                    f"{len(ids)} of {len(self.ids)} rows have {problem}; first ids: {ids[:3].tolist()}: {cure}"
                )

    @classmethod
    def from_votes(
        cls,
        votes_NC: ArrayLike,
        *,
        ids: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        classes: Sequence[str | int] | None = None,
        stratum: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        counted: bool = True,
    ) -> "Labels":
        """Labels from vote counts.

        Parameters
        ----------
        votes_NC : array, shape (N, C)
            Number of votes per class.
        ids : array, shape (N,), optional
            Names of the samples; the row numbers by default.
        groups : array, shape (N,), optional
            What must not be split between folds; each sample is its own group by default.
        classes : sequence of str, optional
            Names of the columns; c0, c1, ... by default.
        stratum, sample_weight, counted
            See `Labels`.

        Returns
        -------
        Labels

        Examples
        --------
        >>> Labels.from_votes([[3, 1], [0, 5]]).total_N.tolist()
        [4.0, 5.0]
        """
        require_types(Labels.from_votes, locals())
        votes = as_numbers(votes_NC, "votes")
        if votes.ndim != 2:
            raise DataError(f"votes must have shape (rows, classes), got {votes.shape}: hard labels go to from_hard")
        ids_N = np.arange(len(votes)).astype(np.str_) if ids is None else as_strings(ids, "ids")
        return cls(
            ids=ids_N,
            groups=ids_N if groups is None else as_strings(groups, "groups"),
            votes_NC=votes,
            classes=tuple(str(c) for c in classes)
            if classes is not None
            else tuple(f"c{i}" for i in range(votes.shape[1])),
            stratum_N=np.empty(0, np.str_) if stratum is None else as_strings(stratum, "stratum"),
            sample_weight_N=np.empty(0) if sample_weight is None else as_numbers(sample_weight, "sample weights"),
            counted=counted,
        )

    @classmethod
    def from_shares(cls, shares_NC: ArrayLike, total_N: ArrayLike | float, **rest: Any) -> "Labels":
        """Labels from vote shares and the number of votes behind each sample.

        Parameters
        ----------
        shares_NC : array, shape (N, C)
            Vote shares; rows sum to 1.
        total_N : array, shape (N,), or float
            Number of votes per sample, or one number for all samples.
        **rest
            As in `from_votes`. `counted` is False by default: pass True when the totals are true counts and not a guess
            or a lower bound.

        Examples
        --------
        >>> Labels.from_shares([[0.25, 0.75]], 4).votes_NC.tolist()
        [[1.0, 3.0]]
        """
        require_types(Labels.from_shares, locals())
        votes = votes_from_shares(shares_NC, total_N)
        return cls.from_votes(votes, **({"counted": False} | rest))

    @classmethod
    def from_annotators(
        cls, choice_NA: ArrayLike, *, classes: Sequence[str | int] | None = None, **rest: Any
    ) -> "Labels":
        """Labels from the class that each annotator chose.

        Parameters
        ----------
        choice_NA : array, shape (N, A)
            The chosen class, as an index or a name out of `classes`; -1 or NaN where the annotator did not vote.
        classes : sequence of str, optional
            Names of the classes; c0, c1, ... up to the largest index by default.
        **rest
            As in `from_votes`.

        Examples
        --------
        >>> Labels.from_annotators([[0, 0, 1], [2, -1, -1]]).votes_NC.tolist()
        [[2.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
        """
        require_types(Labels.from_annotators, locals())
        votes, names = votes_from_annotators(choice_NA, classes)
        return cls.from_votes(votes, classes=names, **rest)

    @classmethod
    def from_hard(cls, labels_N: ArrayLike, *, classes: Sequence[str | int] | None = None, **rest: Any) -> "Labels":
        """Labels from one class per sample; each is one vote.

        Parameters
        ----------
        labels_N : array, shape (N,)
            Class of each sample. Numbers that name classes are names; other whole numbers are indices below C.
        classes : sequence of str, optional
            Names of the classes, in order; by default the different labels, whole numbers sorted by value.
        **rest
            As in `from_votes`.

        Examples
        --------
        >>> labels = Labels.from_hard(["wake", "rem", "wake"])
        >>> labels.classes, labels.votes_NC.sum(axis=0).tolist()
        (('rem', 'wake'), [1.0, 2.0])
        """
        require_types(Labels.from_hard, locals())
        votes, names = votes_from_hard(labels_N, classes)
        return cls.from_votes(votes, classes=names, **rest)

    @classmethod
    def from_heads(cls, share_NH: ArrayLike, *, heads: Sequence[str | int] | None = None, **rest: Any) -> "Labels":
        """Labels of a multi-label problem: one yes-or-no label per row and head.

        Parameters
        ----------
        share_NH : array, shape (N, H)
            1 where a row has the label of a head and 0 where it has not, or the share of annotators who say so. NaN
            where it is not known: the row is neither learned from nor judged in that head.
        heads : sequence of str, optional
            Names of the heads; by default those of the columns of a frame, else head0, head1, ...
        **rest
            `ids`, `groups`, `stratum` and `sample_weight`, as in `from_votes`.

        Examples
        --------
        >>> labels = Labels.from_heads([[1, 0], [0, float("nan")], [0, 1]], heads=["kidney", "liver"])
        >>> rows, liver = labels.of_head("liver")
        >>> rows.tolist(), liver.target_NC[:, 1].tolist()
        ([0, 2], [0.0, 1.0])
        """
        require_types(Labels.from_heads, locals())
        share = as_numbers(share_NH, "labels").astype(np.float64)
        names = tuple(map(str, getattr(share_NH, "columns", ()) if heads is None else heads))
        if not names and share.ndim == 2:
            names = tuple(f"head{h}" for h in range(share.shape[1]))
        of_heads = Heads(names, share)
        if unknown := [name for name, column in zip(names, share.T, strict=True) if np.isnan(column).all()]:
            raise DataError(f"head {unknown[0]!r} has no label in any row: leave it out")
        votes = cls.from_votes(of_heads.balanced_NC, classes=(*names, NONE), counted=False, **rest)
        return replace(votes, heads=of_heads)

    def of_head(self, name: str) -> "tuple[NDArray[np.intp], Labels]":
        """The rows whose label of one head is known, and their labels, of the classes 0 and 1."""
        if self.heads is None or name not in self.heads.names:
            names = None if self.heads is None else list(self.heads.names)
            raise DataError(f"the labels have no head {name!r}, they have {names}: name one of these")
        share_N = self.heads.share_NH[:, self.heads.names.index(name)]
        rows = np.flatnonzero(~np.isnan(share_N))
        if not len(rows):
            raise DataError(f"head {name!r} has no label in any of {len(self)} rows: leave it out, or use fewer folds")
        own = Labels.from_shares(
            two_classes(share_N[rows]),
            1.0,
            ids=self.ids[rows],
            groups=self.groups[rows],
            classes=BINARY,
            stratum=self.stratum_N[rows],
            sample_weight=self.sample_weight_N[rows],
            counted=bool(np.isin(share_N[rows], (0, 1)).all()),
        )
        return rows, own

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def total_N(self) -> NDArray[np.float64]:
        """Number of votes per row."""
        return whole_totals(self.votes_NC.sum(axis=1))

    @cached_property
    def target_NC(self) -> NDArray[np.float64]:
        """Vote shares per row; they sum to 1."""
        share: NDArray[np.float64] = self.votes_NC / self.total_N[:, None]
        return share

    @cached_property
    def unanimous_N(self) -> NDArray[np.bool_]:
        """Whether all votes of the row are for one class."""
        one_class: NDArray[np.bool_] = (self.votes_NC > 0).sum(axis=1) == 1
        return one_class

    def weight_N(self, scheme: RowWeight = "none", maximum: float = 10.0) -> NDArray[np.float64]:
        """Row weights with mean 1: the sample weights, times a function of the number of votes v.

        log1p: log(1 + v). clamp: v, but at most `maximum`. damped: v up to 10 and (10 + 2 log10 v) log10 v beyond,
        which goes on rising slowly (12.6 at 11 votes, 18.7 at 28) and was published for HMS with these constants.
        """
        weight = self.sample_weight_N * vote_weights(self.total_N, scheme, maximum)
        weight /= weight.mean()
        return weight

    @cached_property
    def digest(self) -> str:
        """Digest of ids, groups, votes, classes, strata, sample weights and heads; equal labels have equal digests."""
        votes = (self.votes_NC, list(self.classes))
        heads = () if self.heads is None else (self.heads.share_NH,)
        return digest(self.ids, self.groups, *votes, self.stratum_N, self.sample_weight_N, *heads)

    def take(self, rows: NDArray[Any]) -> "Labels":
        """The rows selected by an index or a mask, in that order."""
        names = ("ids", "groups", "votes_NC", "stratum_N", "sample_weight_N")
        part: dict[str, Any] = {name: getattr(self, name)[rows] for name in names}
        part["heads"] = self.heads and self.heads.take(rows)
        if rows.dtype.kind != "b" or not part["sample_weight_N"].any():
            return replace(self, **part)
        # The rows of a mask differ, and were checked: to sort their ids again would take longer than to copy them.
        taken = object.__new__(Labels)
        vars(taken).update(part, classes=self.classes, counted=self.counted)
        return taken

    def require_every_class(self, where: str, of: "Labels") -> None:
        """Raise DataError if a class that has votes in `of` has none here; `where` says which rows these are."""
        lost_C = (self.votes_NC.sum(axis=0) == 0) & (of.votes_NC.sum(axis=0) > 0)
        missing = [c for c, lost in zip(self.classes, lost_C.tolist(), strict=True) if lost]
        if missing:
            raise DataError(
                f"{where} has no vote for {missing}: use fewer folds, the stratified strategy, "
                "or merge the class into another"
            )
