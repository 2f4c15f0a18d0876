"""What an audit finds: one finding per check, with its evidence and its cure."""

from dataclasses import dataclass
from typing import Literal

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
    """

    id: str
    name: str
    verdict: Verdict
    evidence: str
    cure: str = ""
    severity: Severity = "soft"


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
        """The failed hard checks."""
        return tuple(f for f in self.findings if f.verdict == "fail" and f.severity == "hard")

    @property
    def failed_hard(self) -> bool:
        """Whether a hard check failed, so that the table must not be combined."""
        return bool(self.hard_failures)

    @property
    def flagged(self) -> tuple[Finding, ...]:
        """The findings to look at: warnings and failures."""
        return tuple(f for f in self.findings if f.verdict in ("warn", "fail"))

    def table(self) -> str:
        """One line per check, for a terminal or a text file."""
        width = max(len(f.name) for f in self.findings)
        return "\n".join(
            f"{f.id:<4} {f.name:<{width}}  {f.verdict:<14}  {f.evidence}{f' Cure: {f.cure}' if f.cure else ''}"
            for f in self.findings
        )
