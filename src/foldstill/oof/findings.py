"""What an audit finds: one finding per check, with its evidence and its cure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from foldstill.errors import OOFError

Verdict = Literal["pass", "warn", "fail", "not applicable"]

Severity = Literal["hard", "soft"]
"""After a hard check failed, no score of a combiner can be trusted: cross-fitting does not repair a leaked table."""


@dataclass(frozen=True)
class Finding:
    """The result of one check of a score table.

    Parameters
    ----------
    id : str
        Short name of the check, such as "A1".
    name : str
        Title of the check for tables.
    verdict : {"pass", "warn", "fail", "not applicable"}
    evidence : str
        What was measured, in one or two sentences.
    cure : str
        What to do after a warning or failure; empty otherwise.
    severity : {"hard", "soft"}, default "soft"
        Whether a failure means that no score of a combiner can be trusted.
    accepted : bool, default False
        Whether the user has looked at a failure and goes on nevertheless.
    """

    id: str
    name: str
    verdict: Verdict
    evidence: str
    cure: str = ""
    severity: Severity = "soft"
    accepted: bool = False

    @property
    def shown(self) -> str:
        """The verdict for tables."""
        return f"{self.verdict}, accepted" if self.accepted else self.verdict


@dataclass(frozen=True)
class AuditReport:
    """The findings of all checks of one table, in the order of the checks."""

    findings: tuple[Finding, ...]

    def __getitem__(self, id: str) -> Finding:
        """The finding of one check, by its id; raises KeyError when there is none."""
        for finding in self.findings:
            if finding.id == id:
                return finding
        raise KeyError(id)

    @property
    def hard_failures(self) -> tuple[Finding, ...]:
        """The failed hard checks that were not accepted."""
        return tuple(f for f in self.findings if f.verdict == "fail" and f.severity == "hard" and not f.accepted)

    @property
    def failed_hard(self) -> bool:
        """Whether a hard check failed, so that the table must not be combined."""
        return bool(self.hard_failures)

    def accept(self, ids: Sequence[str]) -> "AuditReport":
        """The report in which failures of these checks are accepted; raises OOFError for an unknown id.

        >>> report = AuditReport((Finding("A7", "held-out score", "fail", "Too good.", severity="hard"),))
        >>> report.accept(["A7"]).failed_hard
        False
        """
        known = [f.id for f in self.findings]
        if unknown := sorted(set(ids) - set(known)):
            raise OOFError(f"only checks of the audit can be accepted, got {unknown}: name some of {known}")
        return AuditReport(
            tuple(replace(f, accepted=f.accepted or (f.id in ids and f.verdict == "fail")) for f in self.findings)
        )

    @property
    def flagged(self) -> tuple[Finding, ...]:
        """The findings to look at: warnings and failures."""
        return tuple(f for f in self.findings if f.verdict in ("warn", "fail"))

    def table(self) -> str:
        """One line per check, for a terminal or a text file."""
        width = max(len(f.name) for f in self.findings)
        return "\n".join(
            f"{f.id:<4} {f.name:<{width}}  {f.shown:<14}  {f.evidence}{f' Cure: {f.cure}' if f.cure else ''}"
            for f in self.findings
        )
