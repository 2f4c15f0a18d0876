"""What `--json` prints: one object per command on stdout, and nothing else there. docs/json.md lists the keys."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from foldstill.compare import Comparison
    from foldstill.oof import AuditReport
    from foldstill.pipeline import Run

AsJson = Annotated[
    bool, typer.Option("--json", help="Print the answer as one JSON object; notes and progress go to stderr.")
]


def print_json(answer: Mapping[str, Any]) -> None:
    """Print the answer of a command on stdout."""
    print(json.dumps(_plain(answer), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    """JSON has neither paths nor numbers that are not finite: the latter are null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def finding_records(audit: "AuditReport") -> list[dict[str, Any]]:
    """The warnings and failures of an audit."""
    return [asdict(finding) for finding in audit.flagged]


def comparison_answer(run: "Run", comparison: "Comparison") -> dict[str, Any]:
    """What a run says of its arms. The lines of comparison.csv are its `arms`."""
    from foldstill.pipeline.compare import command_of, cross_validation_of
    from foldstill.pipeline.durations import durations

    validated = cross_validation_of(run, comparison)
    return {
        **_compared(comparison),
        "command": command_of(run, comparison.judgement.recommended),
        "audit": finding_records(run.audit),
        "cross_validated": None if validated is None else _compared(validated),
        "durations": [asdict(one) for one in durations(run)],
        "run": run.dir.root,
        "report": run.dir.report,
    }


def _compared(comparison: "Comparison") -> dict[str, Any]:
    return {
        "verdict": comparison.verdict,
        **asdict(comparison.judgement),
        "metric": comparison.metric.name,
        "baseline": comparison.baseline,
        "rows": comparison.n_rows,
        "groups": comparison.n_groups,
        "arms": comparison.table(),
    }
