"""The command that answers from prediction files alone: foldstill verdict."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foldstill.cli import import_options as options
from foldstill.cli.arguments import JudgedOn, MetricName, Quiet, workers_option
from foldstill.cli.json_answer import AsJson, comparison_answer, print_json
from foldstill.cli.stages import show_comparison
from foldstill.cli.terminal import bars
from foldstill.workers import Work

if TYPE_CHECKING:
    from foldstill.oof import ImportSettings


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
    judged_on: JudgedOn = "",
    strata: Annotated[list[str] | None, typer.Option(help="Keep only rows of these strata.")] = None,
    test: Annotated[
        Path | None, typer.Option(help="Scores of locked rows, with their labels, to compare on.", dir_okay=False)
    ] = None,
    accept: Annotated[
        list[str] | None, typer.Option(help="Checks of the audit whose failure you know to be harmless, such as A7.")
    ] = None,
    *,
    settings: "ImportSettings",
    workers: Annotated[str, workers_option("Where jobs run")] = "1",
    as_json: AsJson = False,
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

    with bars(quiet=quiet) as report:
        opened = open_imported(
            paths,
            settings,
            out,
            strata=strata or (),
            test=test,
            work=Work(workers, force=force, report=report),
        )
        stack_stage(opened, combiner or (), accept or (), metric, judged_on)
        comparison = compare_stage(opened, metric)
    if as_json:
        print_json(comparison_answer(opened, comparison))
        return
    show_comparison(opened, comparison, opened.audit.flagged)
