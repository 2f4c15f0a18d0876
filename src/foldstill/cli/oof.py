"""The commands about score tables: foldstill oof ..."""

import shlex
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foldstill.cli import import_options as options
from foldstill.cli.arguments import Changes, Command, Out, Replace, Target
from foldstill.cli.json_answer import AsJson, finding_records, print_json
from foldstill.cli.terminal import console

if TYPE_CHECKING:
    from collections.abc import Mapping

    from foldstill.oof import ImportSettings, OOFTable
    from foldstill.pipeline import Run


oof_app = typer.Typer(no_args_is_help=True, help="Build, import, check and export out-of-fold score tables.")


class ExportFormat(StrEnum):
    NPZ = "npz"
    CSV = "csv"
    WIDE_CSV = "wide-csv"


@oof_app.command("build", cls=Command)
def oof_build(target: Target, out: Out = None, change: Changes = None, as_json: AsJson = False) -> None:
    """Collect the held-out predictions of the trained members of a run in one table.

    Example: foldstill oof build runs/mine
    """
    from foldstill.pipeline import oof_heads, oof_stage, open_run

    opened = open_run(target, out, changes=change or ())
    if opened.dataset.labels.heads is not None:
        _say_heads(opened, oof_heads(opened), as_json=as_json)
        return
    table, test = oof_stage(opened)
    if as_json:
        locked = {"test": opened.dir.test, "test_rows": len(test)} if test else {"test": None, "test_rows": 0}
        following = f"foldstill stack {quote(str(opened.dir.root))}"
        print_json({**_table_facts(table), "out": opened.dir.oof, **locked, "next": following})
        return
    message = f"{len(table)} rows x {len(table.members)} members x {len(table.classes)} classes in {opened.dir.oof}"
    console().print(message + (f", {len(test)} locked test rows in {opened.dir.test}" if test else ""))


def _say_heads(run: "Run", tables: "Mapping[str, OOFTable]", *, as_json: bool) -> None:
    following = f"foldstill stack {quote(str(run.dir.root))}"
    if as_json:
        heads = {head: {**_table_facts(table), "out": run.dir.head(head).oof} for head, table in tables.items()}
        print_json({"heads": heads, "next": following})
        return
    for head, table in tables.items():
        console().print(f"{head}: {len(table)} rows x {len(table.members)} members in {run.dir.head(head).oof}")


@oof_app.command("import", cls=Command)
@options.takes_import_options()
def oof_import(
    paths: options.Predictions,
    out: Annotated[Path, typer.Option(help="The table to write (.parquet, .csv or .npz).")] = Path("oof.parquet"),
    *,
    settings: "ImportSettings",
    force: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Import predictions made elsewhere as one checked table. Usual names of columns are recognised.

    Example: foldstill oof import oof/*.csv --labels train.csv --group patient --out oof.parquet
    """
    from foldstill.oof import audit, import_scores
    from foldstill.oof.exports import TABLE_SUFFIXES, check_score_output, write_table_as
    from foldstill.pipeline.rundir import refuse_run_file

    refuse_run_file(out)
    named = [Path(path) for path in (settings.labels, settings.folds) if path]
    check_score_output(out, TABLE_SUFFIXES, inputs=[*paths, *named], force=force)
    table = import_scores(paths, settings)
    write_table_as(table, out)
    report = audit(table)
    following = shlex.join(["foldstill", "stack", str(out), "--out", f"{out.with_suffix('')}-stack"])
    if as_json:
        print_json({**_table_facts(table), "out": out, "audit": finding_records(report), "next": following})
        return
    screen = console()
    screen.print(
        f"{len(table)} rows x {len(table.members)} members x {len(table.classes)} classes, {len(table.folds)} folds, "
        f"{len(set(table.labels.groups.tolist()))} groups in {out}",
    )
    for finding in report.flagged:
        screen.print(f"{finding.id} {finding.verdict}: {finding.evidence} Cure: {finding.cure}")
    screen.print(f"Next: {following}")


def _table_facts(table: "OOFTable") -> dict[str, Any]:
    """Size and names of a table."""
    return {
        "rows": len(table),
        "members": table.members,
        "classes": table.classes,
        "folds": len(table.folds),
        "groups": len(set(table.labels.groups.tolist())),
    }


@oof_app.command("audit", cls=Command)
def oof_audit(
    table: Annotated[Path, typer.Argument(help="An OOF table.")],
    test: Annotated[
        Path | None, typer.Option(help="Scores of locked test rows, with their labels.", dir_okay=False)
    ] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Also run the checks that refit combiners.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a table for leaks, misaligned members and duplicates. The exit code is 3 when a hard check fails.

    Example: foldstill oof audit oof.parquet --deep
    """
    from dataclasses import asdict

    from foldstill.pipeline import audit_table

    report = audit_table(table, test, deep=deep)
    if as_json:
        print_json({"findings": [asdict(one) for one in report.findings], "failed_hard": report.failed_hard})
    else:
        console().print(report.table())
    if report.failed_hard:
        raise typer.Exit(3)


@oof_app.command("export", cls=Command)
def oof_export(
    table: Annotated[Path, typer.Argument(help="An OOF table.")],
    out: Annotated[Path, typer.Argument(help="The file to write; for csv a folder, which gets one file per member.")],
    form: Annotated[
        ExportFormat | None,
        typer.Option(
            "--format", help="The form to write; when not given, wide-csv for a file that ends in .csv, else npz."
        ),
    ] = None,
    force: Replace = False,
) -> None:
    """Write a table in a form that other tools read.

    Example: foldstill oof export oof.parquet oof.npz
    """
    from foldstill.oof import export_table, read_table
    from foldstill.oof.exports import check_export
    from foldstill.pipeline.rundir import refuse_run_file

    refuse_run_file(out)
    chosen = form or (ExportFormat.WIDE_CSV if out.suffix == ".csv" else ExportFormat.NPZ)
    check_export(table, out, chosen.value, force=force)
    export_table(read_table(table), out, chosen.value)
    console().print(f"Written to {out}")
