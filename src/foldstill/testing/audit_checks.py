"""What foldstill expects of an audit check, tried on tables that differ in what they contain."""

from typing import TYPE_CHECKING

import numpy as np

from foldstill.testing.requirements import require

if TYPE_CHECKING:
    from foldstill.oof import AuditCheck, AuditInput


def check_audit(check: "type[AuditCheck]") -> None:
    """Check that a class is an audit check that `foldstill.audit` can run.

    A check answers for every table, names itself in its finding, says the same twice, and does not change the table. A
    warning or a failure comes with a cure.

    Parameters
    ----------
    check : AuditCheck class
        The class as it is passed to `audit(table, checks=...)`.

    Raises
    ------
    AssertionError
        With a sentence that says what the check does wrong.

    Examples
    --------
    >>> from foldstill.oof import CHECKS
    >>> for check in CHECKS:
    ...     check_audit(check)
    >>> class Nameless(CHECKS[0]):
    ...     id = ""
    >>> check_audit(Nameless)
    Traceback (most recent call last):
    AssertionError: Nameless needs an id, a string that is not empty, got ''
    """
    for field in ("id", "title", "summary"):
        value = getattr(check, field, None)
        article = "an" if field == "id" else "a"
        require(
            isinstance(value, str) and bool(value),
            f"{check.__name__} needs {article} {field}, a string that is not empty, got {value!r}",
        )
    severity = getattr(check, "severity", None)
    require(severity in ("hard", "soft"), f"{check.__name__}: severity must be hard or soft, got {severity!r}")
    for case, inputs in _audit_inputs().items():
        where = f"{check.__name__} for {case}"
        before = inputs.table.proba_NMC.tobytes(), inputs.table.labels.digest
        finding = check().check(inputs)
        names = (finding.id, finding.name, finding.severity)
        expected = (check.id, check.title, check.severity)
        require(names == expected, f"{where}: the finding must carry {expected} of the check, got {names}")
        verdicts = ("pass", "warn", "fail", "not applicable")
        require(finding.verdict in verdicts, f"{where}: verdict must be one of {verdicts}, got {finding.verdict!r}")
        require(bool(finding.evidence), f"{where}: the finding needs evidence")
        require(
            bool(finding.cure) == (finding.verdict in ("warn", "fail")),
            f"{where}: a warning or failure needs a cure, and nothing else has one, got {finding.cure!r}",
        )
        require(check().check(inputs) == finding, f"{where}: the finding must be the same the second time")
        after = inputs.table.proba_NMC.tobytes(), inputs.table.labels.digest
        require(after == before, f"{where}: the check must not change the table")


def _audit_inputs() -> "dict[str, AuditInput]":
    """Tables that differ in what a check may need: members, votes, test rows, a combiner."""
    from foldstill.data.labels import Labels
    from foldstill.oof import AuditInput, FoldScores, oof_table

    rng = np.random.default_rng(0)
    truth_NC = rng.dirichlet(np.ones(3), 120)
    scores_NMC = np.stack([0.8 * truth_NC + 0.2 * rng.dirichlet(np.ones(3), 120) for _ in range(3)], axis=1)
    groups = np.arange(120) // 4
    labels = Labels.from_votes(rng.multinomial(6, truth_NC), groups=groups)
    table = oof_table(scores_NMC, labels, folds=groups % 3)
    hard = oof_table(scores_NMC, truth_NC.argmax(axis=1), groups=groups, folds=groups % 3)
    held_out, rest = np.flatnonzero(groups % 3 == 0), np.flatnonzero(groups % 3)
    test = FoldScores(labels.ids[held_out], table.members, table.classes, table.proba_NMC[None, held_out])
    return {
        "a table alone": AuditInput(table),
        "one member": AuditInput(table.select(table.members[:1])),
        "hard labels": AuditInput(hard),
        "a table with test scores": AuditInput(table.take(rest), test, labels.take(held_out[::-1])),
        "a combiner": AuditInput(table, combine=lambda part, _: part.proba_NMC.mean(axis=1), deep=True),
    }
