"""What an audit says: one finding a check, with its evidence and its cure."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["pass", "warn", "fail", "not applicable"]

HARD = ("A1", "A3", "A5", "A6", "A7", "A10")
"""Checks after whose failure no combiner's score can be trusted: cross-fitting does not rescue a leaked table."""


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, what was found, and what to do when it is not a pass."""

    id: str
    name: str
    verdict: Verdict
    evidence: str
    cure: str = ""


@dataclass(frozen=True)
class AuditReport:
    """All findings of one table, A1 to A12."""

    findings: tuple[Finding, ...]

    def __getitem__(self, id: str) -> Finding:
        """The finding of one check, by its id; raises KeyError when there is none."""
        for finding in self.findings:
            if finding.id == id:
                return finding
        raise KeyError(id)

    @property
    def hard_failures(self) -> tuple[Finding, ...]:
        """The failed checks that make every score of a combiner worthless."""
        return tuple(f for f in self.findings if f.verdict == "fail" and f.id in HARD)

    @property
    def failed_hard(self) -> bool:
        """Whether `auto` must refuse the table."""
        return bool(self.hard_failures)

    @property
    def flagged(self) -> tuple[Finding, ...]:
        """Findings to look at: warnings and failures."""
        return tuple(f for f in self.findings if f.verdict in ("warn", "fail"))

    def table(self) -> str:
        """One line a check, for a terminal or a file."""
        width = max(len(f.name) for f in self.findings)
        return "\n".join(
            f"{f.id:<4} {f.name:<{width}}  {f.verdict:<14}  {f.evidence}{f' Cure: {f.cure}' if f.cure else ''}"
            for f in self.findings
        )
