"""Arguments and options that several commands take."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Device(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


Target = Annotated[Path, typer.Argument(help="An experiment file, or the folder of a run.", show_default=False)]
Out = Annotated[Path | None, typer.Option(help="The run's folder; runs/<name> when not given.", show_default=False)]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change fields of the experiment, such as recipe.epochs=5."),
]
Jobs = Annotated[
    int | None, typer.Option(help="Processes of one thread each on a CPU; all cores when not given.", min=1)
]
On = Annotated[Device, typer.Option(help="Where networks run.")]
Force = Annotated[bool, typer.Option("--force", help="Do finished stages again.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
