"""What an audit check is, and the one value that every check reads.

N samples (rows), M members, C classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from foldstill.data.labels import Labels
from foldstill.data.row_order import match_ids
from foldstill.data.simplex import row_blocks, row_kl
from foldstill.oof.findings import Finding, Severity, Verdict
from foldstill.oof.table import FoldScores, OOFTable
from foldstill.settings import Described

Combine = Callable[[OOFTable, NDArray[np.int16] | None], NDArray[Any]]
"""A combiner as a function of a table and its folds: cross-fitted probabilities (N, C), or with folds None those of the
combination fitted and applied to the same rows."""


@dataclass(frozen=True)
class AuditInput:
    """Everything a check may use; what several checks need is computed once.

    Parameters
    ----------
    table : OOFTable
        The table to check.
    test : FoldScores, optional
        Scores of groups that no fold model saw.
    test_labels : Labels, optional
        Labels of the same rows, in any order.
    combine : callable, optional
        A combiner, see `Combine`.
    deep : bool, default False
        Whether checks that refit the combiner several times are wanted.
    """

    table: OOFTable
    test: FoldScores | None = None
    test_labels: Labels | None = None
    combine: Combine | None = None
    deep: bool = False

    def __post_init__(self) -> None:
        if self.test is not None and self.test_labels is not None:
            rows = match_ids("the table of test labels", self.test.ids, self.test_labels.ids)
            object.__setattr__(self, "test_labels", self.test_labels.take(rows))

    @cached_property
    def kl_NM(self) -> NDArray[np.float64]:
        """KL divergence of each row and member of the table, in nats."""
        return member_kl(self.table.labels, self.table.proba_NMC)

    @cached_property
    def median_kl_N(self) -> NDArray[np.float64]:
        """KL divergence of the median member per row."""
        median_N = np.empty(len(self.table))
        for part in row_blocks(*self.kl_NM.shape):
            median_N[part] = np.median(self.kl_NM[part], axis=1)
        return median_N

    @cached_property
    def cross_fitted_kl(self) -> float:
        """Mean KL divergence of the combiner, cross-fitted by the folds of the table."""
        assert self.combine is not None, "the check that asks has looked for a combiner"
        return combined_kl(self.table, self.combine(self.table, self.table.fold_N))


class AuditCheck(Protocol):
    """One check of a score table. A class with these attributes can be passed to `audit(table, checks=...)`.

    Examples
    --------
    >>> import foldstill as fs
    >>> from foldstill.oof import CHECKS, finding
    >>> class TwoMembers:
    ...     id = "U1"
    ...     title = "two members"
    ...     severity = "soft"
    ...     summary = "A combination needs two or more members."
    ...
    ...     def check(self, inputs):
    ...         if len(inputs.table.members) > 1:
    ...             return finding(self, "pass", "The table has several members.")
    ...         return finding(self, "warn", "The table has one member.", "add another member")
    >>> table = fs.oof_table([[[0.9, 0.1]], [[0.2, 0.8]]], votes=[[3, 0], [1, 2]], folds=[0, 1])
    >>> fs.audit(table, checks=(*CHECKS, TwoMembers))["U1"].verdict
    'warn'
    """

    id: ClassVar[str]
    """Short name, different from that of every other check."""
    title: ClassVar[str]
    """A few words for tables."""
    severity: ClassVar[Severity]
    """Whether a failure means that no score of a combiner can be trusted."""
    summary: ClassVar[str]
    """One sentence: what the check looks for."""

    def check(self, inputs: AuditInput) -> Finding:
        """The finding for one table; "not applicable" when the check needs what the input lacks."""
        ...


class Check(Described):
    """Base of the checks here: the summary is the first sentence of the docstring, and a failure is not hard."""

    severity: ClassVar[Severity] = "soft"


def finding(check: AuditCheck, verdict: Verdict, evidence: str, cure: str = "") -> Finding:
    """The finding of a check, with the id, title and severity of the check."""
    return Finding(check.id, check.title, verdict, evidence, cure, check.severity)


def member_kl(labels: Labels, proba_NMC: NDArray[np.floating]) -> NDArray[np.float64]:
    """KL divergence of each row and member, (N, M), in nats."""
    kl_NM = np.empty(proba_NMC.shape[:2])
    for m in range(proba_NMC.shape[1]):
        kl_NM[:, m] = row_kl(target=labels.target_NC, proba=proba_NMC[:, m])
    return kl_NM


def combined_kl(table: OOFTable, proba_NC: NDArray[Any]) -> float:
    """Mean KL divergence of combined scores of the rows of a table, in nats."""
    return float(row_kl(target=table.labels.target_NC, proba=proba_NC).mean())
