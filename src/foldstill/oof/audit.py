"""Check a score table for leaks, misaligned rows and duplicates before any combiner is believed.

The numbers behind each threshold are measured by `benchmarks/bench_audit.py` on tables with and without planted leaks.
"""

from collections.abc import Sequence

from foldstill.arguments import require_types
from foldstill.data.labels import Labels
from foldstill.errors import OOFError
from foldstill.oof.audit_check import AuditCheck, AuditInput, Combine
from foldstill.oof.checks import CHECKS
from foldstill.oof.findings import AuditReport
from foldstill.oof.table import FoldScores, OOFTable


def audit(
    table: OOFTable,
    *,
    test: FoldScores | None = None,
    test_labels: Labels | None = None,
    combine: Combine | None = None,
    deep: bool = False,
    checks: Sequence[type[AuditCheck]] = CHECKS,
) -> AuditReport:
    """Check an OOF table for leaks, misaligned rows, duplicate members and shifted folds.

    Parameters
    ----------
    table : OOFTable
        The table to check.
    test : FoldScores, optional
        Scores of groups that no fold model saw; check A9 needs them, and with `test_labels` check A7.
    test_labels : Labels, optional
        Labels of the rows of `test`, in any order.
    combine : callable, optional
        `combine(table, fold_N)` returns cross-fitted probabilities (N, C) of a combiner, or with `fold_N` None those of
        the combination fitted and applied to the same rows. Checks A8 and A11 need it, and with `deep` check A12.
    deep : bool, default False
        Also run the check that refits the combiner on labels of other rows.
    checks : sequence of AuditCheck classes
        The checks to run; all of `foldstill.oof.CHECKS` by default. Add your own with `(*CHECKS, MyCheck)`.

    Returns
    -------
    AuditReport
        One finding per check.

    Raises
    ------
    DataError
        If `test_labels` holds other rows than `test`.
    OOFError
        If two checks have the same id.

    Examples
    --------
    >>> import foldstill as fs
    >>> table = fs.oof_table([[[0.9, 0.1]], [[0.2, 0.8]]], votes=[[3, 0], [1, 2]], folds=[0, 1])
    >>> report = fs.audit(table)
    >>> report["A1"].verdict, len(report.findings), report.failed_hard
    ('pass', 12, False)
    """
    require_types(audit, locals())
    ids = [check.id for check in checks]
    repeated = sorted({id for id in ids if ids.count(id) > 1})
    if repeated:
        raise OOFError(f"checks must have different ids, got {repeated} more than once: rename your check")
    inputs = AuditInput(table, test, test_labels, combine, deep)
    return AuditReport(tuple(check().check(inputs) for check in checks))
