"""The commands that use a finished run: apply, predict, export."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foldstill.cli import import_options as options
from foldstill.cli.arguments import On, Out, Replace, Target, work_of
from foldstill.cli.json_answer import AsJson, print_json
from foldstill.cli.terminal import console

if TYPE_CHECKING:
    from foldstill.oof import ImportSettings


Like = Annotated[
    Path | None,
    typer.Option(
        help="Path of a sample_submission.csv, whose rows and columns the output takes.",
        dir_okay=False,
        show_default=False,
    ),
]


class OnnxPrecision(StrEnum):
    FP16 = "fp16"
    INT8 = "int8"


@options.takes_import_options("id", "scores", "positive", "space", "smoothing")
def apply(
    combination: Annotated[Path, typer.Argument(help="A fitted combination as RUN/NAME, for example hms-stack/auto.")],
    tables: Annotated[
        list[Path],
        typer.Argument(help="Scores of the same members without labels: a table, or one .csv or .parquet per member."),
    ],
    out: Annotated[Path, typer.Option(help="Path of the scores to write (.parquet or .csv).")] = Path("scores.parquet"),
    *,
    settings: "ImportSettings",
    like: Like = None,
    force: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Combine the scores of new rows with a combination that was fitted before.

    Example: foldstill apply my-stack/auto test/*.csv --out submission.csv --like sample_submission.csv
    """
    from foldstill.pipeline import apply_combination

    combined = apply_combination(combination, tables, out, settings, like=like, force=force)
    scores, members = combined.scores, combined.fitted.members
    if as_json:
        shape = {"rows": len(scores), "classes": scores.classes}
        print_json({"combination": combined.fitted.name, "members": members, **shape, "out": out})
        return
    screen = console()
    screen.print(f"Inputs: probabilities of {len(members)} members, as in the fit: {', '.join(members)}")
    screen.print(f"{len(scores)} rows x {len(scores.classes)} classes in {out}")


def predict(
    target: Annotated[
        Path, typer.Option("--run", help="Path of the folder of a run, or of its experiment file.", show_default=False)
    ],
    data: Annotated[
        Path, typer.Option(help="Path of new inputs in the format of the experiment's data.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Path of the scores to write (.parquet or .csv).")] = Path(
        "predictions.parquet"
    ),
    arm: Annotated[
        str,
        typer.Option(
            help="Name of a member, combination or student, as the comparison has it; NAME-mean for the average over "
            "the seeds of a student."
        ),
    ] = "auto",
    seed: Annotated[
        int | None, typer.Option(help="Seed of the student; the first when not given.", show_default=False, min=0)
    ] = None,
    onnx: Annotated[
        Path | None,
        typer.Option(help="Path of an exported student to use instead of --arm; needs no torch.", dir_okay=False),
    ] = None,
    like: Like = None,
    device: On = "auto",
    force: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Score new inputs with a member, a combination or the student of a run.

    Example: foldstill predict --run runs/mine --data new.npz --arm student --out scores.csv
    """
    from foldstill.commands.predict import predict_inputs

    work = work_of(None, device, force=force)
    predicted = predict_inputs(target, data, out, arm=arm, seed=seed, onnx=onnx, like=like, work=work)
    scores = predicted.scores
    what, columns = ("heads", scores.members) if predicted.of_heads else ("classes", scores.classes)
    name = arm if predicted.of_heads else scores.members[0]
    if as_json:
        print_json({"arm": name, "rows": len(scores), what: columns, "inputs": predicted.recipe, "out": out})
        return
    screen = console()
    for line in predicted.recipe:
        screen.print(line)
    screen.print(f"{len(scores)} rows x {len(columns)} {what} by {name} in {out}")


def export(
    target: Target,
    out: Out = None,
    precision: Annotated[
        list[OnnxPrecision] | None,
        typer.Option(help="Smaller files to write besides float32: fp16, int8; both when not given."),
    ] = None,
    arm: Annotated[
        str | None, typer.Option(help="Name of a combination to export in place of the student.", show_default=False)
    ] = None,
    program: Annotated[bool, typer.Option("--program", help="Write a torch.export file as well.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the student of a run as ONNX files with a model card; `predict --onnx` runs the files.

    With --arm, write a combination with all fold models of its members as one ONNX file instead. The members must be
    networks of one view, and the combination an average, a log-linear pool or a recalibration of these.

    Example: foldstill export runs/mine --precision int8
    """
    if arm is not None:
        _export_ensemble(target, out, arm, alone=not (precision or program), as_json=as_json)
        return
    from dataclasses import asdict

    from foldstill.commands.export import export_stage
    from foldstill.pipeline import open_run

    opened = open_run(target, out)
    shipment = export_stage(opened, tuple(p.value for p in precision or OnnxPrecision), program=program)
    if as_json:
        files = [
            {"path": path if path.exists() else None, "description": description}
            for path, description in ((opened.dir.student / name, text) for name, text in shipment.files.items())
        ]
        latencies = [asdict(one) for one in shipment.latencies]
        print_json({"files": files, "latencies": latencies, "card": opened.dir.card, "run": opened.dir.root})
        return
    screen = console()
    for name, description in shipment.files.items():
        screen.print(f"{opened.dir.student / name}: {description}")
    screen.print(f"Card: {opened.dir.card}")


def _export_ensemble(target: Path, out: Path | None, arm: str, *, alone: bool, as_json: bool) -> None:
    from foldstill.commands.export_ensemble import export_ensemble
    from foldstill.errors import DistillError
    from foldstill.pipeline import open_run

    if not alone:
        raise DistillError("--precision and --program belong to the export of a student: leave them out beside --arm")
    opened = open_run(target, out)
    written = export_ensemble(opened, arm)
    parity = f"within {written.difference:.1g} of `foldstill predict` on {written.n_checked} rows"
    description = f"{arm} of {written.n_models} fold models, ONNX, float32, {parity}"
    if as_json:
        files = [{"path": written.path, "description": description}]
        print_json({"files": files, "latencies": [], "card": None, "run": opened.dir.root})
    else:
        console().print(f"{written.path}: {description}")
