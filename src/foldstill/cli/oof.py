"""The commands about score tables: foldstill oof ..."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from foldstill.cli.arguments import Changes, Out, Target
from foldstill.cli.terminal import console

oof_app = typer.Typer(no_args_is_help=True, help="Build, import, check and export out-of-fold score tables.")


class ExportFormat(StrEnum):
    NPZ = "npz"
    CSV = "csv"
    WIDE_CSV = "wide-csv"


@oof_app.command("build")
def oof_build(target: Target, out: Out = None, change: Changes = None) -> None:
    """Collect the held-out predictions of a run's trained members into one table."""
    from foldstill.pipeline import oof_stage, open_run

    opened = open_run(target, out, changes=change or ())
    table, test = oof_stage(opened)
    told = f"{len(table)} rows x {len(table.members)} members x {len(table.classes)} classes in {opened.dir.oof}"
    console().print(told + (f", {len(test)} locked test rows in {opened.dir.test}" if test else ""))


@oof_app.command("import")
def oof_import(
    paths: Annotated[
        list[Path], typer.Argument(help="One .npz, one wide .parquet/.csv, or one .csv/.parquet a member.")
    ],
    out: Annotated[Path, typer.Option(help="The table to write (.parquet).")] = Path("oof.parquet"),
    labels: Annotated[
        Path | None, typer.Option(help="A .csv/.parquet with ids and votes, shares or a class a row.")
    ] = None,
    folds: Annotated[Path | None, typer.Option(help="A .csv/.parquet with the fold of each id or group.")] = None,
    drop_members: Annotated[
        list[str] | None, typer.Option(help="Leave out members by name or pattern; takes several.")
    ] = None,
    classes: Annotated[list[str] | None, typer.Option(help="The classes in their order; takes several.")] = None,
    id: Annotated[str, typer.Option(help="Key or column of the ids.")] = "",
    group: Annotated[str, typer.Option(help="Key or column of what may not be split between folds.")] = "",
    fold: Annotated[str, typer.Option(help="Key or column of the fold each row was held out in.")] = "",
    stratum: Annotated[str, typer.Option(help="Key or column that names a row's stratum.")] = "",
    pred: Annotated[str, typer.Option(help="Key of the predictions in an .npz.")] = "",
    scores: Annotated[str, typer.Option(help="How score columns are named, such as '{class}_prediction'.")] = "",
    votes: Annotated[str, typer.Option(help="Key of vote counts, or their columns, such as '{class}_vote'.")] = "",
    shares: Annotated[str, typer.Option(help="Key of vote shares, or how their columns are named.")] = "",
    total: Annotated[str, typer.Option(help="Key or column of the number of votes behind the shares.")] = "",
    label: Annotated[str, typer.Option(help="Key or column of hard labels.")] = "",
    sample_weight: Annotated[str, typer.Option(help="Key or column of what a row counts.")] = "",
    space: Annotated[str, typer.Option(help="What the scores are: proba or logit.")] = "proba",
    smoothing: Annotated[float | None, typer.Option(help="Probability of the class a hard-label member names.")] = None,
) -> None:
    """Bring predictions made elsewhere into one checked table. What is not named is guessed by its usual name."""
    from foldstill.oof import ImportSettings, audit, import_scores, write_table

    settings = ImportSettings(
        labels=str(labels or ""),
        folds=str(folds or ""),
        drop_members=tuple(drop_members or ()),
        classes=tuple(classes or ()),
        id=id,
        group=group,
        fold=fold,
        stratum=stratum,
        pred=pred,
        scores=scores,
        votes=votes,
        shares=shares,
        total=total,
        label=label,
        sample_weight=sample_weight,
        space=space,  # type: ignore[arg-type]  # checked by the settings, with the cure
        smoothing=smoothing,
    )
    table = import_scores(paths, settings)
    write_table(table, out)
    screen = console()
    screen.print(
        f"{len(table)} rows x {len(table.members)} members x {len(table.classes)} classes, {len(table.folds)} folds, "
        f"{len(set(table.labels.groups.tolist()))} groups in {out}",
        markup=False,
    )
    for finding in audit(table).flagged:
        screen.print(f"{finding.id} {finding.verdict}: {finding.evidence} Cure: {finding.cure}", markup=False)
    screen.print(f"Next: foldstill stack {out} --out {out.with_suffix('')}-stack", markup=False)


@oof_app.command("audit")
def oof_audit(
    table: Annotated[Path, typer.Argument(help="An OOF table.")],
    test: Annotated[Path | None, typer.Option(help="Scores of locked test rows, with labels.")] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Also the checks that refit combiners.")] = False,
) -> None:
    """Look for leaks, misaligned members and duplicates. Exit code 3 when a hard check fails."""
    from foldstill.pipeline import audit_table

    report = audit_table(table, test, deep=deep)
    console().print(report.table(), markup=False)
    if report.failed_hard:
        raise typer.Exit(3)


@oof_app.command("export")
def oof_export(
    table: Annotated[Path, typer.Argument(help="An OOF table.")],
    out: Annotated[Path, typer.Argument(help="A file, or a folder for one file a member.")],
    form: Annotated[ExportFormat, typer.Option("--format", help="Which form.")] = ExportFormat.NPZ,
) -> None:
    """Write a table in a form that other tools read."""
    from foldstill.oof import export_table, read_table

    export_table(read_table(table), out, form.value)
    console().print(f"Written to {out}")
