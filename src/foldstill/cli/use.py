"""The commands that use what a run made: new scores combined, new inputs scored, the student as files of its own."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from foldstill.cli.arguments import Device, On, Out, Target
from foldstill.cli.terminal import console


class OnnxPrecision(StrEnum):
    FP16 = "fp16"
    INT8 = "int8"


def apply(
    combination: Annotated[Path, typer.Argument(help="A fitted combination: RUN/NAME, for example hms-stack/auto.")],
    table: Annotated[Path, typer.Argument(help="Scores of the same members (.parquet).")],
    out: Annotated[Path, typer.Option(help="The scores to write (.parquet).")] = Path("scores.parquet"),
) -> None:
    """Combine the scores of a new table with a combination that was fitted before."""
    from foldstill.pipeline import apply_combination

    scores = apply_combination(combination, table, out)
    console().print(f"{len(scores)} rows x {len(scores.classes)} classes in {out}")


def predict(
    target: Annotated[
        Path, typer.Option("--run", help="The folder of a run, or its experiment file.", show_default=False)
    ],
    data: Annotated[Path, typer.Option(help="New rows in the form of the experiment's data.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The scores to write (.parquet or .csv).")] = Path("predictions.parquet"),
    arm: Annotated[str, typer.Option(help="A member, a combination, student, or student-without-teacher.")] = "auto",
    onnx: Annotated[Path | None, typer.Option(help="An exported student instead; needs no torch.")] = None,
    submission: Annotated[
        Path | None, typer.Option(help="A sample_submission.csv to follow; --out submission.csv takes that of --data.")
    ] = None,
    device: On = Device.AUTO,
) -> None:
    """Score new inputs with a member, a combination or the student of a run."""
    from foldstill.commands.predict import predict_inputs

    scores = predict_inputs(target, data, out, arm=arm, onnx=onnx, submission=submission, device=device.value)
    console().print(f"{len(scores)} rows x {len(scores.classes)} classes by {scores.members[0]} in {out}", markup=False)


def export(
    target: Target,
    out: Out = None,
    precision: Annotated[
        list[OnnxPrecision] | None, typer.Option(help="Smaller files beside float32: fp16, int8; both when not given.")
    ] = None,
    program: Annotated[bool, typer.Option("--program", help="Also a torch.export file.")] = False,
) -> None:
    """Write a run's student as ONNX, checked on its locked rows, with a model card. `predict --onnx` runs the files."""
    from foldstill.commands.export import export_stage
    from foldstill.pipeline import open_run

    opened = open_run(target, out)
    shipment = export_stage(opened, tuple(p.value for p in precision or OnnxPrecision), program=program)
    screen = console()
    for name, what in shipment.files.items():
        screen.print(f"{opened.dir.student / name}: {what}", markup=False)
    screen.print(f"Card: {opened.dir.card}", markup=False)
