"""The command that answers for all heads of a multi-label problem: foldstill heads."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foldstill.cli import import_options as options
from foldstill.cli.arguments import MetricName, Quiet
from foldstill.cli.json_answer import AsJson, print_json
from foldstill.cli.terminal import bars, console
from foldstill.errors import ArgumentError
from foldstill.workers import Work

if TYPE_CHECKING:
    from foldstill.compare import HeadsComparison
    from foldstill.oof import ImportSettings


@options.takes_import_options()
def heads(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of compared runs, one per head and named like it; with --heads, one file of predictions per "
            "member."
        ),
    ],
    heads: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Heads of the files: the columns of their labels and probabilities, or what {head} stands for in "
            "other options.",
        ),
    ] = None,
    labels: options.LabelsFile = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the report heads.html, and with --heads for one run per head ('heads')."),
    ] = None,
    combiner: Annotated[
        list[str] | None, typer.Option(help="With --heads, names of the combiners to compare; the default ones else.")
    ] = None,
    metric: MetricName = None,
    *,
    settings: "ImportSettings",
    as_json: AsJson = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what other files left in the folder.")] = False,
    quiet: Quiet = False,
) -> None:
    """Summarise several heads (multi-label) by the mean of their metric; with --heads, import and compare them first.

    Example: foldstill heads preds/*.csv --labels train.csv --heads kidney liver spleen --metric auroc
    """
    from foldstill.oof.imports import require_effect
    from foldstill.pipeline.heads import Choices, compare_heads, compared_heads, write_summary

    folder = Path("heads") if heads and out is None else out
    if heads and folder is not None:
        with bars(quiet=quiet) as report:
            work = Work(1, force=force, report=report)
            summary = compare_heads(paths, heads, settings, folder, Choices(combiner or (), metric), work)
    else:
        require_effect(paths[0], settings)
        _require_none(combiner=combiner, metric=metric, drop_members=settings.drop_members)
        summary = compared_heads(paths)
    page = None if folder is None else write_summary(summary, folder)
    if as_json:
        print_json({**heads_answer(summary), "report": page})
        return
    show_heads(summary)
    if page is not None:
        console().print(f"The report is {page}.")


def heads_answer(summary: "HeadsComparison") -> dict[str, Any]:
    """What `--json` says of a summary over heads."""
    facts = {"verdict": summary.verdict, **asdict(summary.judgement), "metric": summary.metric.name}
    return facts | {"arms": summary.records()}


def show_heads(summary: "HeadsComparison") -> None:
    """Print the table and the verdict of a summary over heads."""
    screen = console()
    screen.print(summary.table())
    screen.print(f"\n{summary.verdict}\n", style="bold", soft_wrap=False)


def _require_none(**choices: object) -> None:
    """Refuse what was chosen for a comparison where runs are given that are compared already."""
    for name, choice in choices.items():
        if choice:
            option = f"--{name.replace('_', '-')}"
            raise ArgumentError(
                f"{option} has no effect on runs that are compared: name the heads of prediction files with --heads, "
                "or leave it out"
            )
