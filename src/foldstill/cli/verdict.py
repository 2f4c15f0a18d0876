"""The command that answers from prediction files alone: foldstill verdict."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foldstill.cli import import_options as options
from foldstill.cli.arguments import MetricName, Quiet
from foldstill.cli.stages import show_comparison
from foldstill.cli.terminal import bars, console
from foldstill.workers import Work

if TYPE_CHECKING:
    from foldstill.compare import Comparison
    from foldstill.oof import ImportSettings
    from foldstill.pipeline import Run


@options.takes_import_options()
def verdict(
    paths: options.Predictions,
    labels: options.LabelsFile = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the table, the fitted combinations, the comparison and the report.")
    ] = Path("verdict"),
    combiner: Annotated[
        list[str] | None, typer.Option(help="Names of the combiners to compare; the default ones when not given.")
    ] = None,
    metric: MetricName = None,
    strata: Annotated[list[str] | None, typer.Option(help="Keep only rows of these strata.")] = None,
    test: Annotated[
        Path | None, typer.Option(help="Scores of locked rows, with their labels, to compare on.", dir_okay=False)
    ] = None,
    accept: Annotated[
        list[str] | None, typer.Option(help="Checks of the audit whose failure you know to be harmless, such as A7.")
    ] = None,
    *,
    settings: "ImportSettings",
    jobs: Annotated[int, typer.Option(help="Number of processes of one thread each.", min=1)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON, and nothing else.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what another table left in the folder.")] = False,
    quiet: Quiet = False,
) -> None:
    """Answer from predictions made elsewhere, in one process: import, audit, stack, compare, report.

    Does any combination beat the plain average, and which one should be used? The same stages one by one are `oof
    import`, `stack` and `compare`, and the folder is theirs. The combiner `mlp` takes most of the time: name the others
    with --combiner for a faster answer.

    Example: foldstill verdict preds/*.csv --labels train.csv
    """
    from foldstill.pipeline import compare_stage, open_imported, stack_stage

    with bars(quiet=quiet or as_json) as report:
        opened = open_imported(
            paths,
            settings,
            out,
            strata=strata or (),
            test=test,
            work=Work(jobs, force=force, report=report),
        )
        stack_stage(opened, combiner or (), accept or (), metric)
        comparison = compare_stage(opened, metric)
    if as_json:
        print(json.dumps(_facts(opened, comparison), indent=2))
        return
    for finding in opened.audit.flagged:
        console().print(f"{finding.id} {finding.verdict}: {finding.evidence} Cure: {finding.cure}")
    show_comparison(opened, comparison)


def _facts(opened: "Run", comparison: "Comparison") -> dict[str, Any]:
    """The answer for other programs: the lines of comparison.csv are its `arms`."""
    from dataclasses import asdict

    from foldstill.pipeline.compare import command_of

    judgement = comparison.judgement
    return {
        "verdict": comparison.verdict,
        **asdict(judgement),
        "metric": comparison.metric.name,
        "baseline": comparison.baseline,
        "command": command_of(opened, judgement.recommended),
        "rows": comparison.n_rows,
        "groups": comparison.n_groups,
        "audit": [asdict(finding) for finding in opened.audit.flagged],
        "arms": comparison.table(),
        "report": str(opened.dir.report),
    }
