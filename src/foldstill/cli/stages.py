"""The commands that do stages of a run: run, train, stack, distill, compare."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foldstill.cli.arguments import (
    MADE_AGAIN,
    Changes,
    JudgedOn,
    MetricName,
    Out,
    Quiet,
    RunOptions,
    TrainOptions,
    Workers,
    takes_run_options,
)
from foldstill.cli.heads import heads_answer, show_heads
from foldstill.cli.json_answer import AsJson, comparison_answer, finding_records, print_json
from foldstill.cli.terminal import bars, console
from foldstill.workers import Work

if TYPE_CHECKING:
    from rich.console import Console

    from foldstill.compare import Comparison, HeadsComparison
    from foldstill.oof import Finding
    from foldstill.pipeline import Run


@takes_run_options
def run(options: RunOptions) -> None:
    """Do every stage of an experiment: train, oof build, stack, distill, compare. Finished stages are kept.

    Example: foldstill run mine.toml --workers 4
    """
    from foldstill.pipeline import run_all

    with options.open() as opened:
        notes = console(stderr=options.as_json)
        _show_few_groups(opened, notes)
        _show_sizes(opened, notes)
        comparison = run_all(opened)
    _answer(opened, comparison, as_json=options.as_json)


@takes_run_options
def train(options: TrainOptions) -> None:
    """Train every member on every fold. An interrupted training continues where it stopped.

    Example: foldstill train mine.toml --set recipe.epochs=20
    """
    from foldstill.pipeline import train_only, train_stage

    with options.open() as opened:
        _show_few_groups(opened, console(stderr=options.as_json))
        if options.only:
            train_only(opened, options.only)
        else:
            train_stage(opened)
    if options.only:
        _say_trained_one(opened, options)
        return
    folder, following = opened.dir.members, f"foldstill oof build {quote(str(opened.dir.root))}"
    if options.as_json:
        names = [member.name for member in opened.experiment.member]
        print_json({"members": names, "folder": folder, "run": opened.dir.root, "next": following})
        return
    console().print(f"Members are in {folder}. Next: {following}")


def _say_trained_one(opened: "Run", options: TrainOptions) -> None:
    following = f"foldstill train {quote(str(opened.dir.root))}"
    if options.as_json:
        print_json({"trained": options.only, "run": opened.dir.root, "next": following})
    else:
        console().print(f"{options.only} is trained. When the others are as well: {following}")


def stack(
    target: Annotated[
        Path,
        typer.Argument(help="Path of an OOF table (.parquet), of an experiment file, or of the folder of a run."),
    ],
    out: Out = None,
    combiner: Annotated[
        list[str] | None, typer.Option(help="Names of the combiners to fit; all when not given.")
    ] = None,
    strata: Annotated[list[str] | None, typer.Option(help="Keep only rows of these strata of an OOF table.")] = None,
    test: Annotated[
        Path | None,
        typer.Option(
            help="Scores of locked rows, with their labels: audited beside an OOF table, and compared.", dir_okay=False
        ),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(help="Checks of the audit whose failure you know to be harmless, such as A7; recorded."),
    ] = None,
    metric: MetricName = None,
    judged_on: JudgedOn = "",
    change: Changes = None,
    workers: Workers = None,
    force: Annotated[bool, typer.Option("--force", help=MADE_AGAIN["stack"])] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Cross-fit every combiner, then fit each to all rows.

    Example: foldstill stack oof.parquet --out my-stack --combiner average auto
    """
    from foldstill.pipeline import open_for_stacking, stack_stage

    with bars(quiet=quiet) as report:
        work = Work(workers, force=force, report=report)
        opened = open_for_stacking(target, out, strata=strata or (), test=test, changes=change or (), work=work)
        if opened.heads:
            # A table needs nothing of what knows members and their heads, a quarter of the time to import.
            from foldstill.pipeline import head_runs, stack_heads

            runs = head_runs(opened)
            chosen = stack_heads(opened, combiner or (), accept or (), metric, judged_on)
        else:
            explanation = stack_stage(opened, combiner or (), accept or (), metric, judged_on)
    following = shlex.join(["foldstill", "compare", str(opened.dir.root), *(["--metric", metric] if metric else [])])
    if opened.heads and as_json:
        heads = {head: _stacked_facts(runs[head], text) for head, text in chosen.items()}
        print_json({"heads": heads, "run": opened.dir.root, "next": following})
    elif opened.heads:
        for head, text in chosen.items():
            console().print(f"{head}:", style="bold")
            _show_stacked(runs[head], text)
        console().print(f"Combinations are in {opened.dir.heads}. Next: {following}")
    elif as_json:
        print_json({**_stacked_facts(opened, explanation), "run": opened.dir.root, "next": following})
    else:
        _show_stacked(opened, explanation)
        console().print(f"Combinations are in {opened.dir.stacking}. Next: {following}")


def _stacked_facts(run: "Run", explanation: str) -> dict[str, Any]:
    """What `--json` says of stacked combiners."""
    return {
        "combinations": [one.fitted.name for one in run.combinations],
        "explanation": explanation,
        "rows": len(run.table),
        "unscored": run.table.n_unscored,
        "audit": finding_records(run.audit),
        "folder": run.dir.stacking,
    }


def _show_stacked(run: "Run", explanation: str) -> None:
    """Print what combiners chose, and what is to be known of the table."""
    from foldstill.oof.unscored import unscored_note

    screen = console()
    if explanation:
        screen.print(explanation)
    if n_unscored := run.table.n_unscored:
        screen.print(f"{unscored_note(n_unscored, len(run.table) + n_unscored)}.")
    if flagged := run.audit.flagged:
        names = ", ".join(f"{f.id} {f.name} ({f.shown})" for f in flagged)
        screen.print(f"The audit found: {names}. See `foldstill oof audit {quote(str(run.dir.oof))}`.", soft_wrap=True)


@takes_run_options
def distill(options: RunOptions) -> None:
    """Train the student on held-out predictions of its teacher, and a twin on votes only with the same budget.

    Example: foldstill distill runs/mine --workers 3
    """
    from foldstill.pipeline import distill_stage

    with options.open() as opened:
        _show_sizes(opened, console(stderr=options.as_json))
        distill_stage(opened)
    folder, following = opened.dir.student, f"foldstill compare {quote(str(opened.dir.root))}"
    if options.as_json:
        names = [one.settings.name for one in opened.students if one.test or one.oof]
        print_json({"students": names, "folder": folder, "run": opened.dir.root, "next": following})
        return
    console().print(f"The student is in {folder}. Next: {following}")


def compare(
    target: Annotated[Path, typer.Argument(help="Path of the folder of a run, or of its experiment file.")],
    out: Out = None,
    metric: MetricName = None,
    as_json: AsJson = False,
) -> None:
    """Compare members, combinations and students with the plain average: a table, a verdict and report.html.

    Example: foldstill compare my-stack
    """
    from foldstill import pipeline

    opened = pipeline.find_run(target, out)
    stage = pipeline.compare_heads_of_run if opened.heads else pipeline.compare_stage
    _answer(opened, stage(opened, metric), as_json=as_json)


def _answer(opened: "Run", comparison: "Comparison | HeadsComparison", *, as_json: bool) -> None:
    """Print what a run says of its arms; of a multi-label run what its heads say together."""
    from foldstill.compare import Comparison
    from foldstill.pipeline.compare import command_of
    from foldstill.pipeline.heads import REPORT

    if isinstance(comparison, Comparison):
        if as_json:
            print_json(comparison_answer(opened, comparison))
        else:
            show_comparison(opened, comparison)
        return
    recommended = comparison.judgement.recommended
    command, report = command_of(opened, recommended), opened.dir.heads / REPORT
    if as_json:
        print_json({**heads_answer(comparison), "command": command, "run": opened.dir.root, "report": report})
        return
    show_heads(comparison)
    screen = console()
    screen.print(f"To use {comparison[recommended].label}: {command}", markup=False, soft_wrap=True)
    screen.print(f"Report: {report}")


def _show_few_groups(opened: "Run", screen: "Console") -> None:
    """That the comparison will rest on few groups, before anything is trained."""
    from foldstill.pipeline.few_groups import few_groups_note

    if note := few_groups_note(opened.plan):
        screen.print(note, soft_wrap=True)


def _show_sizes(opened: "Run", screen: "Console") -> None:
    """The cost of the students, before anything is trained."""
    from foldstill.commands.sizes import chosen_sizes

    if (sizes := chosen_sizes(opened)) is not None:
        for name in sizes.students:
            screen.print(sizes.line(name))


def show_comparison(opened: "Run", comparison: "Comparison", findings: "Sequence[Finding]" = ()) -> None:
    """Print the tables and verdicts of a run; findings of the audit follow the verdict, which rests on them."""
    from foldstill.compare.table import arms_table, strata_table, students_table
    from foldstill.pipeline.compare import command_of, cross_validation_of

    screen = console()
    screen.print(arms_table(comparison))
    for table in (strata_table(comparison), students_table(comparison)):
        if table is not None:
            screen.print()
            screen.print(table)
    screen.print(f"\n{comparison.verdict}\n", style="bold", soft_wrap=False)
    if (validated := cross_validation_of(opened, comparison)) is not None:
        screen.print(f"Cross-validated on the {validated.n_rows} rows that are not locked", style="bold")
        screen.print(arms_table(validated))
        screen.print(f"\n{validated.verdict}\n")
    for finding in findings:
        screen.print(f"{finding.id} {finding.verdict}: {finding.evidence} Cure: {finding.cure}")
    if findings:
        screen.print()
    if command := command_of(opened, comparison.judgement.recommended):
        screen.print(
            f"To use {comparison[comparison.judgement.recommended].label}: {command}", markup=False, soft_wrap=True
        )
    screen.print(f"Report: {opened.dir.report}")
